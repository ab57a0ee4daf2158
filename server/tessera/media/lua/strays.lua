-- ARGV: …, then digests, each with the name of an object
-- Returns those names that nothing leads to: whoever wrote them, or the books themselves, were lost.
local found = {}
for i = 4, #ARGV, 2 do
  local digest, name = ARGV[i], ARGV[i + 1]
  local needed = redis.call('HGET', names, digest) == name and redis.call('EXISTS', data .. digest) == 1
  if not needed and not redis.call('ZSCORE', objects, name) then found[#found + 1] = name end
end
return found
