-- ARGV: …, upload, part, bytes (-1: it does not come after all), `1` where it is complete, place, most parts
-- Returns 1, 0 (no such upload), -1 (it takes no parts), -2 (no room in it) or -3 (too many parts).
local id, part, size = ARGV[3], ARGV[4], tonumber(ARGV[5])
local upload, parts = upload_key(id), parts_key(id)
local status = redis.call('HGET', upload, 'status')
if not status or is_over(id) then return 0 end
if status ~= 'pending' then return -1 end
local before = redis.call('HGET', parts, part)
local taken = before and tonumber(string.match(before, '^%d+')) or 0
if size < 0 then
  redis.call('HDEL', parts, part)
  redis.call('HINCRBY', upload, 'bytes', 0 - taken)
  return 1
end
if not before and redis.call('HLEN', parts) >= tonumber(ARGV[8]) then return -3 end
if redis.call('HINCRBY', upload, 'bytes', size - taken) > tonumber(redis.call('HGET', upload, 'room')) then
  redis.call('HINCRBY', upload, 'bytes', taken - size)
  return -2
end
redis.call('HSET', parts, part, size .. ' ' .. ARGV[6] .. ' ' .. ARGV[7])
keep(upload, parts)
return 1
