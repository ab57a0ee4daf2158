-- KEYS: workers, cards, models
-- Returns the cards of live workers; model, milliseconds since it was last served, card, … for all models; and names of
-- keys that were set aside.
local now = now_ms()
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  redis.call('ZREM', KEYS[1], worker)
  redis.call('HDEL', KEYS[2], worker)
end
local seen, models = redis.call('HGETALL', KEYS[3]), {}
for i = 1, #seen, 2 do
  local at, card = string.match(seen[i + 1], '^(%d+) (.*)$')
  if at then
    models[#models + 1] = seen[i]
    models[#models + 1] = now - at
    models[#models + 1] = card
  else
    redis.call('HDEL', KEYS[3], seen[i])
    count(HOME, 'corrupt:card')
  end
end
return {redis.call('HVALS', KEYS[2]), models, untold()}
