-- KEYS: any key of the model
-- ARGV: prefix, id, reply ttl ms, prefix of the workers' control channels
-- Returns the state that the job was in, or nil where it is not known.
local prefix, id = ARGV[1], ARGV[2]
local key = job_key(prefix, id)
local job = redis.call('HMGET', key, 'state', 'worker')
if job[1] == 'queued' or job[1] == 'leased' then
  redis.call('ZREM', prefix .. 'queue', id)
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('HINCRBY', key, 'epoch', 1)
  conclude(prefix, id, 'cancelled', ARGV[3])
  if job[1] == 'leased' then redis.call('PUBLISH', ARGV[4] .. job[2], id) end
end
return job[1]
