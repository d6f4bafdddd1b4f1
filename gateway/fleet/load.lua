-- What the workers have in flight: one tells its own, and hears the others'.
--
-- KEYS 1  a hash: worker -> when it told, and what
-- ARGV 1  the worker   2  its requests in flight as JSON, empty if there are none   3  milliseconds after which what a
--         worker told means nothing: it is gone
--
-- Result  what each other worker told
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now, ARGV[2]))
end
local known, others = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #known, 2 do
  local at, load = string.match(known[i + 1], '^(%d+) (.*)$')
  if now - tonumber(at) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], known[i])
  elseif known[i] ~= ARGV[1] then
    others[#others + 1] = load
  end
end
redis.call('PEXPIRE', KEYS[1], 60000)
return others
