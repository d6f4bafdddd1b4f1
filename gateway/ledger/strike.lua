-- Counts a failure to sign in.
--
-- KEYS 1  the counter of an address
-- ARGV 1  milliseconds for which the failures are remembered from now
--
-- Result  how many there are
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return count
