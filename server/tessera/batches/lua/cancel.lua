-- ARGV: …, id
-- Returns the status that it had; nil: there is none.
local status = redis.call('HGET', batch_key(ARGV[2]), 'status')
if status == 'validating' or status == 'in_progress' then enter(ARGV[2], 'cancelling') end
return status
