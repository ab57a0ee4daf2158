-- ARGV: …, id, epoch, lines and bytes of the input that are done with, how many more are completed, and failed, lines for
-- the output, and for the errors
-- Returns the bytes of both buffers, or nil where the batch is somebody else's.
local id, key = ARGV[2], batch_key(ARGV[2])
if not holds(id, ARGV[3]) then return nil end
redis.call('HSET', key, 'line', ARGV[4], 'offset', ARGV[5])
redis.call('HINCRBY', key, 'completed', ARGV[6])
redis.call('HINCRBY', key, 'failed', ARGV[7])
local sizes, ttl_ms = {}, redis.call('PTTL', key)
for i, kind in ipairs({'output', 'error'}) do
  local buffer = buffer_key(id, kind)
  sizes[i] = redis.call('APPEND', buffer, ARGV[7 + i])
  redis.call('PEXPIRE', buffer, ttl_ms)
end
return sizes
