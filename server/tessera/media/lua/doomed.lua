-- ARGV: …, most
-- Returns objects that are to be deleted now: nobody needs them, or they were never complete.
return redis.call('ZRANGEBYSCORE', objects, '-inf', now, 'LIMIT', 0, ARGV[4])
