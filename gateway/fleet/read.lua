-- What is known about places.
--
-- KEYS  the places' hashes
--
-- Result  {now, {place, until, level, kind, probing}, ...} by the server's clock, in milliseconds; a forgotten place
--         has none of them
local time = redis.call('TIME')
local found = {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))}
for i, key in ipairs(KEYS) do
  found[i + 1] = redis.call('HMGET', key, 'place', 'until', 'level', 'kind', 'probing')
end
return found
