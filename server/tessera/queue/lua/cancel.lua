-- KEYS: any key of the model
-- ARGV: prefix, reply ttl ms, prefix of the workers' control channels, then ids
-- Returns for each job the state that it was in, or nil where it is not known.
local prefix, states = ARGV[1], {}
for i = 4, #ARGV do
  local id, key = ARGV[i], job_key(prefix, ARGV[i])
  local job = fields_of(prefix, id, 'state', 'worker', 'reply_to')
  if job[1] == 'queued' or job[1] == 'leased' then
    -- First what needs no memory, or a Redis that has none left would refuse all of it.
    redis.call('ZREM', prefix .. 'queue', id)
    reply(prefix, id, job[3], {'x' .. cjson.encode({code = 'request_cancelled', message = 'The request was cancelled.'})})
    drop(prefix, id, job, 'cancelled', ARGV[2], ARGV[3])
  elseif not job[1] then
    -- What is no record makes way for one.
    local found = redis.call('TYPE', key).ok
    if found ~= 'hash' and found ~= 'none' then redis.call('DEL', key) end
    -- It may still be on its way, from a gateway that got no answer: it is not to be queued then.
    redis.call('HSET', key, 'state', 'cancelled')
    redis.call('PEXPIRE', key, ARGV[2])
  end
  states[#states + 1] = job[1] or false
end
return states
