-- ARGV: …, digest, receipt, bytes
-- Has a payload be there whose parts are. Returns 1, or 0 where some are not: its room was given away meanwhile.
local digest, receipt, size = ARGV[4], ARGV[5], tonumber(ARGV[6])
if not refresh_parts(digest, size) then return 0 end
redis.call('SET', data .. digest, receipt, 'PX', lifetime_ms)
return 1
