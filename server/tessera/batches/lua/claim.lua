-- ARGV: …, lease ms
-- Returns the id and the epoch of a batch that nobody runs, the oldest first; nothing where there is none.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', now, 'LIMIT', 0, 64)) do
  if redis.call('EXISTS', batch_key(id)) == 1 then
    local epoch = redis.call('HINCRBY', batch_key(id), 'epoch', 1)
    redis.call('ZADD', open, now + ARGV[2], id)
    return {id, epoch}
  end
  redis.call('ZREM', open, id)
end
return {}
