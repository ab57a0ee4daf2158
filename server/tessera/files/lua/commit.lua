-- ARGV: …, id, bytes, record, when it is over (ms), the upload that it was made of ('': none)
-- Returns 1, or 0 where its reservation is not known any more.
local id = ARGV[3]
if redis.call('HEXISTS', bytes, id) == 0 then return 0 end
charge(id, tonumber(ARGV[4]))
redis.call('HSET', records, id, ARGV[5])
redis.call('ZADD', created, 0, id)
redis.call('ZADD', expiry, ARGV[6], id)
local upload = ARGV[7]
if upload ~= '' and redis.call('EXISTS', upload_key(upload)) == 1 then
  redis.call('HSET', upload_key(upload), 'status', 'completed', 'file', ARGV[5])
  doom_parts(upload)
end
keep()
return 1
