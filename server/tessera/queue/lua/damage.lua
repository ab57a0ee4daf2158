-- Prepended to every script, first of all. A key of another type than it should have (somebody else writes into this
-- Redis, too) is set aside as `damaged:NAME`, for a day, counted, and made anew, by whatever script meets it first: it must
-- not stop everybody. A job's own keys are left to the scripts, since its client is to be told.

local DAY_MS = 86400000
local OWN_OF_JOBS = {job = true, log = true, steps = true}
-- Of a model: what each of its keys is.
local TYPES = {queue = 'zset', leases = 'zset', bodies = 'hash', replies = 'hash', ended = 'zset', first = 'string',
  alone = 'string', wake = 'list', ['wake-batch'] = 'list', dead = 'zset', counts = 'hash', reserved = 'hash',
  order = 'string', gateways = 'zset', watch = 'string', damaged = 'set'}
-- Prefix of all keys of the model, or of the directory.
local HOME = string.match(KEYS[1], '^(.*:)[^:]*$')
local count, put_in_place  -- of common.lua
local given = redis
local redis = setmetatable({}, {__index = given})

local function make_way(name)
  local kept = HOME .. 'damaged:' .. name
  given.call('RENAME', HOME .. name, kept)
  given.call('PEXPIRE', kept, DAY_MS)
  -- Where Redis has no memory, it is only not told.
  given.pcall('SADD', HOME .. 'damaged', name)
  given.pcall('PEXPIRE', HOME .. 'damaged', DAY_MS)
  pcall(count, HOME, 'corrupt:key:' .. string.match(name, '^[^:]*'))
  if name == 'queue' or name == 'leases' then
    -- Nothing is lost with them: whatever waits or runs has a body that is counted.
    for _, id in ipairs(redis.call('HKEYS', HOME .. 'bodies')) do put_in_place(HOME, id, name) end
  end
end

-- Whether what a command says is the fault of what its key holds.
local function is_damage(command, said)
  return string.find(said, 'WRONGTYPE', 1, true) or string.find(said, 'hash value is not an integer', 1, true)
    or (command == 'INCR' and string.find(said, 'not an integer', 1, true))
end

function redis.call(...)
  local answer = given.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  local command, key = ...
  if type(key) == 'string' and string.sub(key, 1, #HOME) == HOME and is_damage(command, answer.err) then
    local name = string.sub(key, #HOME + 1)
    if not OWN_OF_JOBS[string.match(name, '^[^:]*')] then make_way(name) end
  end
  return given.call(...)
end

-- What only Python reads, or scripts seldom do, is looked at as well.
local function look_over()
  for name, kind in pairs(TYPES) do
    local found = redis.call('TYPE', HOME .. name).ok
    if found ~= kind and found ~= 'none' then make_way(name) end
  end
end

-- Names of keys that were set aside and of which nobody was told yet.
local function untold()
  local names = redis.call('SMEMBERS', HOME .. 'damaged')
  if #names > 0 then redis.call('DEL', HOME .. 'damaged') end
  return names
end
