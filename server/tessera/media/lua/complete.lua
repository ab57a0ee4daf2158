-- ARGV: …, digest, receipt, number of parts
-- Has a payload be there whose parts are. Returns 1, or 0 where some are not: its room was given away meanwhile.
local digest, receipt, count = ARGV[4], ARGV[5], tonumber(ARGV[6])
if redis.call('PEXPIRE', parts .. digest, lifetime_ms) == 0 then return 0 end
if redis.call('HLEN', parts .. digest) ~= count then
  redis.call('UNLINK', parts .. digest)
  return 0
end
redis.call('SET', data .. digest, receipt, 'PX', lifetime_ms)
return 1
