-- Prepended to every script. KEYS: any key of the tenant. ARGV: prefix, how long all of it is kept (ms), then what the
-- script says. Of a tenant there are:
--
--   bytes      hash         id of a file or upload to what it takes, and `=`: in all
--   expiry     sorted set   these ids, by when they are over (ms); what is still being written is over soon
--   places     hash         these ids to their places in the store
--   records    hash         id to all else, of files that are complete
--   created    sorted set   the ids of these, which sort by their times
--   upload:ID  hash         record, status, room and bytes of an upload; once it is completed, also its file's record
--   parts:ID   hash         id of a part to its bytes, `1` once it is complete, and its place
--   doomed     sorted set   places of what is to be removed from the store, by since when (ms)

local prefix, keep_ms = ARGV[1], tonumber(ARGV[2])
local bytes, expiry, places = prefix .. 'bytes', prefix .. 'expiry', prefix .. 'places'
local records, created, doomed = prefix .. 'records', prefix .. 'created', prefix .. 'doomed'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function upload_key(id) return prefix .. 'upload:' .. id end
local function parts_key(id) return prefix .. 'parts:' .. id end

local function total() return tonumber(redis.call('HGET', bytes, '=') or 0) end

local function charge(id, size)
  local before = tonumber(redis.call('HGET', bytes, id) or 0)
  redis.call('HSET', bytes, id, size)
  redis.call('HINCRBY', bytes, '=', size - before)
end

local function doom(place) redis.call('ZADD', doomed, now, place) end

local function doom_parts(id)
  local parts = redis.call('HVALS', parts_key(id))
  for _, part in ipairs(parts) do doom(string.match(part, '^%d+ %d (.+)$')) end
  redis.call('DEL', parts_key(id))
end

local function forget(id)
  charge(id, 0)
  redis.call('HDEL', bytes, id)
  redis.call('ZREM', expiry, id)
  local place = redis.call('HGET', places, id)
  if place then doom(place) end
  redis.call('HDEL', places, id)
  redis.call('HDEL', records, id)
  redis.call('ZREM', created, id)
  if redis.call('DEL', upload_key(id)) == 1 then doom_parts(id) end
end

local function purge()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 200)) do forget(id) end
end

local function is_over(id)
  local at = redis.call('ZSCORE', expiry, id)
  return not at or tonumber(at) <= now
end

-- Nothing may stay for ever: all of it outlives the last file.
local function keep(...)
  for _, key in ipairs({bytes, expiry, places, records, created, doomed, ...}) do
    redis.call('PEXPIRE', key, keep_ms)
  end
end
