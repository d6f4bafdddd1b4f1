-- Deletes a session at once and leaves a tombstone, the time in ms with three decimals, so that a turn that is still
-- running does not bring it back, while one that begins in the same millisecond may make it anew.
--
-- KEYS 1  the session's hash   2  the tombstone   3  the lease
-- ARGV 1  milliseconds the tombstone stands
--
-- Result  1 if there was a session, else 0
--
-- UNLINK comes first: a full Redis refuses SET, but not after a write that frees memory.
local existed = redis.call('UNLINK', KEYS[1])
redis.call('DEL', KEYS[3])
local time = redis.call('TIME')
local now = string.format('%.3f', time[1] * 1000 + time[2] / 1000)
redis.call('SET', KEYS[2], now, 'PX', ARGV[1])
return existed
