-- Forgets what is over. Returns places of what is to be removed from the store; of many, some.
purge()
return redis.call('ZRANGE', doomed, 0, 199)
