-- ARGV: …, id of a conversation, the response whose turn this is ('': a client adds them), most conversations, most bytes
-- of all, most bytes of one ('': as many as it has), then items
-- Returns the place of the first of them; 0 where it is not that response's turn (any more), -1 where it would be too
-- large, or -2 where it is not there.
purge()
local id, turn, key = ARGV[3], ARGV[4], item_key(ARGV[3])
if redis.call('EXISTS', key) == 0 then return -2 end
if turn ~= '' and redis.call('HGET', key, 'turn') ~= turn then return 0 end
local last = tonumber(redis.call('HGET', key, 'last') or 0)
-- Called once more, since the answer was lost on its way: items have ids.
local first = last - (#ARGV - 7) + 1
if redis.call('HGET', key, 'item:' .. first) == ARGV[8] then return first end
local size = tonumber(redis.call('HGET', bytes, id) or 0)
for i = 8, #ARGV do size = size + #ARGV[i] + ITEM_OVERHEAD end
if turn == '' and size > tonumber(ARGV[7]) then return -1 end
redis.call('HSET', key, 'last', last + #ARGV - 7)
first = last + 1
for i = 8, #ARGV do redis.call('HSET', key, 'item:' .. (first + i - 8), ARGV[i]) end
if turn ~= '' then redis.call('HDEL', key, 'turn', 'since') end
charge(id, size)
keep(id)
make_room(id, tonumber(ARGV[5]), tonumber(ARGV[6]))
return first
