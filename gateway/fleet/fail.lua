-- One more failure at a place: its cool-down begins, is prolonged, or begins anew a level higher.
--
-- KEYS 1  the place's hash   2  the index: a sorted set of places by when they are forgotten
-- ARGV 1  the place, as JSON   2  the kind of failure
--      3  milliseconds of level 0   4  at least   5  at most   6  milliseconds since the attempt began
--      7  the highest level   8  milliseconds for which an ended cool-down is remembered
--
-- Result  {until, level, kind, probing}, both times in milliseconds from now
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'until', 'level', 'kind', 'probing')
local till, level, kind = tonumber(known[1]), tonumber(known[2]), ARGV[2]
local probing, anew = tonumber(known[4]) or 0, true

if till and now - tonumber(ARGV[6]) < till then
  anew = false -- under way when the cool-down was made: the same incident
elseif till then
  level = math.min(level + 1, tonumber(ARGV[7]))
else
  level = 0
end
local length = math.min(math.max(tonumber(ARGV[3]) * 2 ^ level, tonumber(ARGV[4])), tonumber(ARGV[5]))
local ends = now + math.floor(length)
if not anew and ends <= till then
  return {till - now, level, known[3], probing - now}
end
if anew then
  probing = 0
  redis.call('HDEL', KEYS[1], 'holder')
end
local forgotten = ends - now + tonumber(ARGV[8])
redis.call('HSET', KEYS[1], 'place', ARGV[1], 'until', ends, 'level', level, 'kind', kind, 'probing', probing)
redis.call('PEXPIRE', KEYS[1], forgotten)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + forgotten, KEYS[1])
if redis.call('PTTL', KEYS[2]) < forgotten then
  redis.call('PEXPIRE', KEYS[2], forgotten)
end
return {ends - now, level, kind, probing - now}
