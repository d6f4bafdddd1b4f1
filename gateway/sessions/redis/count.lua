-- How many sessions of one sorted set of the index are alive, as far as it knows.
--
-- KEYS 1  the sorted set
-- ARGV 1  milliseconds after its last use in which a session is alive   2  a tag that is not counted
--
-- Result  the number
local time = redis.call('TIME')
local after = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1])
local count = redis.call('ZCOUNT', KEYS[1], string.format('%.0f', after), '+inf')
local own = redis.call('ZSCORE', KEYS[1], ARGV[2])
if own and tonumber(own) >= after then
  count = count - 1
end
return count
