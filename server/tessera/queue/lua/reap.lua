-- KEYS: any key of the model
-- ARGV: prefix, 5 limits (see `limits_from`), most jobs of each kind, lease ms, the gateway that asks ('': none), 1 if it
-- is to be done only where nobody else has just done it, prefix of the workers' control channels
-- Keeps the asking gateway alive, gives back the jobs of workers that went silent, answers those that waited too long,
-- and ends those of gateways that went silent.
-- Returns {requeued, evicted, orphaned}, what `keep_letter` returns for each of the evicted that is set aside, and in how
-- many ms the next lease runs out if it is not renewed, -1: there is none; and names of keys that were set aside.
local prefix, limits, most, lease_ms = ARGV[1], limits_from(2), tonumber(ARGV[7]), tonumber(ARGV[8])
local gateway, stand_in, control, reply_ttl_ms = ARGV[9], ARGV[10] == '1', ARGV[11], limits.reply_ttl_ms
local now, gateways = now_ms(), prefix .. 'gateways'
local requeued, evicted, orphaned, letters = 0, 0, 0, {}

if gateway ~= '' then
  redis.call('ZADD', gateways, 'GT', now + lease_ms, gateway)
  keep(gateways, lease_ms + reply_ttl_ms)
  keep(gateway_key(prefix, gateway), lease_ms + reply_ttl_ms)
end

-- Where nobody has looked for a while, Redis was away or could not be written to, and nobody could renew a lease either
-- (what executes here first may be a call from before the outage). All get the time of one lease to do so.
local watch = prefix .. 'watch'
local seen = tonumber(redis.call('GET', watch))
local last = seen or now
local away = now - last > lease_ms / 2 or last - now > lease_ms
if stand_in and seen and now >= last and now - last < lease_ms / 8 then return {{0, 0, 0}, {}, -1, {}} end
if away or now >= last then
  redis.call('SET', watch, away and now + lease_ms or now, 'PX', 2 * lease_ms + reply_ttl_ms)
end
look_over()
if away or now < last then return {{0, 0, 0}, {}, away and lease_ms or last - now, untold()} end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', now, 'LIMIT', 0, most)) do
  if redis.call('EXISTS', job_key(prefix, id)) == 0 then
    count(prefix, 'corrupt:lease')
    redis.call('ZREM', prefix .. 'leases', id)
  elseif give_back(prefix, id, 'silent', limits, letters) == 'requeued' then
    requeued = requeued + 1
  else
    evicted = evicted + 1
  end
end

-- The queue's order is that of arrival and the wait is the same for all of a class, so the overdue ones are in front;
-- between them those that some worker had before, which may wait longer.
local function end_overdue(ids)
  for _, id in ipairs(ids) do
    local job = fields_of(prefix, id, 'deadline_ms', 'reply_to', 'attempts')
    if not int(job[1]) then
      set_aside_damaged(prefix, id, 'job', limits, letters)
      evicted = evicted + 1
    elseif tonumber(job[1]) <= now then
      expire(prefix, id, job[2], reply_ttl_ms)
      evicted = evicted + 1
    elseif job[3] == '0' then
      break
    end
  end
end
end_overdue(redis.call('ZRANGE', prefix .. 'queue', 0, most - 1))
end_overdue(redis.call('ZRANGEBYSCORE', prefix .. 'queue', BATCH, '(' .. SUSPECT, 'LIMIT', 0, most))
end_overdue(redis.call('ZRANGEBYSCORE', prefix .. 'queue', SUSPECT, '+inf', 'LIMIT', 0, most))

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', gateways, '-inf', now)) do
  local open = gateway_key(prefix, dead)
  for _, id in ipairs(redis.call('SPOP', open, most - orphaned)) do
    local job = fields_of(prefix, id, 'state', 'worker', 'reply_to')
    if job[1] == 'queued' or job[1] == 'leased' then
      -- For the case that it only stood still: it then finds out here.
      reply(prefix, id, job[3], {'x' .. cjson.encode({code = 'gateway_lost',
        message = 'The gateway that took this request stood still for too long. Send it again.'})})
      drop(prefix, id, job, 'evicted', reply_ttl_ms, control)
      orphaned = orphaned + 1
    end
  end
  if redis.call('EXISTS', open) == 0 then redis.call('ZREM', gateways, dead) end
  if orphaned >= most then break end
end

-- Replies that have expired since they ended; those that are still being read live longer.
for _, id in ipairs(on(prefix, 'ended', 'ZRANGEBYSCORE', '-inf', now, 'LIMIT', 0, most)) do
  local ttl_ms = redis.call('PTTL', log_key(prefix, id))
  if ttl_ms > 0 then
    redis.call('ZADD', prefix .. 'ended', now + ttl_ms, id)
  else
    redis.call('ZREM', prefix .. 'ended', id)
    let_go(prefix, 'replies', id)
  end
end
audit(prefix, 'bodies', {'queue', 'leases'})
audit(prefix, 'replies', {'queue', 'leases', 'ended'})
for outcome, times in pairs({requeued = requeued, evicted = evicted, orphaned = orphaned}) do
  if times > 0 then count(prefix, 'reaped:' .. outcome, times) end
end
local next = redis.call('ZRANGE', prefix .. 'leases', 0, 0, 'WITHSCORES')[2]
return {{requeued, evicted, orphaned}, letters, next and math.max(next - now, 0) or -1, untold()}
