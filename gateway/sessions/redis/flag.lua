-- Sets or clears a turn's `unconfirmed` flag, if the turn is still the one that this exchange appended.
--
-- KEYS 1  the session's hash
-- ARGV 1  the turn's number   2  the exchange's token   3  1 to set, 0 to clear
--
-- Result  1 if the turn is that one, else 0
local UNCONFIRMED = 4

local field = 'd:' .. ARGV[1]
local d = redis.call('HGET', KEYS[1], field)
if not d then
  return 0
end
local length = string.byte(d, 14)
if string.sub(d, 15, 14 + length) ~= ARGV[2] then
  return 0
end
local at = 16 + length
local flags = string.byte(d, at)
local is = math.floor(flags / UNCONFIRMED) % 2
local wanted = tonumber(ARGV[3])
if is ~= wanted then
  flags = flags + (wanted - is) * UNCONFIRMED
  redis.call('HSET', KEYS[1], field, string.sub(d, 1, at - 1) .. string.char(flags) .. string.sub(d, at + 1))
  redis.call('HSET', KEYS[1], 'flagged', redis.call('HINCRBY', KEYS[1], 'rev', 1))
  redis.call('HDEL', KEYS[1], 'tip')
end
return 1
