-- ARGV: …, room in bytes, then holds, each with the bytes of its payload
-- Holds payloads, and keeps room for those that are not there yet. What was sent along is stored, where that needs no
-- room that others would have to leave, and goes otherwise.
-- Returns for each 2 (it is stored now), or what `reserve` says.
local function adopt(digest, size)
  local sent = prefix .. 'sent:' .. digest
  if redis.call('EXISTS', sent) == 0 then return false end
  local new = redis.call('EXISTS', data .. digest) == 0 and redis.call('HEXISTS', sizes, digest) == 0
  if new and total_bytes() + size <= room then
    -- `reserve` enters it into the books, and lets it live for as long as others.
    redis.call('RENAME', sent, data .. digest)
    return true
  end
  redis.call('UNLINK', sent)
  return false
end

local answers = {}
for i = 5, #ARGV, 2 do
  local hold, size = ARGV[i], tonumber(ARGV[i + 1])
  local stored = adopt(digest_of(hold), size)
  local answer = reserve(hold, size)
  answers[#answers + 1] = stored and 2 or answer
end
keep_books()
return answers
