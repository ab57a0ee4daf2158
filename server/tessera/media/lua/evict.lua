-- ARGV: …, bytes
-- Forgets what nobody holds until that much is free, because Redis has less memory than the store has room.
-- Returns the bytes that this freed.
local freed = evict(tonumber(ARGV[4]))
keep_books()
return freed
