-- The head, marks and the newest turns that fit, in one trip; keeps a running turn's session alive.
--
-- Turns never change, they only come behind the last, go from the front, or are replaced up to the last. So whoever
-- knows the last turn that it read by its stamp (the time and the token in front of its mark) need not read those
-- up to it again. A flag is set in a mark; the last two marks are always read, and of older ones `flagged` tells.
-- As long as the stamp is the session's `tip` and the revision the same, nothing has changed at all.
--
-- KEYS 1  the session's hash
-- ARGV 1  words:
--         1  how many turns are wanted, 0 for none
--         2  the turns wanted are those below this number; 0: the newest
--         3  1: the marks of all turns; 0: those of the turns returned and, with the newest, of the last two
--         4  milliseconds the session must live on; a longer life is left as it is
--         5  bytes of turns to return at most; one turn is returned even if it is larger
--         and if a part of the session is known: 6  the generation   7  the revision   8  the number after its last turn
--      2  the stamp of that turn
--
-- Result  nil if there is no session; when it expires, Unix milliseconds, if it is as it is known; else an array of
--      1  when it expires
--      2  the head's fields, in the order of FIELDS below, nil where absent
--      3  the number of the first mark returned, 4  marks, ascending
--      5  the number of the first turn returned, 6  turns, ascending
--      7  1 if what is known still holds: then turns and marks up to it are left out
local FIELDS = {
  'v', 'gen', 'rev', 'first', 'next', 'size', 'created', 'updated', 'cut', 'resends', 'replaced',
  'owner', 'user', 'id', 'system', 'preamble', 'tools', 'pin', 'last', 'context',
  'turns', 'messages', 'input', 'output', 'cached', 'written', 'reasoning', 'cost', 'kept', 'unpriced', 'flagged',
}
local CHUNK = 500

local key = KEYS[1]
local asked = {}
for word in string.gmatch(ARGV[1], '%S+') do
  asked[#asked + 1] = word
end
local wanted, below, all, keep, budget =
  tonumber(asked[1]), tonumber(asked[2]), asked[3] == '1', tonumber(asked[4]), tonumber(asked[5])
local generation, revision, following, stamp = asked[6], asked[7], tonumber(asked[8]), ARGV[2]

-- Lets it live on; when it expires, or an error.
local function extend()
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local expires = redis.call('PEXPIRETIME', key)
  if expires < now + keep then
    local later = string.format('%.0f', now + keep)
    local done = redis.pcall('PEXPIREAT', key, later)
    if done == 1 then
      redis.call('HSET', key, 'hold', later)
      expires = now + keep
    elseif string.sub(done.err, 1, 10) ~= 'NOREPLICAS' then -- a master that takes no writes is still read
      return done
    end
  end
  return expires
end

if stamp then
  local is = redis.call('HMGET', key, 'rev', 'tip')
  if is[1] == revision and is[2] == stamp then
    return extend()
  end
end

local head = redis.call('HMGET', key, unpack(FIELDS))
if not head[2] then
  return false
end
local first, next = tonumber(head[4]), tonumber(head[5])

local function fetch(letter, from, to)
  local found = {}
  for start = from, to, CHUNK do
    local names = {}
    for n = start, math.min(start + CHUNK - 1, to) do
      names[#names + 1] = letter .. n
    end
    for _, value in ipairs(redis.call('HMGET', key, unpack(names))) do
      found[#found + 1] = value
    end
  end
  return found
end

local known = 0
if stamp and head[2] == generation and (tonumber(head[31]) or 0) <= tonumber(revision) then
  local last = redis.call('HGET', key, 'd:' .. (following - 1))
  if last and string.sub(last, 1, #stamp) == stamp then
    known = following
  end
end

local newest = below == 0
if newest then
  below = next
end
local top = math.min(below, next) - 1
local lowest = math.max(first, below - wanted, known)
local from = top + 1
if tonumber(head[6]) <= budget then
  from = math.min(from, lowest)
else
  local bytes = 0
  while from > lowest do
    bytes = bytes + redis.call('HSTRLEN', key, 't:' .. (from - 1))
    if bytes > budget and from <= top then
      break
    end
    from = from - 1
  end
end

if from > lowest then
  known = 0 -- more is new than fits, so what is known would not reach up to it
end

local marks_from, marks_to = from, top
if newest then
  marks_from = math.max(first, math.min(all and known or from, next - 2))
end

local expires = extend()
if type(expires) == 'table' then
  return expires
end
return {expires, head, marks_from, fetch('d:', marks_from, marks_to), from, fetch('t:', from, top), known > 0 and 1 or 0}
