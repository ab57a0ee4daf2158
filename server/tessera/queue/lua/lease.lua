-- KEYS: any key of the model
-- ARGV: prefix, worker, claim, 1 if the claim was made before, free sequences, 1 if the worker is idle, max jobs,
-- lease ms, reply ttl ms
-- Returns an array of {id, epoch, attempts, wait ms, sequences, meta, body, entries that its log holds already}.
-- The answer to a claim may be lost, and the claim itself delayed until its worker has long made it again: made twice
-- it gives the same jobs twice, and made after a later one it gives none.
local prefix, worker, claim, again = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local free, idle, most = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7])
local lease_ms, reply_ttl_ms = tonumber(ARGV[8]), tonumber(ARGV[9])
local queue, leases, record = prefix .. 'queue', prefix .. 'leases', prefix .. 'claim:' .. worker
local now, jobs, given = now_ms(), {}, {claim}
local FIELDS = {'epoch', 'state', 'attempts', 'enqueued_ms', 'sequences', 'meta', 'body', 'deadline_ms', 'reply_to'}

local function give(id, epoch, attempts, job)
  redis.call('PEXPIRE', job_key(prefix, id), lease_ms + reply_ttl_ms)
  redis.call('ZADD', leases, now + lease_ms, id)
  -- An epoch is the time of its delivery.
  jobs[#jobs + 1] = {id, epoch, attempts, epoch - job[4], tonumber(job[5]), job[6], job[7],
    redis.call('LLEN', log_key(prefix, id))}
  given[#given + 1] = id
  given[#given + 1] = epoch
end

local function take(id, job)
  local key = job_key(prefix, id)
  redis.call('ZREM', queue, id)
  -- By the clock: a failover may lose the last epochs that were given out, and none may be given out twice.
  local epoch = math.max(job[1] + 1, now)
  redis.call('HSET', key, 'state', 'leased', 'worker', worker, 'epoch', epoch)
  give(id, epoch, redis.call('HINCRBY', key, 'attempts', 1), job)
end

local last = redis.call('GET', record)
if last then
  last = cmsgpack.unpack(last)
  if claim < last[1] then return {} end
  if claim == last[1] then
    for i = 2, #last, 2 do
      local job = redis.call('HMGET', job_key(prefix, last[i]), unpack(FIELDS))
      if holds(prefix, last[i], job, string.format('%.0f', last[i + 1]), lease_ms) then
        give(last[i], last[i + 1], tonumber(job[3]), job)
      end
    end
    return jobs
  end
end

while #jobs < most do
  local id = redis.call('ZRANGE', queue, 0, 0)[1]
  if not id then
    redis.call('DEL', prefix .. 'wake')
    break
  end
  local job = redis.call('HMGET', job_key(prefix, id), unpack(FIELDS))
  if not job[1] then
    redis.call('ZREM', queue, id)
  elseif tonumber(job[8]) <= now then
    expire(prefix, id, job[9], reply_ttl_ms)
  else
    local sequences = tonumber(job[5])
    -- A job wider than any engine runs alone rather than never.
    if sequences > free and not idle then break end
    free, idle = free - sequences, false
    take(id, job)
    if free <= 0 then break end
  end
end
if #jobs > 0 then keep(leases, lease_ms + reply_ttl_ms) end
-- Nothing was given and nobody asks twice: there is nothing to remember.
if #jobs > 0 or again then redis.call('SET', record, cmsgpack.pack(given), 'PX', lease_ms + reply_ttl_ms) end
return jobs
