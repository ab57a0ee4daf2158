-- KEYS: any key of the model
-- ARGV: prefix, reply ttl ms, what an entry costs its reader beside its bytes, then for each job: id, entries that the
-- reader has, bytes that it has room for
-- Returns for each job {its state, the log's length, its first entry, entries behind those that the reader has}.
local prefix, reply_ttl_ms, cost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local PIECE = 64
local parts = {}
for i = 4, #ARGV, 3 do
  local id, offset, room = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local key, log = job_key(prefix, id), log_key(prefix, id)
  local length, entries = log_length(prefix, id), {}
  -- Where nothing can be written, it is only not counted.
  if not length then pcall(count, prefix, 'corrupt:log') end
  while length and room > 0 and offset + #entries < length do
    local at = offset + #entries
    for _, entry in ipairs(redis.call('LRANGE', log, at, at + PIECE - 1)) do
      if room <= 0 then break end
      entries[#entries + 1] = entry
      room = room - #entry - cost
    end
  end
  -- Whoever reads slowly keeps what it has yet to read; where nothing can be written, it is only read.
  if length and offset < length and redis.call('PTTL', log) < reply_ttl_ms / 2 then
    redis.pcall('PEXPIRE', log, reply_ttl_ms)
    redis.pcall('PEXPIRE', key, reply_ttl_ms)
    -- It is dropped after those that nobody reads.
    redis.pcall('ZADD', prefix .. 'ended', 'XX', now_ms() + reply_ttl_ms, id)
    for _, what in ipairs({'ended', 'replies'}) do
      if redis.call('PTTL', prefix .. what) < reply_ttl_ms then redis.pcall('PEXPIRE', prefix .. what, reply_ttl_ms) end
    end
  end
  parts[#parts + 1] = length and {fields_of(prefix, id, 'state')[1] or false, length, redis.call('LINDEX', log, 0), entries}
    or {false, 0, false, entries}
end
return parts
