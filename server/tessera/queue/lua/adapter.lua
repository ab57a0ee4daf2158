-- KEYS: adapters
-- ARGV: name, the version that stands there ('': none does), the record that is to stand there ('': none is), most records
-- Returns 1; 0 where another version stands there, -1 where there are as many as there may be.
local stands = redis.call('HGET', KEYS[1], ARGV[1])
-- Called once more, since the answer was lost on its way.
if (stands or '') == ARGV[3] then return 1 end
local known, record = pcall(cjson.decode, stands or 'null')
-- What cannot be read is as if it were not there.
local version = known and type(record) == 'table' and record.version or ''
if version ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif not stands and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return -1
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
