-- KEYS: any key of the model
-- ARGV: prefix, lease ms, reply ttl ms, then for each job: id, epoch, 1 if this ends it, offset of the first entry,
-- number of entries, the engine's steps that led to them, entries. Entries that the log already holds are skipped, with
-- their steps, so a call may be repeated.
-- Returns the ids of jobs that the caller no longer holds (their entries were not written).
local prefix, lease_ms, reply_ttl_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local lost, messages, sizes, i = {}, {}, {}, 4
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

while i <= #ARGV do
  local id, epoch, final = ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1'
  local offset, count, steps, first = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5], i + 6
  i = first + count
  local job = redis.call('HMGET', job_key(prefix, id), 'epoch', 'state', 'reply_to', 'followers')
  local log = log_key(prefix, id)
  local length = redis.call('LLEN', log)
  if not holds(prefix, id, job, epoch, lease_ms) or length < offset then
    lost[#lost + 1] = id
  else
    local entries = {unpack(ARGV, first + length - offset, i - 1)}
    if #entries > 0 then
      redis.call('RPUSH', log, unpack(entries))
      if steps ~= '' then redis.call('RPUSH', steps_key(prefix, id), steps) end
      tell(job[3], id, length, entries)
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
return lost
