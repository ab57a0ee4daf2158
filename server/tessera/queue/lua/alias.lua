-- KEYS: aliases
-- ARGV: name, the record that is to stand there ('': none is), most records
-- Returns 1; -1 where there are as many as there may be.
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return -1
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
