-- ARGV: …, id, epoch, the status that it is to have, the one that it has ('': any), 1 if it is the last, how long it is
-- kept then (ms), then fields and values
-- Returns the status that it has then, or nil where the batch is somebody else's.
local id, key, status, before = ARGV[2], batch_key(ARGV[2]), ARGV[4], ARGV[5]
if not holds(id, ARGV[3]) then return nil end
local found = redis.call('HGET', key, 'status')
if before ~= '' and found ~= before then return found end
for i = 8, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
if status == '' then return found end
if status ~= found then enter(id, status) end
if ARGV[6] == '1' then
  redis.call('ZREM', open, id)
  redis.call('SREM', prefix .. 'open:' .. redis.call('HGET', key, 'tenant'), id)
  for _, kind in ipairs({'output', 'error'}) do redis.call('DEL', buffer_key(id, kind), parts_key(id, kind)) end
  redis.call('PEXPIRE', key, ARGV[7])
end
return status
