-- ARGV: …, id, tenant, record, most open ones of a tenant, how long it is kept (ms)
-- Returns 1, or 0 where there are as many as there may be.
local id, tenant, keep_ms = ARGV[2], ARGV[3], tonumber(ARGV[6])
local own, all = prefix .. 'open:' .. tenant, prefix .. 'of:' .. tenant
if redis.call('EXISTS', batch_key(id)) == 1 then return 1 end
if redis.call('SCARD', own) >= tonumber(ARGV[5]) then
  -- Those whose records are gone do not count.
  for _, other in ipairs(redis.call('SMEMBERS', own)) do
    if redis.call('EXISTS', batch_key(other)) == 0 then redis.call('SREM', own, other) end
  end
  if redis.call('SCARD', own) >= tonumber(ARGV[5]) then return 0 end
end
redis.call('HSET', batch_key(id), 'record', ARGV[4], 'tenant', tenant, 'status', 'validating', 'epoch', 0)
redis.call('PEXPIRE', batch_key(id), keep_ms)
redis.call('SADD', own, id)
redis.call('ZADD', open, now, id)
redis.call('ZREMRANGEBYSCORE', all, '-inf', now_s - keep_ms / 1000)
redis.call('ZADD', all, now_s, id)
for _, key in ipairs({own, all, open}) do redis.call('PEXPIRE', key, keep_ms) end
return 1
