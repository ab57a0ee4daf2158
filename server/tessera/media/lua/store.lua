-- ARGV: …, room in bytes, then holds, each with its payload
-- Stores payloads for which there is room that nobody else has to leave, and reserves all.
-- Returns for each 2 (it is stored now), or what `reserve` says.
local stored, answers = {}, {}
local free = room - total_bytes()
for i = 5, #ARGV, 2 do
  local digest, payload = digest_of(ARGV[i]), ARGV[i + 1]
  if #payload <= free and redis.call('EXISTS', data .. digest) == 0 and redis.call('HEXISTS', sizes, digest) == 0 then
    -- The first write of all, since only that is refused where there is no memory. `reserve` enters it into the books.
    if redis.pcall('SET', data .. digest, payload, 'PX', lifetime_ms).err then break end
    stored[digest], free = true, free - #payload
  end
end
for i = 5, #ARGV, 2 do
  local answer, digest = reserve(ARGV[i], #ARGV[i + 1]), digest_of(ARGV[i])
  answers[#answers + 1] = stored[digest] and 2 or answer
  stored[digest] = nil
end
keep_books()
return answers
