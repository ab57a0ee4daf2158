-- ARGV: …, id
-- Returns 1 where it was there.
return forget(ARGV[3])
