-- The end of a client key's request: its tokens are taken, and it is not in progress any more.
--
-- KEYS 1  the key's hash   2  the sorted set of its requests in progress
-- ARGV 1  tokens a minute   2  tokens it used   3  the request's name
--
-- Result  the tokens that are left
redis.call('ZREM', KEYS[2], ARGV[3])
local limit, used = tonumber(ARGV[1]), tonumber(ARGV[2])
if limit == 0 or used == 0 then
  return limit
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 't', 'at')
local passed = known[2] and math.max(now - tonumber(known[2]), 0) or 0
local earned = passed * limit / 60000
local level = (tonumber(known[1]) or limit) - used
if level + earned > limit then
  level = limit - earned
end
redis.call('HSET', KEYS[1], 't', string.format('%.6f', level))
if not known[2] then
  redis.call('HSET', KEYS[1], 'at', now)
end
redis.call('PEXPIRE', KEYS[1], math.max(60000, math.ceil((limit - level) * 60000 / limit)))
return math.floor(level + earned)
