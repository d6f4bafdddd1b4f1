-- An attempt succeeded: its place is well again, unless the attempt began before the cool-down was over.
--
-- KEYS 1  the place's hash   2  the index
-- ARGV 1  milliseconds since the attempt began, empty to clear in any case
--
-- Result  1 if nothing is known about the place any more, else 0
local till = tonumber(redis.call('HGET', KEYS[1], 'until'))
if till and ARGV[1] ~= '' then
  local time = redis.call('TIME')
  if time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1]) < till then
    return 0
  end
end
redis.call('UNLINK', KEYS[1])
redis.call('ZREM', KEYS[2], KEYS[1])
return 1
