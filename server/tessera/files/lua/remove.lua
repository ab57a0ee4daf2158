-- ARGV: …, id
-- Forgets a file, or what was reserved for one. Returns its place, nil where it is not known.
local place = redis.call('HGET', places, ARGV[3])
if not place then return nil end
forget(ARGV[3])
keep()
return place
