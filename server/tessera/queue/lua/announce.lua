-- KEYS: workers, cards, models
-- ARGV: worker, model, card, ttl ms
-- By Redis' clock, since those of the workers differ.
local now = now_ms()
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[2], now .. ' ' .. ARGV[3])
