-- Ends the holds of gateways that died, and forgets what was not used for a lifetime.
lapse(1000)
for _, digest in ipairs(redis.call('ZRANGEBYSCORE', idle, '-inf', now - lifetime_ms, 'LIMIT', 0, 1000)) do
  forget(digest)
end
keep_books()
