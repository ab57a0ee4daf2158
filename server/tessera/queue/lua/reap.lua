-- KEYS: any key of the model
-- ARGV: prefix, max deaths, reply ttl ms, most jobs to look at
-- Gives back the jobs of workers that went silent, and answers those that waited too long.
-- Returns {requeued, evicted}.
local prefix, now, limit = ARGV[1], now_ms(), tonumber(ARGV[4])
local requeued, evicted = 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', now, 'LIMIT', 0, limit)) do
  if redis.call('EXISTS', job_key(prefix, id)) == 0 then
    redis.call('ZREM', prefix .. 'leases', id)
  elseif give_back(prefix, id, tonumber(ARGV[2]), ARGV[3], 'silent') == 'requeued' then
    requeued = requeued + 1
  else
    evicted = evicted + 1
  end
end
-- The queue's order is that of arrival and the wait is the same for all, so the overdue ones are in front; between them
-- those that some worker had before, which may wait longer.
for _, id in ipairs(redis.call('ZRANGE', prefix .. 'queue', 0, limit - 1)) do
  local job = redis.call('HMGET', job_key(prefix, id), 'deadline_ms', 'reply_to', 'attempts')
  if not job[1] then
    redis.call('ZREM', prefix .. 'queue', id)
  elseif tonumber(job[1]) <= now then
    expire(prefix, id, job[2], ARGV[3])
    evicted = evicted + 1
  elseif job[3] == '0' then
    break
  end
end
return {requeued, evicted}
