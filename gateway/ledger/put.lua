-- Sets or removes an entry, and counts the change.
--
-- KEYS 1  the hash of entries; its field '' is the version
-- ARGV 1  put, new (only if there is none) or remove   2  the name   3  the value
--
-- Result  1 if something was changed, else 0
local changed
if ARGV[1] == 'put' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
  changed = 1
elseif ARGV[1] == 'new' then
  changed = redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
else
  changed = redis.call('HDEL', KEYS[1], ARGV[2])
end
if changed == 1 then
  redis.call('HINCRBY', KEYS[1], '', 1)
end
return changed
