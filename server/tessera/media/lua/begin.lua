-- ARGV: …, name, ms
-- An object is about to be written: it is to be deleted after that time unless it is attached by then.
redis.call('PEXPIRE', objects, lifetime_ms)
redis.call('ZADD', objects, now + tonumber(ARGV[5]), ARGV[4])
keep_books()
