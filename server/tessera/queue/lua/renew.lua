-- KEYS: any key of the model
-- ARGV: prefix, lease ms, reply ttl ms, then for each job: id, epoch
-- Returns the ids of jobs that the caller no longer holds.
local prefix, lease_ms, keep_ms = ARGV[1], tonumber(ARGV[2]), ARGV[2] + ARGV[3]
local lost, expiry = {}, now_ms() + lease_ms
for i = 4, #ARGV, 2 do
  local id, key = ARGV[i], job_key(prefix, ARGV[i])
  if holds(prefix, id, fields_of(prefix, id, 'epoch', 'state'), ARGV[i + 1], lease_ms) then
    redis.call('ZADD', prefix .. 'leases', expiry, id)
    redis.call('PEXPIRE', key, keep_ms)
    redis.call('PEXPIRE', log_key(prefix, id), keep_ms)
    redis.call('PEXPIRE', steps_key(prefix, id), keep_ms)
  else
    lost[#lost + 1] = id
  end
end
keep(prefix .. 'leases', keep_ms)
for _, what in ipairs({'bodies', 'replies'}) do keep(prefix .. what, keep_ms) end
return lost
