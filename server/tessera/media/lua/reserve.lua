-- ARGV: …, room in bytes, then holds, each with the bytes of its payload
-- Holds payloads, and keeps room for those that are not there yet. Returns what `reserve` says of each.
local answers = {}
for i = 5, #ARGV, 2 do answers[#answers + 1] = reserve(ARGV[i], tonumber(ARGV[i + 1])) end
keep_books()
return answers
