-- Prepended to every script. What a model's jobs hold in Redis, in bytes: hashes of job ids, each with its sum under a
-- name that no job has. A hash expires as a whole, so that its sum is always that of its parts.

local SUM = '='
local AUDITED_AT_ONCE = 16
local count  -- of common.lua

-- A command on one of these keys. What is damaged there makes way, and is counted anew: it must not stop everybody.
local function on(prefix, what, command, ...)
  local key = prefix .. what
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if string.find(answer.err, 'WRONGTYPE', 1, true) or string.find(answer.err, 'not an integer', 1, true) then
    count(prefix, 'corrupt:' .. what)
    redis.call('DEL', key)
  end
  return redis.call(command, key, ...)
end

local function held(prefix, what) return tonumber(on(prefix, what, 'HGET', SUM) or 0) or 0 end

local function hold(prefix, what, id, bytes)
  on(prefix, what, 'HINCRBY', id, bytes)
  on(prefix, what, 'HINCRBY', SUM, bytes)
end

local function let_go(prefix, what, id)
  local bytes = on(prefix, what, 'HGET', id)
  if bytes then
    on(prefix, what, 'HDEL', id)
    on(prefix, what, 'HINCRBY', SUM, 0 - (tonumber(bytes) or 0))  -- not -bytes: Lua has a negative zero
  end
end

-- Records that expire let nothing go, nor do scripts of versions that do not count. So some ids are looked up, at random
-- and again and again, in the sorted sets of which one has every id that holds something.
local function audit(prefix, what, sets)
  for _, id in ipairs(on(prefix, what, 'HRANDFIELD', AUDITED_AT_ONCE)) do
    local found = id == SUM
    for _, set in ipairs(sets) do found = found or redis.call('ZSCORE', prefix .. set, id) end
    if not found then let_go(prefix, what, id) end
  end
end
