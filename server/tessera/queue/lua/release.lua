-- KEYS: any key of the model
-- ARGV: prefix, 5 limits (see `limits_from`), 'failed' or 'unused', then for each job: id, epoch
-- Returns the number of jobs given back to the queue, and what `keep_letter` returns for each that is set aside.
local prefix, limits, how, requeued, letters = ARGV[1], limits_from(2), ARGV[7], 0, {}
for i = 8, #ARGV, 2 do
  local key = job_key(prefix, ARGV[i])
  local job = fields_of(prefix, ARGV[i], 'epoch', 'state')
  if job[1] == ARGV[i + 1] and job[2] == 'leased' then
    if give_back(prefix, ARGV[i], how, limits, letters) == 'requeued' then requeued = requeued + 1 end
  elseif job[1] == ARGV[i + 1] and job[2] == 'queued' then
    -- Its lease had run out, so that it waits already; from now on nobody else holds it.
    if how == 'unused' then forgive(prefix, ARGV[i], job[1]) end
    redis.call('HINCRBY', key, 'epoch', 1)
  end
end
return {requeued, letters}
