-- ARGV: …, digest, name
-- The object of a payload is gone, so the payload is not there either: whoever needs it has to bring it again.
if redis.call('HGET', names, ARGV[4]) == ARGV[5] then redis.call('UNLINK', data .. ARGV[4]) end
