-- ARGV: …, id, most responses of a chain
-- Returns {id, meta, shape, input, previous, final} of the response and of those that went before it, the newest first;
-- the last of them has an id and nothing else where it is not there. All of them live on.
local chain, id = {}, ARGV[3]
while id and id ~= '' and #chain <= tonumber(ARGV[4]) do
  local fields = redis.call('HMGET', item_key(id), 'meta', 'shape', 'input', 'previous', 'final')
  chain[#chain + 1] = {id, unpack(fields, 1, 5)}
  if not fields[1] then break end
  keep(id)
  id = fields[4]
end
return chain
