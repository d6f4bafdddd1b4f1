-- Asks to be the only one that tries a place after its cool-down; who holds the probe may ask again.
--
-- KEYS 1  the place's hash
-- ARGV 1  who asks   2  milliseconds for which the probe is held
--
-- Result  {granted} if nothing is known about the place, else {granted, until, level, kind, probing},
--         both times in milliseconds from now
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'until', 'level', 'kind', 'probing', 'holder')
if not known[1] then
  return {1}
end
local till, probing, granted = tonumber(known[1]), tonumber(known[4]), 0
if till <= now and (probing <= now or known[5] == ARGV[1]) then
  granted, probing = 1, now + tonumber(ARGV[2])
  redis.call('HSET', KEYS[1], 'probing', probing, 'holder', ARGV[1])
end
return {granted, till - now, tonumber(known[2]), known[3], probing - now}
