-- ARGV: …, upload, file
-- What `claim` began has failed: the upload is as before.
local upload = upload_key(ARGV[3])
forget(ARGV[4])
if redis.call('HGET', upload, 'status') == 'completing' then
  redis.call('HSET', upload, 'status', 'pending')
  charge(ARGV[3], tonumber(redis.call('HGET', upload, 'room')))
end
keep(upload)
return 1
