-- Changes what an operator may change in a session, in one step.
--
-- KEYS 1  the session's hash
-- ARGV 1  the format this gateway writes   2  the generation that is meant, empty for any
--      3  milliseconds it shall live from now, empty to leave that   4  the pin: keep, set or drop   5  the new pin
--      6  the context, empty to leave it   7  how many of the newest turns go
--
-- Result  {'ok', now in ms}, {'none'} if there is no session, {'gone'} if it is another, {'format', v}
local CHUNK = 300

local key = KEYS[1]
local h = redis.call('HMGET', key, 'gen', 'rev', 'first', 'next', 'size', 'v', 'cut', 'look')
if not h[1] then
  return {'none'}
end
if tonumber(h[6]) > tonumber(ARGV[1]) then
  return {'format', tonumber(h[6])}
end
if ARGV[2] ~= '' and ARGV[2] ~= h[1] then
  return {'gone'}
end

local function whole(n)
  return string.format('%.0f', n)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local revision, next = tonumber(h[2]) + 1, tonumber(h[4])
local number = math.max(tonumber(h[3]), next - tonumber(ARGV[7]))
local fields = {'rev', whole(revision)}
if ARGV[4] == 'set' then
  fields[#fields + 1] = 'pin'
  fields[#fields + 1] = ARGV[5]
end
if ARGV[6] ~= '' then
  fields[#fields + 1] = 'context'
  fields[#fields + 1] = ARGV[6]
end
redis.call('HSET', key, unpack(fields))
redis.call('HDEL', key, 'tip')
if ARGV[4] == 'drop' then
  redis.call('HDEL', key, 'pin')
end
if number < next then
  local bytes = 0
  for start = number, next - 1, CHUNK do
    local names = {}
    for n = start, math.min(start + CHUNK - 1, next - 1) do
      bytes = bytes + redis.call('HSTRLEN', key, 't:' .. n)
      local d = redis.call('HGET', key, 'd:' .. n)
      names[#names + 1] = 't:' .. n
      names[#names + 1] = 'd:' .. n
      names[#names + 1] = 'x:' .. string.sub(d, 15, 14 + string.byte(d, 14))
    end
    redis.call('HDEL', key, unpack(names))
  end
  redis.call('HSET', key, 'next', whole(number), 'size', whole(tonumber(h[5]) - bytes), 'replaced', whole(revision))
  if (tonumber(h[7]) or 0) > number then
    redis.call('HSET', key, 'cut', whole(number))
  end
  if (tonumber(h[8]) or 0) > number then
    redis.call('HSET', key, 'look', '0', 'passed', '0')
  end
end
if ARGV[3] ~= '' then
  local expires = whole(now + tonumber(ARGV[3]))
  redis.call('HSET', key, 'hold', expires, 'kept', expires)
  redis.call('PEXPIREAT', key, expires)
end
return {'ok', now}
