-- ARGV: …, most
-- Returns holds that nobody has renewed for half of their lease, or longer.
return redis.call('ZRANGEBYSCORE', holds, '-inf', now + lease_ms / 2, 'LIMIT', 0, ARGV[4])
