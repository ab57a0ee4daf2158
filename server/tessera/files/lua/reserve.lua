-- ARGV: …, id, bytes, how long that holds (ms), most files, most bytes, place ('' for an upload), `1` where it may be
-- new, and for an upload its record
-- Returns 1, -1 (too many files), -2 (too many bytes) or 0 (it is not known any more).
purge()
local id, size = ARGV[3], tonumber(ARGV[4])
local before = redis.call('HGET', bytes, id)
if not before then
  if ARGV[9] ~= '1' then return 0 end
  if redis.call('HLEN', bytes) - redis.call('HEXISTS', bytes, '=') >= tonumber(ARGV[6]) then return -1 end
end
if total() + size - tonumber(before or 0) > tonumber(ARGV[7]) then return -2 end
charge(id, size)
redis.call('ZADD', expiry, now + ARGV[5], id)
if ARGV[8] ~= '' then redis.call('HSET', places, id, ARGV[8]) end
if ARGV[10] then
  redis.call('HSET', upload_key(id), 'record', ARGV[10], 'status', 'pending', 'room', size, 'bytes', 0)
end
keep(upload_key(id))
return 1
