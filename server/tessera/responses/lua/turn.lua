-- ARGV: …, id of a conversation, the response that has the turn ('': none has), the one that is to have it ('': none); of
-- that one also the place of the last item that it knows
-- Returns 1; 0 where another one has it, or there are items behind that, -2 where the conversation is not there.
local key, holder = item_key(ARGV[3]), ARGV[4]
if redis.call('EXISTS', key) == 0 then return -2 end
local stands = redis.call('HGET', key, 'turn') or ''
-- Called once more, since the answer was lost on its way.
if ARGV[5] ~= '' and stands == ARGV[5] then return 1 end
if stands ~= holder then return 0 end
if ARGV[5] == '' then
  redis.call('HDEL', key, 'turn', 'since')
else
  if tonumber(redis.call('HGET', key, 'last') or 0) ~= tonumber(ARGV[6]) then return 0 end
  redis.call('HSET', key, 'turn', ARGV[5], 'since', now)
  keep(ARGV[3])
end
return 1
