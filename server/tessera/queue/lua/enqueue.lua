-- KEYS: any key of the model (routes the script in a cluster)
-- ARGV: prefix, id, max queued, queue timeout ms, reply ttl ms, lease ms, the gateway that the job ends with ('': none),
-- the channel of the one that asks, sequences, meta, body, max bytes of bodies, 1 if it is of a batch; with an
-- idempotency key also its name, the digest of what was sent with it, whose it is, how long it is remembered (ms), and of
-- how many of theirs that is true
-- Returns the queue's length after the job was added, -1 where the queue is full, or -2 where bodies take all
-- the room; and with a key also what `begun` returns.
local prefix, id = ARGV[1], ARGV[2]
local queue = prefix .. 'queue'
local length = redis.call('ZCARD', queue)
local key, now = job_key(prefix, id), now_ms()
-- Seen before: the answer to the first call was lost on its way and the call repeated; or it was cancelled meanwhile.
if redis.call('EXISTS', key) == 1 then return length end
local earlier = ARGV[14] and begun(prefix, ARGV[14], ARGV[15])
if earlier then return earlier end
-- Each class has so many: a batch keeps nobody out.
local batch, most = ARGV[13] == '1', tonumber(ARGV[3])
if length >= most then
  local of_batches = batch_length(prefix)
  if (batch and of_batches or length - of_batches) >= most then return -1 end
end
-- One that is alone is taken, however large.
local bodies = held(prefix, 'bodies')
if bodies > 0 and bodies + #ARGV[11] > tonumber(ARGV[12]) then return -2 end
local order = redis.call('INCR', prefix .. 'order')
if order == 1 then
  -- Where it was lost, what waits or runs came before.
  for _, other in ipairs(redis.call('HKEYS', prefix .. 'bodies')) do
    order = math.max(order, (int(fields_of(prefix, other, 'order')[1]) or 0) % BATCH + 1)
  end
  if order > 1 then redis.call('SET', prefix .. 'order', order) end
end
if batch then order = order + BATCH end
redis.call('HSET', key, 'state', 'queued', 'epoch', 0, 'attempts', 0, 'order', order, 'enqueued_ms', now,
  'arrived_ms', now, 'deadline_ms', now + ARGV[4], 'reply_to', ARGV[8], 'sequences', ARGV[9], 'meta', ARGV[10],
  'body', ARGV[11])
-- It outlives the queue's deadline only by the reply's.
local ttl_ms = ARGV[4] + ARGV[5]
redis.call('PEXPIRE', key, ttl_ms)
redis.call('ZADD', queue, order, id)
keep(queue, ttl_ms)
hold(prefix, 'bodies', id, #ARGV[11])
keep(prefix .. 'bodies', ttl_ms)
if ARGV[7] ~= '' then
  redis.call('HSET', key, 'gateway', ARGV[7])
  redis.call('SADD', gateway_key(prefix, ARGV[7]), id)
  keep(gateway_key(prefix, ARGV[7]), ttl_ms)
  redis.call('ZADD', prefix .. 'gateways', 'GT', now + ARGV[6], ARGV[7])
  keep(prefix .. 'gateways', ttl_ms)
end
if ARGV[14] then remember(prefix, ARGV[14], ARGV[15], ARGV[16], id, ARGV[17], tonumber(ARGV[18])) end
wake(prefix, order, 1, length + 1, ttl_ms)
return length + 1
