-- KEYS: any key of the model
-- ARGV: prefix, lease ms, reply ttl ms, max bytes of replies, then for each job: id, epoch, 1 if this ends it, offset of
-- the first entry, number of entries, bytes of the log and bytes of steps that are to be counted, the engine's steps that
-- led to the entries, entries. Entries that the log already holds are skipped, with their steps, so a call may be repeated.
-- Returns the ids of jobs that the caller no longer holds, and of those for whose entries there is no room; of neither
-- was anything written.
local prefix, lease_ms, reply_ttl_ms, most_bytes = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local bytes_added = 0
local lost, held_back, messages, sizes, i = {}, {}, {}, {}, 5
-- Bytes of entries in a message; what does not fit stays in the log, and the message says that it is there.
local MOST_BYTES = 131072

-- One message a gateway, not one a job: a decode step of a full batch costs each gateway one wake-up.
local function tell(reply_to, id, length, entries)
  local message, bytes, count = messages[reply_to], sizes[reply_to] or 0, 0
  if message and bytes >= MOST_BYTES then
    redis.call('PUBLISH', reply_to, cmsgpack.pack(message))
    message, bytes = nil, 0
  end
  message = message or {}
  for _, entry in ipairs(entries) do
    if bytes >= MOST_BYTES then break end
    bytes, count = bytes + #entry, count + 1
  end
  message[#message + 1] = id
  message[#message + 1] = length
  message[#message + 1] = count == #entries and entries or {unpack(entries, 1, count)}
  if count < #entries then
    message[#message + 1] = id
    message[#message + 1] = length + #entries
    message[#message + 1] = {}
  end
  messages[reply_to], sizes[reply_to] = message, bytes
end

-- Drops replies of jobs that have ended, oldest first, until so many bytes fit. Returns whether they do.
local function make_room(bytes)
  while held(prefix, 'replies') + bytes_added + bytes > most_bytes do
    local id = on(prefix, 'ended', 'ZRANGE', 0, 0)[1]
    if not id then return false end
    redis.call('ZREM', prefix .. 'ended', id)
    let_go(prefix, 'replies', id)
    -- Otherwise it had expired.
    if redis.call('UNLINK', log_key(prefix, id)) == 1 then count(prefix, 'replies_dropped') end
  end
  return true
end

-- Whether a job may say so much now. What ends a job always may. Where what runs takes all the room, one job at a time
-- goes on regardless, or none would come to its end.
local function may_say(id, bytes, final)
  if make_room(bytes) or final then return true end
  local first = on(prefix, 'first', 'GET')
  if first and first ~= id then return false end
  redis.call('SET', prefix .. 'first', id, 'PX', lease_ms)
  return true
end

local function weigh(id, log_bytes, steps_bytes)
  on(prefix, 'replies', 'HINCRBY', id, log_bytes + steps_bytes)
  if steps_bytes > 0 then redis.call('HINCRBY', job_key(prefix, id), 'steps_bytes', steps_bytes) end
  bytes_added = bytes_added + log_bytes + steps_bytes
end

while i <= #ARGV do
  local id, epoch, final = ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1'
  local offset, number, log_bytes, steps_bytes = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5], ARGV[i + 6]
  local steps, first = ARGV[i + 7], i + 8
  i = first + number
  local job = fields_of(prefix, id, 'epoch', 'state', 'reply_to', 'followers', 'died_at')
  local log = log_key(prefix, id)
  local still, length = holds(prefix, id, job, epoch, lease_ms), log_length(prefix, id)
  local fresh = length and length < offset + number
  local bytes = fresh and log_bytes + steps_bytes or 0
  if still and not length then end_damaged(prefix, id, 'log', reply_ttl_ms) end
  if not still or not length or length < offset then
    lost[#lost + 1] = id
  elseif bytes > 0 and not may_say(id, bytes, final) then
    held_back[#held_back + 1] = id
  else
    if fresh then
      local entries = {unpack(ARGV, first + length - offset, i - 1)}
      redis.call('RPUSH', log, unpack(entries))
      if length == 0 then redis.call('HSET', job_key(prefix, id), 'begun_ms', now_ms()) end
      if steps ~= '' then push(prefix, 'steps', steps_key(prefix, id), steps) end
      if bytes > 0 then weigh(id, tonumber(log_bytes), tonumber(steps_bytes)) end
      if int(job[5]) and offset + number >= job[5] + FURTHER then outlive(prefix, id, epoch) end
      if job[3] then tell(job[3], id, length, entries) end
      if job[4] then
        for _, channel in ipairs(unpacked(job[4])) do tell(channel, id, length, entries) end
      end
    end
    if final then
      redis.call('ZREM', prefix .. 'leases', id)
      conclude(prefix, id, 'finished', reply_ttl_ms)
    elseif length == 0 then
      local ttl_ms = redis.call('PTTL', job_key(prefix, id))
      redis.call('PEXPIRE', log, ttl_ms)
      redis.call('PEXPIRE', steps_key(prefix, id), ttl_ms)
    end
  end
end
for reply_to, message in pairs(messages) do redis.call('PUBLISH', reply_to, cmsgpack.pack(message)) end
if bytes_added > 0 then
  on(prefix, 'replies', 'HINCRBY', SUM, bytes_added)
  keep(prefix .. 'replies', lease_ms + reply_ttl_ms)
end
return {lost, held_back}
