-- KEYS: any key of the model
-- ARGV: prefix, 5 limits (see `limits_from`), worker, claim, 1 if the claim was made before, free sequences, sequences
-- that the engine runs at once, max jobs, lease ms, most overtakings of a job, longest time in which it is overtaken (ms), free sequences
-- for jobs of batches, sequences that all of these may take up here, max jobs of batches
-- Returns an array of {id, epoch, attempts, wait ms, sequences, meta, body, entries that its log holds already,
-- sequences that it takes up here}, whether the worker is kept free, what `keep_letter` returns for each that is
-- set aside, since its record is damaged, and whether the queue holds more. Who wants none (most: 0) only has an earlier
-- claim answered.
-- The answer to a claim may be lost, and the claim itself delayed until its worker has long made it again: made twice
-- it gives the same jobs twice, and made after a later one it gives none.
-- A suspect (see `give_back`) needs all of an engine, to run alone, and is passed by all others; but for one at a time,
-- which the next idle worker takes.
-- A job that does not fit is passed by those behind it that do. Once that has gone on for long enough, one worker is
-- kept free: it takes nothing else until the job fits, or another worker has taken it.
-- Of jobs that were given out before, one worker takes only a few in a call, and another one is woken for the next: what
-- a dead worker ran is shared out among those that are left, rather than gone on with by the one that asks first.
-- Jobs of batches are taken while nobody else waits, and leave some of each worker to whoever comes next. They pass each
-- other as well; but no worker is kept free for one, which only holds back the others behind it.
local prefix, limits, worker, claim, again = ARGV[1], limits_from(2), ARGV[7], tonumber(ARGV[8]), ARGV[9] == '1'
local free, capacity, most = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local lease_ms, reply_ttl_ms = tonumber(ARGV[13]), tonumber(limits.reply_ttl_ms)
local most_passed, longest_ms = tonumber(ARGV[14]), tonumber(ARGV[15])
local batch_free, batch_room, batch_most = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local queue, leases, record = prefix .. 'queue', prefix .. 'leases', prefix .. 'claim:' .. worker
local reserved = prefix .. 'reserved'
local now, jobs, given, letters, kept_free = now_ms(), {}, {claim}, {}, false
-- Jobs that do not fit are looked at up to this number.
local MOST_SKIPPED = 64
-- Of so many that wait, one that was given out before is taken in a call, and one at the least.
local SHARED_AMONG = 16

local function look(id, score)
  local job = fields_of(prefix, id, 'epoch', 'state', 'attempts', 'enqueued_ms', 'sequences', 'deadline_ms', 'reply_to',
    'front_ms', 'width')
  return {epoch = job[1], state = job[2], attempts = int(job[3]), enqueued_ms = int(job[4]),
    sequences = int(job[5]), deadline_ms = int(job[6]), reply_to = job[7], front_ms = job[8],
    width = int(job[9]), suspect = score >= SUSPECT, batch = of_batch(score)}
end

local function whole(job)
  return int(job.epoch) and job.attempts and job.enqueued_ms and job.sequences and job.sequences > 0
    and job.deadline_ms and job.reply_to
end

-- A job wider than any engine is only as wide as it: it runs alone rather than never. So is one of a batch that is wider
-- than all of them may be.
local function width_of(job)
  return job.suspect and capacity or math.min(job.sequences, job.batch and batch_room or capacity)
end

local function fits(job)
  local width = width_of(job)
  return width <= free and (job.suspect or not job.batch or width <= batch_free)
end

-- {description, body, entries of the reply so far}; or nil, and what is damaged.
local function content_of(id)
  local content, length = fields_of(prefix, id, 'meta', 'body'), log_length(prefix, id)
  if not (content[1] and content[2]) then return nil, 'job' end
  if not length then return nil, 'log' end
  return {content[1], content[2], length}
end

local function give(id, epoch, attempts, width, content, job)
  local key = job_key(prefix, id)
  redis.call('PEXPIRE', key, lease_ms + reply_ttl_ms)
  redis.call('ZADD', leases, now + lease_ms, id)
  -- An epoch is the time of its delivery.
  jobs[#jobs + 1] = {id, epoch, attempts, epoch - job.enqueued_ms, job.sequences, content[1], content[2],
    content[3], width}
  given[#given + 1] = id
  given[#given + 1] = epoch
end

local function take(id, job)
  local key, width, content, damaged = job_key(prefix, id), width_of(job), content_of(id)
  if damaged then
    set_aside_damaged(prefix, id, damaged, limits, letters)
    return
  end
  redis.call('ZREM', queue, id)
  if job.front_ms then redis.call('HDEL', key, 'passed', 'front_ms') end
  -- By the clock: a failover may lose the last epochs that were given out, and none may be given out twice.
  local epoch = math.max(job.epoch + 1, now)
  if job.suspect then redis.call('SET', prefix .. 'alone', id, 'PX', lease_ms + reply_ttl_ms) end
  -- What is told of each delivery is for who asks what became of the job.
  redis.call('HSET', key, 'state', 'leased', 'worker', worker, 'epoch', epoch, 'width', width, 'alone',
    width >= capacity and 1 or 0, string.format('taken:%.0f', epoch), string.format('%.0f %s', now, worker))
  give(id, epoch, redis.call('HINCRBY', key, 'attempts', 1), width, content, job)
  free = free - width
  if job.batch then
    batch_free = batch_free - width
    batch_most = batch_most - 1
  end
end

-- A job that can be taken, or nil.
local function waiting(id, score)
  local job = look(id, tonumber(score or 0))
  if not score then
    return nil
  elseif not job.state then
    set_aside_damaged(prefix, id, 'job', limits, letters)
  elseif job.state ~= 'queued' then
    redis.call('ZREM', queue, id)
  elseif not whole(job) then
    set_aside_damaged(prefix, id, 'job', limits, letters)
  elseif job.deadline_ms > now then
    return job
  else
    expire(prefix, id, job.reply_to, reply_ttl_ms)
  end
end

-- Whether a job that does not fit has been passed for long enough.
local function passed_enough(id)
  local key = job_key(prefix, id)
  local front = redis.call('HMGET', key, 'passed', 'front_ms')
  if not int(front[1]) then redis.call('HSET', key, 'passed', 0) end
  if not int(front[2]) then redis.call('HSET', key, 'front_ms', now) end
  return (int(front[1]) or 0) >= most_passed or now - (int(front[2]) or now) >= longest_ms
end

local function one_runs_alone()
  local id = redis.call('GET', prefix .. 'alone')
  local job = id and fields_of(prefix, id, 'state', 'alone') or {}
  return job[1] == 'leased' and job[2] == '1'
end

local function keep_free_for(id)
  redis.call('HSET', reserved, 'worker', worker, 'job', id)
  redis.call('PEXPIRE', reserved, lease_ms)
  kept_free = true
end

local function take_what_fits()
  local holder = redis.call('HMGET', reserved, 'worker', 'job')
  if holder[1] == worker and holder[2] then
    local job = waiting(holder[2], redis.call('ZSCORE', queue, holder[2]))
    if job and width_of(job) > free then
      keep_free_for(holder[2])
      return
    end
    redis.call('DEL', reserved)
    if job then take(holder[2], job) end
    holder = {}
  end
  local suspect, order = unpack(redis.call('ZRANGEBYSCORE', queue, SUSPECT, '+inf', 'WITHSCORES', 'LIMIT', 0, 1))
  local suspected = suspect and waiting(suspect, order)
  local enough = suspected and passed_enough(suspect)
  if suspected and free == capacity and (enough or not one_runs_alone()) then
    take(suspect, suspected)
    suspected = nil
  elseif enough and free < capacity and not holder[1] and not suspected.batch then
    keep_free_for(suspect)
    return
  end
  local front, front_of_batch, skipped, passing, passing_suspects, resumed = nil, false, 0, 0, 0, 0
  local share = math.max(1, math.floor(redis.call('ZCARD', queue) / SHARED_AMONG))
  for _ = 1, most + MOST_SKIPPED do
    if #jobs >= most or free <= 0 then break end
    local id, score = unpack(redis.call('ZRANGE', queue, skipped, skipped, 'WITHSCORES'))
    if not id then
      if skipped == 0 then redis.call('DEL', prefix .. 'wake', prefix .. 'wake-batch') end
      break
    end
    local job = waiting(id, score)
    if job and job.batch and not job.suspect then
      if front and not front_of_batch then break end
      if batch_free <= 0 or batch_most <= 0 then break end
    end
    if job and fits(job) then
      if job.epoch ~= '0' then resumed = resumed + 1 end
      if resumed > share then
        wake(prefix, tonumber(score), 1, 1, lease_ms + reply_ttl_ms)
        break
      end
      take(id, job)
      if front then passing = passing + 1 end
      if not job.suspect then passing_suspects = passing_suspects + 1 end
    elseif job then
      skipped = skipped + 1
      if not front then
        front, front_of_batch = id, job.batch
        if passed_enough(id) and (job.batch or not holder[1]) then
          if not job.batch then keep_free_for(id) end
          break
        end
      end
    end
  end
  if passing > 0 then redis.call('HINCRBY', job_key(prefix, front), 'passed', passing) end
  if suspected and passing_suspects > 0 then
    redis.call('HINCRBY', job_key(prefix, suspect), 'passed', passing_suspects)
  end
end

local function left()
  return redis.call('ZCARD', queue) > 0 and 1 or 0
end

local last = redis.pcall('GET', record)
if last then
  last = type(last) == 'string' and unpack_table(last)
  if not (last and tonumber(last[1])) then
    count(prefix, 'corrupt:claim')
    redis.call('DEL', record)
  elseif claim < last[1] then
    return {{}, 0, letters, left()}
  elseif claim == last[1] then
    for i = 2, #last, 2 do
      local id, job = last[i], look(last[i], 0)
      local content = whole(job) and job.width and content_of(id)
      if content and holds(prefix, id, {job.epoch, job.state}, string.format('%.0f', last[i + 1]), lease_ms) then
        give(id, last[i + 1], job.attempts, job.width, content, job)
      end
    end
    return {jobs, 0, letters, left()}
  end
end

if most > 0 then take_what_fits() end
if #jobs > 0 then keep(leases, lease_ms + reply_ttl_ms) end
-- Nothing was given and nobody asks twice: there is nothing to remember.
if #jobs > 0 or again then redis.call('SET', record, cmsgpack.pack(given), 'PX', lease_ms + reply_ttl_ms) end
return {jobs, kept_free and 1 or 0, letters, left()}
