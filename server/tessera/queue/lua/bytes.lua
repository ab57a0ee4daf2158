-- Prepended to every script, after `damage.lua`. What a model's jobs hold in Redis, in bytes: hashes of job ids, each with its sum under a
-- name that no job has. A hash expires as a whole, so that its sum is always that of its parts.

local SUM = '='
local AUDITED_AT_ONCE = 16

local function on(prefix, what, command, ...) return redis.call(command, prefix .. what, ...) end

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
-- and again and again, in the sorted sets of which one has every id that holds something. A job that waits or runs and is
-- in none of them was lost there.
local function audit(prefix, what, sets)
  local ids, found = on(prefix, what, 'HRANDFIELD', AUDITED_AT_ONCE), {}
  if #ids == 0 then return end
  for _, set in ipairs(sets) do
    for i, score in ipairs(on(prefix, set, 'ZMSCORE', unpack(ids))) do found[i] = found[i] or score end
  end
  for i, id in ipairs(ids) do
    if not (found[i] or id == SUM or put_in_place(prefix, id)) then let_go(prefix, what, id) end
  end
end
