-- KEYS: any key of the model
-- ARGV: prefix, worker, free sequences, 1 if the worker is idle, max jobs, lease ms, reply ttl ms
-- Returns an array of {id, epoch, attempts, wait ms, sequences, meta, body}.
local prefix, worker, free, idle = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local lease_ms, reply_ttl_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local queue, now, jobs = prefix .. 'queue', now_ms(), {}
while #jobs < tonumber(ARGV[5]) do
  local id = redis.call('ZRANGE', queue, 0, 0)[1]
  if not id then
    redis.call('DEL', prefix .. 'wake')
    break
  end
  local key = job_key(prefix, id)
  local job = redis.call('HMGET', key, 'sequences', 'deadline_ms', 'reply_to', 'enqueued_ms', 'meta', 'body', 'epoch')
  if not job[1] then
    redis.call('ZREM', queue, id)
  elseif tonumber(job[2]) <= now then
    expire(prefix, id, job[3], reply_ttl_ms)
  else
    local sequences = tonumber(job[1])
    -- A job wider than any engine runs alone rather than never.
    if sequences > free and not idle then break end
    free, idle = free - sequences, false
    redis.call('ZREM', queue, id)
    -- By the clock: a failover may lose the last epochs that were given out, and none may be given out twice.
    local epoch = math.max(tonumber(job[7]) + 1, now)
    local attempts = redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HSET', key, 'state', 'leased', 'worker', worker, 'epoch', epoch)
    redis.call('PEXPIRE', key, lease_ms + reply_ttl_ms)
    redis.call('ZADD', prefix .. 'leases', now + lease_ms, id)
    jobs[#jobs + 1] = {id, epoch, attempts, now - tonumber(job[4]), sequences, job[5], job[6]}
    if free <= 0 then break end
  end
end
if #jobs > 0 then keep(prefix .. 'leases', lease_ms + reply_ttl_ms) end
return jobs
