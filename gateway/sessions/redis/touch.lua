-- Adds sessions to one sorted set of the index, or moves them up to their last use.
--
-- KEYS 1  the sorted set
-- ARGV 1  seconds the set lives on
--      2  entries unused for more milliseconds than this may be of sessions that are gone   3  how many to answer
--      4 on  time of the last use in Unix milliseconds (empty: now) and tag, in turn
--
-- Result  the oldest such entries: tag and time, in turn
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV, 2 do
  local score = ARGV[i]
  if score == '' then
    score = string.format('%.0f', now)
  end
  redis.call('ZADD', KEYS[1], 'GT', score, ARGV[i + 1])
end
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
local before = string.format('%.0f', now - tonumber(ARGV[2]))
return redis.call('ZRANGE', KEYS[1], '-inf', before, 'BYSCORE', 'LIMIT', '0', ARGV[3], 'WITHSCORES')
