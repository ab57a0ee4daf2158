-- Prepended to every script, behind common.lua: what becomes of a job that its worker did not end.

-- What limits them: five arguments of a script, from the i-th on.
local function limits_from(i)
  return {deaths = tonumber(ARGV[i]), reply_ttl_ms = ARGV[i + 1], dead_jobs = tonumber(ARGV[i + 2]),
    dead_bytes = tonumber(ARGV[i + 3]), dead_ttl_ms = ARGV[i + 4]}
end

local function dead_key(prefix, id) return prefix .. 'dead:' .. id end

-- Only so many dead letters stay, the newest, for so long, and with so many bytes of bodies.
local function trim_dead(prefix, limits)
  local dead, bytes = prefix .. 'dead', 0
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', now_ms() - limits.dead_ttl_ms)
  for place, id in ipairs(redis.call('ZREVRANGE', dead, 0, -1)) do
    bytes = bytes + redis.call('HSTRLEN', dead_key(prefix, id), 'body')
    if place > limits.dead_jobs or bytes > limits.dead_bytes then
      redis.call('ZREM', dead, id)
      redis.call('DEL', dead_key(prefix, id))
    end
  end
end

-- Keeps a job for the operator as a dead letter, whatever is left of it.
-- Returns {id, reason, JSON of [time (ms), worker, how it died, epoch of its lease] for each death}.
local function keep_letter(prefix, id, reason, limits)
  local job, deaths, fields = {}, {}, redis.call('HGETALL', job_key(prefix, id))
  for i = 1, #fields, 2 do
    local how, epoch = string.match(fields[i], '^(%a+):(%d+)$')
    if how == 'taken' then
      -- Not a death.
    elseif how then
      local at, worker = string.match(fields[i + 1], '^(%d+) (.*)$')
      if at then deaths[#deaths + 1] = {tonumber(at), worker, how, tonumber(epoch)} end
    else
      job[fields[i]] = fields[i + 1]
    end
  end
  table.sort(deaths, function(one, other) return one[4] < other[4] end)
  local now, key, told = now_ms(), dead_key(prefix, id), cjson.encode(deaths)
  local body = job.body or ''
  redis.call('HSET', key, 'reason', reason, 'dead_ms', now, 'enqueued_ms', job.enqueued_ms or 0, 'meta', job.meta or '',
    'sequences', job.sequences or 0, 'deaths', told, 'body_bytes', #body)
  if #body <= limits.dead_bytes then redis.call('HSET', key, 'body', body) end
  redis.call('PEXPIRE', key, limits.dead_ttl_ms)
  redis.call('ZADD', prefix .. 'dead', now, id)
  keep(prefix .. 'dead', tonumber(limits.dead_ttl_ms))
  trim_dead(prefix, limits)
  count(prefix, 'set_aside')
  return {id, reason, told}
end

-- Sets a job aside of which something is damaged, or only its id is left.
local function set_aside_damaged(prefix, id, kind, limits, letters)
  local found = redis.call('TYPE', job_key(prefix, id)).ok
  if found == 'none' then
    kind = 'queue'
  elseif found == 'hash' then
    letters[#letters + 1] = keep_letter(prefix, id, 'record_damaged', limits)
  end
  end_damaged(prefix, id, kind, limits.reply_ttl_ms)
end

-- Gives a job up under which as many workers died as may. The last chance is exact, so that one bad request does not
-- take those with it that ran beside it: only what ran alone is to blame.
local function give_up(prefix, id, deaths, limits, letters)
  local key = job_key(prefix, id)
  local job = redis.call('HMGET', key, 'reply_to', 'alone')
  local died = deaths == 1 and '1 worker' or deaths .. ' workers'
  if job[2] == '1' then
    letters[#letters + 1] = keep_letter(prefix, id, 'poison_request', limits)
    reply(prefix, id, job[1], {'x' .. cjson.encode({code = 'poison_request',
      message = died .. ' died while running this request, the last one running nothing else. It is not run again: ' ..
        'do not send it again as it is, and show the operator its id.'})})
  else
    reply(prefix, id, job[1], {'x' .. cjson.encode({code = 'worker_lost',
      message = died .. ' died while running this request and others. Send it again.'})})
  end
  conclude(prefix, id, 'evicted', limits.reply_ttl_ms)
end

-- Puts a job back to its place in the queue, or gives it up where too many workers died under it. A reply that has begun
-- stays, with its steps: the next worker goes on behind it.
-- how: 'silent' (its lease ran out; the epoch stays, see `holds`), 'failed' (its engine did), or 'unused'.
-- letters: gets what `keep_letter` returns.
-- Returns 'requeued' or 'evicted'.
local function give_back(prefix, id, how, limits, letters)
  local key = job_key(prefix, id)
  local job = fields_of(prefix, id, 'epoch', 'order', 'worker', 'deadline_ms', 'enqueued_ms', 'attempts', 'deaths',
    'deaths_in_all')
  redis.call('ZREM', prefix .. 'leases', id)
  local deaths, in_all, length = int(job[7] or '0'), int(job[8] or job[7] or '0'), log_length(prefix, id)
  if not (int(job[1]) and int(job[2]) and job[3] and int(job[4]) and int(job[5]) and int(job[6]) and deaths and in_all) then
    set_aside_damaged(prefix, id, 'job', limits, letters)
    return 'evicted'
  end
  if how ~= 'silent' then redis.call('HINCRBY', key, 'epoch', 1) end
  if how == 'unused' then
    redis.call('HINCRBY', key, 'attempts', -1)
    redis.call('HSET', key, 'given_back:' .. job[1], now_ms() .. ' ' .. job[3])
  else
    deaths, in_all = deaths + 1, in_all + 1
    redis.call('HSET', key, how .. ':' .. job[1], now_ms() .. ' ' .. job[3], 'deaths', deaths, 'deaths_in_all', in_all,
      'most_deaths', limits.deaths)
  end
  if deaths >= limits.deaths or in_all >= OUTLIVED * limits.deaths then
    give_up(prefix, id, in_all, limits, letters)
    return 'evicted'
  end
  local last_chance = has_last_chance(deaths, in_all, limits.deaths)
  if in_all >= OUTLIVED * limits.deaths - 1 then
    redis.call('HDEL', key, 'died_at', 'lived_ms')  -- it is not to be outlived any more
  elseif how ~= 'unused' then
    local earlier = redis.call('HMGET', key, 'died_at', 'lived_ms')
    redis.call('HSET', key, 'died_at', math.max(length or 0, int(earlier[1]) or 0),
      'lived_ms', math.max(now_ms() - job[1], int(earlier[2]) or 0))
  end
  local deadline_ms, begun = tonumber(job[4]), redis.call('EXISTS', log_key(prefix, id)) == 1
  -- It has waited for its first worker; for the next one it may wait as long again.
  if begun then deadline_ms = now_ms() + deadline_ms - job[5] end
  local ttl_ms = math.max(deadline_ms - now_ms(), 0) + limits.reply_ttl_ms
  redis.call('HSET', key, 'state', 'queued')
  if begun then
    redis.call('HSET', key, 'deadline_ms', deadline_ms, 'enqueued_ms', now_ms())
    redis.call('PEXPIRE', log_key(prefix, id), ttl_ms)
    redis.call('PEXPIRE', steps_key(prefix, id), ttl_ms)
  end
  redis.call('PEXPIRE', key, ttl_ms)
  redis.call('ZADD', prefix .. 'queue', job[2] + (last_chance and SUSPECT or 0), id)
  keep(prefix .. 'queue', ttl_ms)
  -- Two: the worker that has waited longest may be one that stands still.
  wake(prefix, job[2], 2, math.huge, ttl_ms)
  return 'requeued'
end
