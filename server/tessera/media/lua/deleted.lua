-- ARGV: …, then names
-- Objects that are deleted.
for i = 4, #ARGV do redis.call('ZREM', objects, ARGV[i]) end
