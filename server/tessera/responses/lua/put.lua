-- ARGV: …, id, `1` where it may be new, most responses, most bytes of all, then its fields and their values
-- Where others take the room, those that are over first give way.
-- Returns how many had to give way, -1 where it alone is too large, or -2 where it is not there and may not be new.
purge()
local id, key = ARGV[3], item_key(ARGV[3])
if ARGV[4] ~= '1' and redis.call('EXISTS', key) == 0 then return -2 end
local given, size = {}, 0
for i = 7, #ARGV, 2 do
  given[ARGV[i]] = true
  size = size + #ARGV[i] + #ARGV[i + 1]
end
for _, name in ipairs(redis.call('HKEYS', key)) do
  if not given[name] then size = size + #name + redis.call('HSTRLEN', key, name) end
end
local most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
if size > most_bytes then return -1 end
charge(id, size)
redis.call('HSET', key, unpack(ARGV, 7))
keep(id)
return make_room(id, most, most_bytes)
