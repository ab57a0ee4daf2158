-- KEYS: any key of the model
-- ARGV: prefix, max deaths, reply ttl ms, 'failed' or 'unused', then for each job: id, epoch
-- Returns the number of jobs given back to the queue.
local prefix, how, requeued = ARGV[1], ARGV[4], 0
for i = 5, #ARGV, 2 do
  local key = job_key(prefix, ARGV[i])
  local job = redis.call('HMGET', key, 'epoch', 'state')
  if job[1] == ARGV[i + 1] and job[2] == 'leased' then
    if give_back(prefix, ARGV[i], tonumber(ARGV[2]), ARGV[3], how) == 'requeued' then requeued = requeued + 1 end
  elseif job[1] == ARGV[i + 1] and job[2] == 'queued' then
    -- Its lease had run out, so that it waits already; from now on nobody else holds it.
    if how == 'unused' then forgive(key, job[1]) end
    redis.call('HINCRBY', key, 'epoch', 1)
  end
end
return requeued
