-- Prepended to every script. What a model's jobs hold in Redis, in bytes: hashes of job ids, each with its sum under a
-- name that no job has. A hash expires as a whole, so that its sum is always that of its parts.

local SUM = '='
local AUDITED_AT_ONCE = 16

local function held(prefix, what) return tonumber(redis.call('HGET', prefix .. what, SUM) or 0) end

local function hold(prefix, what, id, bytes)
  redis.call('HINCRBY', prefix .. what, id, bytes)
  redis.call('HINCRBY', prefix .. what, SUM, bytes)
end

local function let_go(prefix, what, id)
  local bytes = redis.call('HGET', prefix .. what, id)
  if bytes then
    redis.call('HDEL', prefix .. what, id)
    redis.call('HINCRBY', prefix .. what, SUM, 0 - bytes)  -- not -bytes: Lua has a negative zero
  end
end

-- Records that expire let nothing go, nor do scripts of versions that do not count. So some ids are looked up, at random
-- and again and again, in the sorted sets of which one has every id that holds something.
local function audit(prefix, what, sets)
  for _, id in ipairs(redis.call('HRANDFIELD', prefix .. what, AUDITED_AT_ONCE)) do
    local found = id == SUM
    for _, set in ipairs(sets) do found = found or redis.call('ZSCORE', prefix .. set, id) end
    if not found then let_go(prefix, what, id) end
  end
end
