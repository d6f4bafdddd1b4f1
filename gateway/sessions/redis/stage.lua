-- Some of a session that is being written whole, beside the place where it will be.
--
-- KEYS 1  the hash beside it
-- ARGV 1  milliseconds after which it is forgotten if nobody goes on   2 on  fields, as name and value
--
-- Result  1
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
