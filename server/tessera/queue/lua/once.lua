-- Prepended to the scripts that know idempotency keys: `once:NAME` holds the digest of what was sent with a key, and the
-- id of the job that it began; the sorted set `keys:TENANT` holds the names of a tenant, by when their jobs began (ms), so
-- that none pushes out those of another.

local OTHER_REQUEST = -3

local function once_key(prefix, name) return prefix .. 'once:' .. name end

-- Whether a job's answer is the answer to the same request once more: it is still to come, or it is kept and the server
-- did not fail on it, nor was it given up (but as poison) or cancelled.
local function stands(prefix, id)
  local state = fields_of(prefix, id, 'state')[1]
  if state == 'queued' or state == 'leased' then return true end
  local last = (state == 'finished' or state == 'evicted') and redis.pcall('LINDEX', log_key(prefix, id), -1)
  if type(last) ~= 'string' then return false end
  -- What was set aside must not end as many workers once more.
  if state == 'evicted' then return string.find(last, '"poison_request"', 1, true) ~= nil end
  if string.sub(last, 1, 1) ~= 'e' then return false end
  local status = tonumber(string.match(last, '"error":%[(%d+)') or 200)
  return status < 500 and status ~= 408 and status ~= 409 and status ~= 429
end

-- The job that a key began, where that stands; OTHER_REQUEST where something else was sent with it; nil: there is none.
local function begun(prefix, name, digest)
  local known = redis.call('GET', once_key(prefix, name))
  local sent, id = string.match(type(known) == 'string' and known or '', '^(%S+) (.*)$')
  if not sent then return nil end
  if sent ~= digest then return OTHER_REQUEST end
  return stands(prefix, id) and id or nil
end

local function remember(prefix, name, digest, tenant, id, ttl_ms, most)
  local names, now = prefix .. 'keys:' .. tenant, now_ms()
  redis.call('SET', once_key(prefix, name), digest .. ' ' .. id, 'PX', ttl_ms)
  redis.call('ZREMRANGEBYSCORE', names, '-inf', now - ttl_ms)
  redis.call('ZADD', names, now, name)
  keep(names, tonumber(ttl_ms))
  while redis.call('ZCARD', names) > most do
    redis.call('DEL', once_key(prefix, redis.call('ZPOPMIN', names)[1]))
  end
end
