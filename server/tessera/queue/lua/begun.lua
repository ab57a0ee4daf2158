-- KEYS: any key of the model
-- ARGV: prefix, name of an idempotency key, digest of what was sent with it
-- Returns the id of the job that the key began and whose answer stands, nil where there is none, or -3 where something else
-- was sent with the key.
return begun(ARGV[1], ARGV[2], ARGV[3])
