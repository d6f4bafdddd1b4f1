-- One request of a client key, if its limits allow it. Two buckets fill evenly, one a minute, to their limits; tokens
-- are taken when it is known how many there were, so that their bucket may be below nothing. Budgets are of a day and
-- of a month; they may be overdrawn by what was in progress.
--
-- KEYS 1  the key's hash   2  a sorted set of its requests in progress, by when they are given up for dead
--      3  what it has spent in this day   4  in this month, both in billionths of a dollar
-- ARGV 1  requests a minute   2  tokens a minute   3  requests at once (0: no limit, for each)
--      4  the request's name   5  milliseconds until it is given up for dead
--      6  budget of a day   7  of a month (0: none)
--
-- Result  {refused, wait, requests left, tokens left, spent in the day, in the month}: refused is 0 or the number of
--         the limit (4 and 5: the budgets), wait is in milliseconds, 0 for a budget
local per_minute, tokens, at_once = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local day, month, spent = tonumber(ARGV[6]), tonumber(ARGV[7]), {false, false}
if day > 0 or month > 0 then
  spent = redis.call('MGET', KEYS[3], KEYS[4])
end
local in_day, in_month = tonumber(spent[1] or 0), tonumber(spent[2] or 0)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'r', 't', 'at')
local passed = known[3] and math.max(now - tonumber(known[3]), 0) or 60000

local function filled(level, limit)
  return math.min((tonumber(level) or limit) + passed * limit / 60000, limit)
end

local r, t = filled(known[1], per_minute), filled(known[2], tokens)
local refused, wait = 0, 0
if month > 0 and in_month >= month then
  refused = 5
elseif day > 0 and in_day >= day then
  refused = 4
elseif per_minute > 0 and r < 1 then
  refused, wait = 1, math.ceil((1 - r) * 60000 / per_minute)
elseif tokens > 0 and t < 1 then
  refused, wait = 2, math.ceil((1 - t) * 60000 / tokens)
elseif at_once > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if redis.call('ZCARD', KEYS[2]) >= at_once then
    refused, wait = 3, 1000
  else
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[4])
    redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[5]) + 1000)
  end
end
if refused == 0 and per_minute > 0 then
  r = r - 1
end
if per_minute > 0 or tokens > 0 then
  redis.call('HSET', KEYS[1], 'r', string.format('%.6f', r), 't', string.format('%.6f', t), 'at', now)
  local owed = tokens > 0 and math.ceil((tokens - t) * 60000 / tokens) or 0
  redis.call('PEXPIRE', KEYS[1], math.max(60000, owed))
end
return {refused, wait, math.floor(r), math.floor(t), in_day, in_month}
