-- Behind `common.lua`, for scripts that keep room. ARGV[4]: room in bytes.
local room = tonumber(ARGV[4])

local function total_bytes() return tonumber(redis.call('HGET', bytes, 'total') or 0) end
local function idle_bytes() return tonumber(redis.call('HGET', bytes, 'idle') or 0) end

-- Whether there is room. Nothing is thrown away unless it makes enough of it.
local function make_room(size)
  if total_bytes() + size - room > idle_bytes() then lapse(1000) end
  local missing = total_bytes() + size - room
  if missing > idle_bytes() then return false end
  evict(missing)
  return true
end

-- Holds a payload, and keeps room for it if it is not there yet.
-- Returns 1 (it is there), 0 (it may be stored now) or -1 (there is no room).
local function reserve(hold, size)
  local digest = digest_of(hold)
  local answer = refresh(digest) and 1 or 0
  if answer == 0 and redis.call('HEXISTS', sizes, digest) == 0 then
    if not make_room(size) then return -1 end
    redis.call('HSET', sizes, digest, size)
    redis.call('HINCRBY', bytes, 'total', size)
  end
  hold_on(hold)
  return answer
end
