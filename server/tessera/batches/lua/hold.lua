-- ARGV: …, id, epoch, ms until somebody else may take it up
-- Returns the batch's status, or nil where it is somebody else's.
if not holds(ARGV[2], ARGV[3]) then return nil end
redis.call('ZADD', open, 'XX', now + ARGV[4], ARGV[2])
return redis.call('HGET', batch_key(ARGV[2]), 'status')
