-- Puts a session that was written beside its place into it: from then on it is there, whole.
--
-- KEYS 1  the session's hash   2  the hash beside it
-- ARGV 1  1 to put it in the place of another   2  when it expires, Unix milliseconds   3  how many fields it has
--      4  the generation and  5  the revision that must be there to be put in the place of, or neither
--
-- Result  1, 0 if there is a session and it shall stay, -1 if what was written beside it is not complete
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[3]) then
  redis.call('UNLINK', KEYS[2])
  return -1
end
if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('UNLINK', KEYS[2])
  return 0
end
if ARGV[4] then
  local h = redis.call('HMGET', KEYS[1], 'gen', 'rev')
  if h[1] ~= ARGV[4] or h[2] ~= ARGV[5] then
    redis.call('UNLINK', KEYS[2])
    return 0
  end
end
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
