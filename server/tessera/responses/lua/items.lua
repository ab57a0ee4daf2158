-- ARGV: …, id of a conversation
-- Returns its fields and their values, and how long the response that has the turn has had it (ms).
local key = item_key(ARGV[3])
local since = tonumber(redis.call('HGET', key, 'since') or now)
return {redis.call('HGETALL', key), now - since}
