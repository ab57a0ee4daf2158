-- KEYS: any key of the model
-- ARGV: prefix, max attempts, reply ttl ms, 1 if the delivery counts as an attempt, then for each job: id, epoch
-- Returns the number of jobs given back to the queue.
local prefix, requeued = ARGV[1], 0
for i = 5, #ARGV, 2 do
  local job = redis.call('HMGET', job_key(prefix, ARGV[i]), 'epoch', 'state')
  if job[1] == ARGV[i + 1] and job[2] == 'leased'
    and give_back(prefix, ARGV[i], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1') == 'requeued' then
    requeued = requeued + 1
  end
end
return requeued
