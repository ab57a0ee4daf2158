-- ARGV: …, digest, receipt, name
-- Has a payload be there whose object is written. Returns 1, or 0 where that took so long that it is deleted.
local digest, receipt, name = ARGV[4], ARGV[5], ARGV[6]
if redis.call('ZREM', objects, name) == 0 then return 0 end
local before = redis.call('HGET', names, digest)
if before and redis.call('EXISTS', data .. digest) == 1 then
  -- Another gateway wrote it at the same time.
  doom(name)
else
  if before then doom(before) end
  redis.call('HSET', names, digest, name)
  redis.call('SET', data .. digest, receipt, 'PX', lifetime_ms)
end
keep_books()
return 1
