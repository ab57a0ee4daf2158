-- ARGV: …, upload
-- Returns 1, 0 (no such upload) or -1 (not pending). It counts as one until its time is over.
local upload = upload_key(ARGV[3])
local status = redis.call('HGET', upload, 'status')
if not status or is_over(ARGV[3]) then return 0 end
if status ~= 'pending' then return -1 end
redis.call('HSET', upload, 'status', 'cancelled')
doom_parts(ARGV[3])
charge(ARGV[3], 0)
keep(upload)
return 1
