-- Prepended to every script. KEYS: any key of the tenant. ARGV: prefix, how long a response is kept (ms), then what the
-- script says. Of a tenant there are:
--
--   item:ID   hash         one response: meta, shape, input, previous, final; or, under a prefix of their own, one
--                          conversation: meta, last (place of its last item), item:PLACE, and while a response has the
--                          turn its id (turn), and since when (ms)
--   bytes     hash         id to what it takes, and `=`: in all
--   expiry    sorted set   ids, by when they are over (ms)

local prefix, keep_ms = ARGV[1], tonumber(ARGV[2])
local bytes, expiry = prefix .. 'bytes', prefix .. 'expiry'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function item_key(id) return prefix .. 'item:' .. id end

local function total() return tonumber(redis.call('HGET', bytes, '=') or 0) end

local function charge(id, size)
  local before = tonumber(redis.call('HGET', bytes, id) or 0)
  redis.call('HSET', bytes, id, size)
  redis.call('HINCRBY', bytes, '=', size - before)
end

local function forget(id)
  charge(id, 0)
  redis.call('HDEL', bytes, id)
  redis.call('ZREM', expiry, id)
  return redis.call('DEL', item_key(id))
end

local function purge()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 200)) do forget(id) end
end

-- Nothing may stay for ever.
local function keep(id)
  redis.call('ZADD', expiry, now + keep_ms, id)
  for _, key in ipairs({item_key(id), bytes, expiry}) do redis.call('PEXPIRE', key, keep_ms) end
end

-- What names an item, and what Redis takes for it.
local ITEM_OVERHEAD = 16

-- The oldest give way. Returns how many.
local function make_room(id, most, most_bytes)
  local dropped = 0
  while redis.call('ZCARD', expiry) > most or total() > most_bytes do
    local oldest = redis.call('ZRANGE', expiry, 0, 1)
    local other = oldest[1] ~= id and oldest[1] or oldest[2]
    if not other then break end
    forget(other)
    dropped = dropped + 1
  end
  return dropped
end
