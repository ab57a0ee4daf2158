-- ARGV: …, id of a conversation, place of an item
-- Returns 1 where it was there.
local id, key, field = ARGV[3], item_key(ARGV[3]), 'item:' .. ARGV[4]
local size = redis.call('HSTRLEN', key, field)
if redis.call('HDEL', key, field) == 0 then return 0 end
charge(id, tonumber(redis.call('HGET', bytes, id) or 0) - size - ITEM_OVERHEAD)
return 1
