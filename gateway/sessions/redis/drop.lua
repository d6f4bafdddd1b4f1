-- Takes sessions that are gone out of one sorted set of the index, unless they were used again meanwhile.
--
-- KEYS 1  the sorted set
-- ARGV  score as it was read and tag, in turn
--
-- Result  how many were taken out
local dropped = 0
for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i + 1])
  if score and tonumber(score) == tonumber(ARGV[i]) then
    dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
return dropped
