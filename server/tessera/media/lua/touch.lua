-- Refresh the last use of payloads.
-- KEYS: used, sizes, total, then one payload key for each digest.
-- ARGV: lifetime in ms, then the digests.
-- Returns one 1 (there) or 0 (not there) for each digest.
local used, sizes, total = KEYS[1], KEYS[2], KEYS[3]
local ttl_ms = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local present = {}
for i = 4, #KEYS do
  local digest = ARGV[i - 2]
  if redis.call('PEXPIRE', KEYS[i], ttl_ms) == 1 then
    redis.call('ZADD', used, now, digest)
    present[#present + 1] = 1
  else
    -- Expired, or thrown out by Redis itself: it takes no room any more.
    local size = redis.call('HGET', sizes, digest)
    if size then
      redis.call('DECRBY', total, size)
      redis.call('HDEL', sizes, digest)
      redis.call('ZREM', used, digest)
    end
    present[#present + 1] = 0
  end
end
return present
