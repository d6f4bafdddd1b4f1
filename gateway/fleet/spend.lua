-- The end of a client key's request: its tokens and its cost are taken, and it is not in progress any more. Told twice,
-- it counts once.
--
-- KEYS 1  the key's hash   2  the sorted set of its requests in progress   3  what it has spent in this day
--      4  in this month   5  the mark that this request was counted
-- ARGV 1  tokens a minute   2  tokens it used   3  the request's name   4  billionths of a dollar that it cost
--      5  milliseconds for which the day's sum is kept   6  the month's
--
-- Result  1, or 0 if it was counted before
local limit, used, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[3])
if (limit == 0 or used == 0) and cost == 0 then
  return 1
end
if not redis.call('SET', KEYS[5], 1, 'NX', 'PX', 120000) then
  return 0
end
if cost > 0 then
  for n = 3, 4 do
    redis.call('INCRBY', KEYS[n], ARGV[4])
    redis.call('PEXPIRE', KEYS[n], ARGV[n + 2])
  end
end
if limit == 0 or used == 0 then
  return 1
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
return 1
