-- ARGV: …, id, epoch, kind, bytes and place of a part that holds what the buffer does
-- Returns 1, or nil where the batch is somebody else's.
local id, kind = ARGV[2], ARGV[4]
if not holds(id, ARGV[3]) then return nil end
redis.call('RPUSH', parts_key(id, kind), ARGV[5])
redis.call('PEXPIRE', parts_key(id, kind), redis.call('PTTL', batch_key(id)))
redis.call('DEL', buffer_key(id, kind))
return 1
