-- KEYS: any key of the model
-- ARGV: prefix, lease ms, reply ttl ms, then for each job: id, epoch
-- Returns the ids of jobs that the caller no longer holds, and {id, sequences that it takes up, …} for those that have
-- outlived their deaths, and need not run alone any more.
local prefix, lease_ms, keep_ms = ARGV[1], tonumber(ARGV[2]), ARGV[2] + ARGV[3]
local lost, narrow, now = {}, {}, now_ms()
for i = 4, #ARGV, 2 do
  local id, epoch, key = ARGV[i], ARGV[i + 1], job_key(prefix, ARGV[i])
  local job = fields_of(prefix, id, 'epoch', 'state', 'lived_ms', 'cleared')
  if holds(prefix, id, job, epoch, lease_ms) then
    if int(job[3]) and now - epoch > job[3] + lease_ms then
      outlive(prefix, id, epoch)
      job[4] = epoch
    end
    local width = job[4] == epoch and int(redis.call('HGET', key, 'width'))
    if width then
      narrow[#narrow + 1] = id
      narrow[#narrow + 1] = width
    end
    redis.call('ZADD', prefix .. 'leases', now + lease_ms, id)
    redis.call('PEXPIRE', key, keep_ms)
    redis.call('PEXPIRE', log_key(prefix, id), keep_ms)
    redis.call('PEXPIRE', steps_key(prefix, id), keep_ms)
  else
    lost[#lost + 1] = id
  end
end
keep(prefix .. 'leases', keep_ms)
for _, what in ipairs({'bodies', 'replies'}) do keep(prefix .. what, keep_ms) end
return {lost, narrow}
