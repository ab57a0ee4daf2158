-- Prepended to every script. KEYS: any key of the store. ARGV: prefix, lease ms, lifetime ms, then what the script says.
-- Each payload is a string `data:<digest>`. Of a large one that is a receipt, written once all of it is there: in parts,
-- strings `part:<digest>:<number>`, or as an object outside of Redis. One that is sent along with the question for its
-- room is `sent:<digest>` until that is answered. Beside them there are the books:
--
--   sizes   hash         digest to bytes, of all that is stored or has its room kept
--   bytes   hash         the sum of `sizes`: `total`, and the part of it that is `idle`
--   holds   sorted set   "<digest> <holder>", by when the hold lapses unless it is renewed (ms)
--   counts  hash         digest to the number of its holds, where it has any
--   idle    sorted set   digests without a hold, by when they were last held (ms)
--   names   hash         digest to the name of its object, of those outside of Redis
--   objects sorted set   names of objects that are not complete yet or not needed any more, by when to delete them (ms)
--
-- Redis that is out of memory refuses a script's writes only up to the first one that it allows. So each function begins
-- with one that needs no memory (PEXPIRE, UNLINK, ZREM): room can be freed, and holds renewed, when there is none.

local prefix, lease_ms, lifetime_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local data, sizes, bytes = prefix .. 'data:', prefix .. 'sizes', prefix .. 'bytes'
local holds, counts, idle = prefix .. 'holds', prefix .. 'counts', prefix .. 'idle'
local names, objects = prefix .. 'names', prefix .. 'objects'
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000

-- As in `receipt.py`.
local whole_bytes, part_bytes = 8388608, 4194304

local function digest_of(hold) return string.sub(hold, 1, 64) end
local function size_of(digest) return tonumber(redis.call('HGET', sizes, digest) or 0) end

-- The keys of a payload's parts, where it is large enough to have some.
local function part_keys(digest, size)
  local keys = {}
  if size > whole_bytes then
    for number = 0, math.ceil(size / part_bytes) - 1 do keys[#keys + 1] = prefix .. 'part:' .. digest .. ':' .. number end
  end
  return keys
end

-- Prolongs the life of a payload's parts; false where not all of them are there.
local function refresh_parts(digest, size)
  local whole = true
  for _, key in ipairs(part_keys(digest, size)) do
    whole = redis.call('PEXPIRE', key, lifetime_ms) == 1 and whole
  end
  return whole
end

-- Bytes of a payload, whose life it prolongs; nil where there is none.
local function refresh(digest)
  if redis.call('PEXPIRE', data .. digest, lifetime_ms) == 0 then return nil end
  local elsewhere, place = string.match(redis.call('GETRANGE', data .. digest, 0, 63), '^TSSRSEE1 (%d+) (%l+) ')
  if place == 'parts' and not refresh_parts(digest, tonumber(elsewhere)) then
    -- Parts of it have gone without it.
    redis.call('UNLINK', data .. digest)
    return nil
  end
  local size = size_of(digest)
  if size == 0 then
    -- It came when its room had been given away: its gateway had stood still for longer than a lease.
    size = tonumber(elsewhere) or redis.call('STRLEN', data .. digest)
    redis.call('HSET', sizes, digest, size)
    redis.call('HINCRBY', bytes, 'total', size)
  end
  return size
end

-- An object is not needed any more.
local function doom(name) redis.call('ZADD', objects, now, name) end

local function forget(digest)
  redis.call('UNLINK', data .. digest, unpack(part_keys(digest, size_of(digest))))
  local name = redis.call('HGET', names, digest)
  if name then
    doom(name)
    redis.call('HDEL', names, digest)
  end
  local size = size_of(digest)
  if redis.call('ZREM', idle, digest) == 1 then redis.call('HINCRBY', bytes, 'idle', -size) end
  redis.call('HDEL', sizes, digest)
  redis.call('HINCRBY', bytes, 'total', -size)
end

-- Begins or renews a hold of something in the books.
local function hold_on(hold)
  local digest = digest_of(hold)
  if redis.call('ZREM', idle, digest) == 1 then
    redis.call('HINCRBY', bytes, 'idle', -size_of(digest))
  end
  if redis.call('ZADD', holds, now + lease_ms, hold) == 1 then redis.call('HINCRBY', counts, digest, 1) end
end

-- Ends a hold. What nobody holds any more may be given away for its room; what was never stored is forgotten at once.
-- Returns 1, or 0 where there was none.
local function let_go(hold)
  if redis.call('ZREM', holds, hold) == 0 then return 0 end
  local digest = digest_of(hold)
  if redis.call('HINCRBY', counts, digest, -1) > 0 then return 1 end
  redis.call('HDEL', counts, digest)
  if redis.call('EXISTS', data .. digest) == 0 then
    forget(digest)
  else
    redis.call('ZADD', idle, now, digest)
    redis.call('HINCRBY', bytes, 'idle', size_of(digest))
  end
  return 1
end

-- Ends the holds of gateways that died.
local function lapse(most)
  for _, hold in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', now, 'LIMIT', 0, most)) do let_go(hold) end
end

-- Forgets what nobody holds, the longest unused first. Returns the bytes that this freed.
local function evict(nbytes)
  local freed = 0
  while freed < nbytes do
    local digest = redis.call('ZRANGE', idle, 0, 0)[1]
    if not digest then break end
    freed = freed + size_of(digest)
    forget(digest)
  end
  return freed
end

-- Nothing may stay for ever, whoever dies: the books outlive the last payload, and all go at once.
local function keep_books()
  for _, key in ipairs({sizes, bytes, holds, counts, idle, names, objects}) do
    redis.call('PEXPIREAT', key, math.floor(now) + lifetime_ms + lease_ms)
  end
end
