-- KEYS: aliases
-- Returns name, record, … for all of them.
return redis.call('HGETALL', KEYS[1])
