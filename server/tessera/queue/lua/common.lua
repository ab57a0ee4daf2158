-- Prepended to every script, after `damage.lua` and `bytes.lua`. All keys of one model share a hash tag, so they live in one cluster slot;
-- job keys that a script meets only in a sorted set are built from that same prefix.

-- A script is one moment, of which it asks once.
local moment_ms
local function now_ms()
  if not moment_ms then
    local t = redis.call('TIME')
    moment_ms = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return moment_ms
end

local function job_key(prefix, id) return prefix .. 'job:' .. id end
local function log_key(prefix, id) return prefix .. 'log:' .. id end
local function steps_key(prefix, id) return prefix .. 'steps:' .. id end

-- Nothing may stay for ever, whoever dies: whatever holds something lives this much longer, or a little more, and then
-- goes. The little more is there so that not every call writes how long.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, math.floor(ms * 9 / 8)) end
end

-- Counts what the metrics of all gateways tell, once or several times.
function count(prefix, what, times)
  redis.call('HINCRBY', prefix .. 'counts', what, times or 1)
  keep(prefix .. 'counts', 30 * DAY_MS)
end

-- What is of another kind than it should be reads as if it were not there: a script works for many, and one damaged
-- entry must not stop it.
local function fields_of(prefix, id, ...)
  local job = redis.pcall('HMGET', job_key(prefix, id), ...)
  return job.err and {} or job
end

-- The integer that a field holds; nil: it holds none.
local function int(field)
  return field and string.match(field, '^%-?%d+$') and tonumber(field)
end

-- Entries of a job's reply log; nil: it is none.
local function log_length(prefix, id)
  local length = redis.pcall('LLEN', log_key(prefix, id))
  return type(length) == 'number' and length or nil
end

-- Appends to a list; what is none is replaced.
local function push(prefix, kind, key, ...)
  local length = redis.pcall('RPUSH', key, ...)
  if type(length) == 'number' then return length end
  if string.find(length.err, 'WRONGTYPE', 1, true) then
    count(prefix, 'corrupt:' .. kind)
    redis.call('DEL', key)
  end
  return redis.call('RPUSH', key, ...)
end

-- What was packed; nil: it is something else.
local function unpack_table(packed)
  local whole, content = pcall(cmsgpack.unpack, packed)
  return whole and type(content) == 'table' and content or nil
end

-- The channels of gateways that follow a job's reply besides the one that took it; packed in its record, mostly none.
local function unpacked(followers) return followers and unpack_table(followers) or {} end

-- Appends entries to a job's reply log and tells whoever reads it.
local function reply(prefix, id, reply_to, entries)
  local length = push(prefix, 'log', log_key(prefix, id), unpack(entries))
  for _, entry in ipairs(entries) do hold(prefix, 'replies', id, #entry) end
  local message = cmsgpack.pack({id, length - #entries, entries})
  if reply_to then redis.call('PUBLISH', reply_to, message) end
  for _, channel in ipairs(unpacked(fields_of(prefix, id, 'followers')[1])) do
    redis.call('PUBLISH', channel, message)
  end
end

-- The jobs of a gateway that end with it.
local function gateway_key(prefix, gateway) return prefix .. 'gateway:' .. gateway end

-- Ends a job: its body and its steps are no longer needed, its log stays readable for a while, if there is room for it.
local function conclude(prefix, id, state, reply_ttl_ms)
  local key = job_key(prefix, id)
  local steps_bytes, gateway = unpack(redis.call('HMGET', key, 'steps_bytes', 'gateway'))
  redis.call('HSET', key, 'state', state, 'ended_ms', now_ms())
  redis.call('HDEL', key, 'body', 'steps_bytes')
  let_go(prefix, 'bodies', id)
  redis.call('DEL', steps_key(prefix, id))
  if steps_bytes then hold(prefix, 'replies', id, 0 - steps_bytes) end
  if on(prefix, 'replies', 'HEXISTS', id) == 1 then
    on(prefix, 'ended', 'ZADD', now_ms() + reply_ttl_ms, id)
    keep(prefix .. 'ended', tonumber(reply_ttl_ms))
    keep(prefix .. 'replies', tonumber(reply_ttl_ms))
  end
  if gateway then redis.call('SREM', gateway_key(prefix, gateway), id) end
  redis.call('PEXPIRE', key, reply_ttl_ms)
  redis.call('PEXPIRE', log_key(prefix, id), reply_ttl_ms)
end

-- Ends a job of which something is damaged; its client is told, as far as it is known. kind: what is damaged.
local function end_damaged(prefix, id, kind, reply_ttl_ms)
  count(prefix, 'corrupt:' .. kind)
  redis.call('ZREM', prefix .. 'queue', id)
  redis.call('ZREM', prefix .. 'leases', id)
  if not log_length(prefix, id) then redis.call('DEL', log_key(prefix, id)) end
  reply(prefix, id, fields_of(prefix, id, 'reply_to')[1], {'x' .. cjson.encode({code = 'reply_lost',
    message = 'What the queue holds of this request is damaged. Send it again.'})})
  if redis.call('TYPE', job_key(prefix, id)).ok == 'hash' then
    conclude(prefix, id, 'evicted', reply_ttl_ms)
  else
    redis.call('DEL', job_key(prefix, id), steps_key(prefix, id))
    let_go(prefix, 'bodies', id)
    redis.call('PEXPIRE', log_key(prefix, id), reply_ttl_ms)
  end
end

-- Ends a job that nobody waits for any more, and has its worker, if there is one, abort it.
-- job: {state, worker, …}; control: prefix of the workers' channels.
local function drop(prefix, id, job, state, reply_ttl_ms, control)
  redis.call('ZREM', prefix .. 'queue', id)
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('HINCRBY', job_key(prefix, id), 'epoch', 1)
  conclude(prefix, id, state, reply_ttl_ms)
  if job[1] == 'leased' then redis.call('PUBLISH', control .. job[2], id) end
end

-- Jobs under which all but the last of the workers that may die have died wait behind all others, in their own order.
local SUSPECT = 2 ^ 40

-- Jobs of batches wait behind those of people, in their own order: so much is part of it from the beginning.
local BATCH = 2 ^ 39

-- Jobs of batches that wait, but those that are to run alone.
local function batch_length(prefix) return redis.call('ZCOUNT', prefix .. 'queue', BATCH, '(' .. SUSPECT) end

-- Of those that a job has outlived, so many times as many may die under it as of others: one that ends its workers a
-- little later each time must come to an end as well.
local OUTLIVED = 2

-- Whether a job with this order is one of a batch.
local function of_batch(order) return order % SUSPECT >= BATCH end

-- Leaves so many tokens for workers that wait, where there are fewer than `most`: they are hints, and are not to pile up.
local function wake(prefix, order, tokens, most, ttl_ms)
  local key = prefix .. (of_batch(order) and 'wake-batch' or 'wake')
  if redis.call('LLEN', key) < most then
    for _ = 1, tokens do redis.call('RPUSH', key, '1') end
  end
  keep(key, ttl_ms)
end

-- Whether a job's last chance has come: all but one of the workers that may die under it have.
local function has_last_chance(deaths, in_all, most)
  return (deaths > 0 and deaths == most - 1) or (in_all > 0 and in_all >= OUTLIVED * most - 1)
end

-- Puts a job that waits or runs to where such jobs are looked for, unless it is there. Returns whether it waits or runs.
-- only: 'queue' or 'leases' where the others are to be left alone; in the middle of a script they may be on their way.
function put_in_place(prefix, id, only)
  -- Whoever runs it renews its lease; how long leases are is not known here.
  local LONG_MS = 30000
  local job = fields_of(prefix, id, 'state', 'order', 'deaths', 'deaths_in_all', 'most_deaths')
  if job[1] == 'leased' and only ~= 'queue' then
    redis.call('ZADD', prefix .. 'leases', 'NX', now_ms() + LONG_MS, id)
    keep(prefix .. 'leases', DAY_MS)
    return true
  elseif job[1] == 'queued' and int(job[2]) and only ~= 'leases' then
    local last_chance = int(job[5]) and has_last_chance(int(job[3]) or 0, int(job[4]) or 0, int(job[5]))
    redis.call('ZADD', prefix .. 'queue', 'NX', job[2] + (last_chance and SUSPECT or 0), id)
    keep(prefix .. 'queue', DAY_MS)
    return true
  end
  return false
end

-- A job has outlived those who died under it when its reply has got so many entries further than under any of them (what
-- they had not yet written is less), or when it runs longer than it ever did with them, by a lease: whatever they died of
-- lies behind it. Where it was to run alone, it need not any more.
-- `epoch`: of the worker that it runs with. Deaths of earlier ones count no longer, but for `deaths_in_all`.
local FURTHER = 8
local function outlive(prefix, id, epoch)
  local key = job_key(prefix, id)
  redis.call('HDEL', key, 'deaths', 'died_at', 'lived_ms')
  redis.call('HSET', key, 'cleared', epoch)
  local job = redis.call('HMGET', key, 'alone', 'sequences', 'width')
  local sequences, width = int(job[2]), int(job[3])
  if job[1] == '1' and sequences and width and sequences < width then
    redis.call('HSET', key, 'alone', 0, 'width', sequences)
  end
end

-- A worker that was silent and is heard of again has not died under its job.
local function forgive(prefix, id, epoch)
  local key = job_key(prefix, id)
  if redis.call('HDEL', key, 'silent:' .. epoch) == 0 then return end
  local job = redis.call('HMGET', key, 'deaths', 'deaths_in_all', 'cleared', 'most_deaths', 'order')
  local deaths, in_all, cleared, most, order = int(job[1]) or 0, int(job[2]) or 0, int(job[3]) or 0, int(job[4]), int(job[5])
  if tonumber(epoch) >= cleared then deaths = deaths - 1 end
  redis.call('HSET', key, 'deaths', deaths, 'deaths_in_all', in_all - 1)
  if most and order then
    local last_chance = has_last_chance(deaths, in_all - 1, most)
    redis.call('ZADD', prefix .. 'queue', 'XX', order + (last_chance and SUSPECT or 0), id)
  end
end

-- Whether a job is still with the worker that has this epoch; `job` is the job's {epoch, state, …}. A lease that ran
-- out lets others take the job; as long as nobody has, a worker that was only slow goes on.
local function holds(prefix, id, job, epoch, lease_ms)
  if job[1] == epoch and job[2] == 'leased' then return true end
  if not job[1] then return false end
  forgive(prefix, id, epoch)
  if job[1] ~= epoch or job[2] ~= 'queued' then return false end
  redis.call('HSET', job_key(prefix, id), 'state', 'leased')
  redis.call('ZREM', prefix .. 'queue', id)
  redis.call('ZADD', prefix .. 'leases', now_ms() + lease_ms, id)
  keep(prefix .. 'leases', lease_ms)
  return true
end

-- Answers a job that waited past its deadline.
local function expire(prefix, id, reply_to, reply_ttl_ms)
  redis.call('ZREM', prefix .. 'queue', id)
  reply(prefix, id, reply_to, {'x' .. cjson.encode({code = 'queue_timeout',
    message = 'No worker took this request in time. Try again later.'})})
  conclude(prefix, id, 'evicted', reply_ttl_ms)
end
