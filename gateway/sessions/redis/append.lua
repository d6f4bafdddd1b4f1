-- Stores one turn whole, or refuses and changes nothing. The work is that of the new turn and of what it removes.
--
-- KEYS 1  the session's hash   2  the tombstone of a delete, if it may be made now or is reserved
--      3  the lease and   4  the record of a retry key, if it is reserved
-- ARGV 1  lines, each of which may be empty:
--         1  the format this gateway writes   2  the exchange's token   3  the generation that was loaded
--         4  the generation if it is made now   5  the revision that was loaded   6  the first turn to replace
--         7  ttl in ms   8  max_age in ms   9  max_turns   10  max_bytes   11  the turn's cost, if it is known
--         12 to 17  what is added to the sums: messages, input, output, cached, written, reasoning
--         18 the pin: keep, set or drop   19  1: the turn ran under the lease
--         20 the body's digest, if it ran under a retry key   21 milliseconds that is kept, 0 if the turn is incomplete
--         22 milliseconds, with decimals, since the load that found nothing, if that is known
--      2  the turn   3  its mark
--      and then, to set or drop the pin, the one that was read, empty for none; to set it, the new one
--      and then further fields to set, as name and value: owner, user and id if it may be made now
--
-- Result  {'gone'}, {'changed'}, {'busy'}, {'format', v} or
--         {'ok', number, generation, revision, trimmed turns, 1 if it had been stored before, now in ms}
--         and behind that, if it had not: when the session expires, the turn's stamp, and the tip that was there or ''
--
-- A mark is stored behind its turn's stamp: its time (13 digits) and its token (one byte of length, the token). As long
-- as nothing but turns has been stored since the last one, its stamp is the session's `tip`.
local SUMS = {'messages', 'input', 'output', 'cached', 'written', 'reasoning'}
local LOOK = 64 -- turns looked at for a place to cut, in one call
local CHUNK = 300
local FRESH = 1 -- the lowest bit of a mark's flags

local key = KEYS[1]
local said = {}
for line in string.gmatch(ARGV[1], '([^\n]*)\n') do
  said[#said + 1] = line
end
local token, generation, revision_read, replace_from = said[2], said[3], said[5], tonumber(said[6])
local max_turns, max_bytes = tonumber(said[9]), tonumber(said[10])
local lease, digest = said[19] == '1', said[20]
local verb = said[18]
local further = verb == 'set' and 6 or verb == 'drop' and 5 or 4

local function whole(n)
  return string.format('%.0f', n)
end

local time = redis.call('TIME')
local exact = time[1] * 1000 + time[2] / 1000
local now = math.floor(exact)

-- Validate.
local h = redis.call('HMGET', key, 'gen', 'rev', 'first', 'next', 'size', 'created', 'v', 'pin', 'look', 'passed',
  'hold', 'turns', 'cost', 'x:' .. token, 'tip', unpack(SUMS))
local made = not h[1]
if made then
  if generation ~= '' then
    return {'gone'}
  end
  local deleted = redis.call('GET', KEYS[2])
  if deleted and (said[22] == '' or tonumber(deleted) >= exact - tonumber(said[22])) then
    return {'gone'}
  end
  generation = said[4]
else
  if tonumber(h[7]) > tonumber(said[1]) then
    return {'format', tonumber(h[7])}
  end
  if generation ~= '' and generation ~= h[1] then
    return {'gone'}
  end
  generation = h[1]
  if h[14] then
    -- A write that changes nothing: a WAIT behind it speaks for this connection, which may not be the first one's.
    redis.call('PEXPIREAT', key, redis.call('PEXPIRETIME', key))
    return {'ok', tonumber(h[14]), generation, tonumber(h[2]), 0, 1, now}
  end
  if replace_from > 0 and revision_read ~= h[2] then
    return {'changed'}
  end
end

-- The reservation is a fence: refused if it passed to another, or ran out and something was stored since.
local record = 'r' .. token .. ' ' .. digest
if lease then
  local holder = redis.call('GET', KEYS[3])
  if holder and holder ~= token or not holder and (h[2] or '0') ~= revision_read then
    return {'busy'}
  end
end
if digest ~= '' and (redis.call('GET', KEYS[4]) or record) ~= record then
  return {'busy'}
end

local revision = (tonumber(h[2]) or 0) + 1
local first, next, size = tonumber(h[3]) or 1, tonumber(h[4]) or 1, tonumber(h[5]) or 0
local created = tonumber(h[6]) or now
local look, passed = tonumber(h[9]) or 0, tonumber(h[10]) or 0

-- Write. The first write of a plain append is one that a full Redis refuses, so it is refused whole.
local function remove(from, to)
  local bytes = 0
  for start = from, to, CHUNK do
    local names = {}
    for n = start, math.min(start + CHUNK - 1, to) do
      bytes = bytes + redis.call('HSTRLEN', key, 't:' .. n)
      local d = redis.call('HGET', key, 'd:' .. n)
      names[#names + 1] = 't:' .. n
      names[#names + 1] = 'd:' .. n
      names[#names + 1] = 'x:' .. string.sub(d, 15, 14 + string.byte(d, 14))
    end
    redis.call('HDEL', key, unpack(names))
  end
  return bytes
end

local fields = {}
local function put(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

local number = next
if not made and replace_from > 0 and replace_from < next then
  number = math.max(first, replace_from)
  size = size - remove(number, next - 1)
  put('replaced', whole(revision))
  if look > number then
    look, passed = 0, 0
    put('look', '0')
    put('passed', '0')
  end
end
local stamp = whole(now) .. string.char(#token) .. token
redis.call('HSET', key, 't:' .. number, ARGV[2], 'x:' .. token, whole(number), 'd:' .. number, stamp .. ARGV[3])
size = size + #ARGV[2]

-- Cut for the caps, in front of a turn that begins with a user's message. A bounded number of turns is looked at;
-- the next call goes on from there (`look`, with `passed` bytes before it).
local trimmed = 0
local function over(at, freed)
  return number - at + 1 > max_turns or size - freed > max_bytes
end

if over(first, 0) then
  local at, freed, found, found_freed = first, 0, nil, 0
  if look > first then
    at, freed = look, passed
  end
  local last = math.min(number, at + LOOK)
  while at < last and (not found or over(found, found_freed)) do
    freed = freed + redis.call('HSTRLEN', key, 't:' .. at)
    at = at + 1
    local d = redis.call('HGET', key, 'd:' .. at)
    if string.byte(d, 16 + string.byte(d, 14)) % 2 == FRESH then
      found, found_freed = at, freed
    end
  end
  if found then
    remove(first, found - 1)
    trimmed, size, first, look, passed = found - first, size - found_freed, found, 0, 0
  else
    look, passed = at, freed
  end
  put('look', whole(look))
  put('passed', whole(passed))
end

if made then
  put('v', said[1])
  put('gen', generation)
  put('created', whole(created))
end
put('rev', whole(revision))
put('tip', stamp)
put('first', whole(first))
put('next', whole(number + 1))
put('size', whole(size))
put('updated', whole(now))
put('turns', whole((tonumber(h[12]) or 0) + 1))
put('cost', string.format('%.17g', (tonumber(h[13]) or 0) + (tonumber(said[11]) or 0)))
if said[11] == '' then
  put('unpriced', whole((tonumber(redis.call('HGET', key, 'unpriced')) or 0) + 1))
end
for i, name in ipairs(SUMS) do
  put(name, whole((tonumber(h[15 + i]) or 0) + tonumber(said[11 + i])))
end
if verb == 'set' and (h[8] or '') == ARGV[4] then
  put('pin', ARGV[5])
end
for i = further, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
redis.call('HSET', key, unpack(fields))
if verb == 'drop' and (h[8] or '') == ARGV[4] then
  redis.call('HDEL', key, 'pin')
end

if lease then
  redis.call('DEL', KEYS[3])
end
if digest ~= '' then
  if said[21] == '0' then
    redis.call('DEL', KEYS[4])
  else
    redis.call('SET', KEYS[4], 's' .. string.sub(record, 2), 'PX', said[21])
  end
end

local life = math.min(tonumber(said[7]), created + tonumber(said[8]) - now)
life = math.max(life, (tonumber(h[11]) or 0) - now, 1)
redis.call('PEXPIREAT', key, whole(now + life))
return {'ok', number, generation, revision, trimmed, 0, now, now + life, stamp, h[15] or ''}
