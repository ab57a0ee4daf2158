-- Store a payload if there is room, or refresh its last use if it is there.
-- KEYS: used, sizes, total, payload key.
-- ARGV: digest, payload, lifetime in ms, idle time in ms after which an entry may be evicted, room in bytes.
-- Returns 0, or the ms after which there may be room.
local used, sizes, total, key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local digest, payload = ARGV[1], ARGV[2]
local ttl_ms, idle_ms, room = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function forget(name)
  redis.call('DECRBY', total, redis.call('HGET', sizes, name) or 0)
  redis.call('HDEL', sizes, name)
  redis.call('ZREM', used, name)
end

-- Redis refuses a script's writes for want of memory only up to the first one: ask before writing anything.
if redis.call('EXISTS', key) == 1 then
  redis.call('PEXPIRE', key, ttl_ms)
  redis.call('ZADD', used, now, digest)
  return 0
end
if redis.call('HEXISTS', sizes, digest) == 1 then
  forget(digest)
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', used, '-inf', now - ttl_ms)) do
  forget(name)
end

local missing = tonumber(redis.call('GET', total) or 0) + #payload - room
if missing > 0 then
  -- The longest unused first; nothing is evicted unless it makes enough room.
  local victims, freed, wait_ms = {}, 0, 0
  local offset = 0
  while freed < missing do
    local page = redis.call('ZRANGE', used, offset, offset + 99, 'WITHSCORES')
    if #page == 0 then
      break
    end
    for i = 1, #page, 2 do
      if freed < missing then
        freed = freed + tonumber(redis.call('HGET', sizes, page[i]) or 0)
        wait_ms = tonumber(page[i + 1]) + idle_ms - now
        victims[#victims + 1] = page[i]
      end
    end
    offset = offset + 100
  end
  if wait_ms > 0 then
    return wait_ms
  end
  local prefix = string.sub(key, 1, #key - #digest)
  for _, name in ipairs(victims) do
    redis.call('UNLINK', prefix .. name)
    forget(name)
  end
end

redis.call('SET', key, payload, 'PX', ttl_ms)
redis.call('ZADD', used, now, digest)
redis.call('HSET', sizes, digest, #payload)
redis.call('INCRBY', total, #payload)
return 0
