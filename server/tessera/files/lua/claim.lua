-- ARGV: …, upload, file, its bytes, its place, how long the claim holds (ms)
-- Begins to make a file of an upload, whose room becomes the file's. Returns 1, 0 (no such upload) or -1 (not pending).
local id, file = ARGV[3], ARGV[4]
local upload = upload_key(id)
local status, until_ms = unpack(redis.call('HMGET', upload, 'status', 'until_ms'))
if not status or is_over(id) then return 0 end
-- A gateway that claimed it may have died.
if status ~= 'pending' and not (status == 'completing' and tonumber(until_ms) <= now) then return -1 end
redis.call('HSET', upload, 'status', 'completing', 'until_ms', now + ARGV[7])
charge(id, 0)
charge(file, tonumber(ARGV[5]))
redis.call('HSET', places, file, ARGV[6])
redis.call('ZADD', expiry, now + ARGV[7], file)
keep(upload)
return 1
