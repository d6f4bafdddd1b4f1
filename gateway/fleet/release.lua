-- A probe was given up without a result.
--
-- KEYS 1  the place's hash
-- ARGV 1  who held the probe
--
-- Result  1 if it did, else 0
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'probing', 0)
return redis.call('HDEL', KEYS[1], 'holder')
