-- Reserves a session for one turn, renews that, or gives it up.
--
-- KEYS 1  the session's hash   2  the lease   3  the record of a retry key
-- ARGV 1  take, renew or free   2  the holder   3  milliseconds it lasts
--      4  1: the lease is wanted   5  the body's digest, empty if there is no retry key
--
-- Result  take: granted, busy, running or other, or the number of the turn that the retry key made
--         renew: 1 if all of it is still the holder's, else 0; free: 1
--
-- A record is r while its turn runs, s when that is stored, then the holder, a space, the body's digest.
local verb, holder, life = ARGV[1], ARGV[2], ARGV[3]
local lease = ARGV[4] == '1' and (redis.call('GET', KEYS[2]) or '') or nil
local record = ARGV[5] ~= '' and (redis.call('GET', KEYS[3]) or '') or nil
local own = 'r' .. holder .. ' ' .. ARGV[5]

if verb ~= 'take' then
  local mine = 1
  for i, pair in ipairs({{lease, holder}, {record, own}}) do
    if pair[1] == pair[2] then
      if verb == 'renew' then
        redis.call('PEXPIRE', KEYS[i + 1], life)
      else
        redis.call('DEL', KEYS[i + 1])
      end
    elseif pair[1] then
      mine = 0
    end
  end
  return verb == 'renew' and mine or 1
end

if record and record ~= '' and record ~= own then
  local state, other, body = string.match(record, '^(.)(.*) (%S+)$')
  local number = state == 's' and redis.call('HGET', KEYS[1], 'x:' .. other)
  if (number or state == 'r') and body ~= ARGV[5] then
    return 'other'
  end
  if state == 'r' then
    return 'running'
  end
  if number then
    return tonumber(number)
  end
end
if lease and lease ~= '' and lease ~= holder then
  return 'busy'
end
if lease then
  redis.call('SET', KEYS[2], holder, 'PX', life)
end
if record then
  redis.call('SET', KEYS[3], own, 'PX', life)
end
return 'granted'
