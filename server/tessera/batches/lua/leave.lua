-- ARGV: …, id, epoch, ms until somebody may take it up
-- Returns 1, or nil where the batch is somebody else's. One that has ended is not put back.
if not holds(ARGV[2], ARGV[3]) then return nil end
redis.call('ZADD', open, 'XX', now + ARGV[4], ARGV[2])
return 1
