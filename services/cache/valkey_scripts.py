"""
What Valkey does for the cache, each in one round trip and as one.

An account's keys share a part in braces. Of an account there is a hash of purges: `n` counts them, `a` has
the number of the latest of everything, `g:…` of a gateway, `p:…` of a provider, `g:…:p:…` of both, `g:…:k:…`
of a chosen name. It lasts longer than any answer; when it is lost all the same, it begins anew above every
number that it can have had, so that what may have been purged is not found.

An answer is a hash: `v` the value, `u` until when it is fresh in milliseconds since 1970, `b` its own number,
`p` the provider, `q` the request. A claim is the number, a point and its name, and the request of whoever has
it. The name is so far behind the point that the whole reads as the number itself, which is all that caches
look for that know no names.
"""

from __future__ import annotations

from typing import Final

from kit.valkey import Script

__all__ = ["FIND", "PURGE", "PUT", "RELEASE", "RENEW"]

_SHARED: Final = """
local function number(text) return tonumber(text or 0) end
local function milliseconds(time) return time[1] * 1000 + math.floor(time[2] / 1000) end
local function failed(answer) return type(answer) == 'table' and answer.err end
-- Ends a claim, but for one of somebody who asked after a purge that came after the key.
local function release(key, born)
  local claim = redis.call('GET', key)
  if claim and number(string.match(claim, '^%d+')) <= number(born) then redis.call('DEL', key) end
end
-- What a claim begins with.
local function named(born, id) return born .. '.000000' .. id end
-- More than any number before: purges come far apart.
local function beginning(time) return string.format('%.0f', time[1] * 1000000 + time[2]) end
"""

FIND: Final = Script(
    _SHARED
    + """
-- Keys: purges, answer, claim.
-- Arguments: gateway, request, mark, whether to read, stale ms, claim ms or 0,
-- how long purges are kept in ms, length from which a value is only told, name of a claim.
local gateway, request = 'g:' .. ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = milliseconds(time)
local purges = redis.call('HMGET', KEYS[1], 'n', 'a', gateway, gateway .. ':k:' .. ARGV[3])
local born = purges[1]
local everything = purges[2]
if not born then
  born = beginning(time)
  everything = born
  if failed(redis.pcall('HSET', KEYS[1], 'n', born, 'a', born)) then return {'0', 'full'} end
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
local latest = math.max(number(everything), number(purges[3]), number(purges[4]))

local kept = redis.call('HMGET', KEYS[2], 'u', 'b', 'p', 'q')
local is_there = false
if kept[1] then
  local theirs = redis.call('HMGET', KEYS[1], 'p:' .. kept[3], gateway .. ':p:' .. kept[3])
  is_there = number(kept[2]) >= math.max(latest, number(theirs[1]), number(theirs[2]))
end
local holder = false
local claim = redis.call('GET', KEYS[3])
if claim then
  local space = string.find(claim, ' ', 1, true)
  if number(string.sub(claim, 1, space - 1)) >= latest then holder = string.sub(claim, space + 1) end
end

if request ~= '' and ((is_there and kept[4] ~= request) or (holder and holder ~= request)) then
  return {born, 'conflict'}
end
if ARGV[4] == '0' then return {born, 'free'} end
local function value()
  local length = redis.call('HSTRLEN', KEYS[2], 'v')
  if length > number(ARGV[8]) then return length end
  return redis.call('HGET', KEYS[2], 'v')
end
if is_there and now < number(kept[1]) then return {born, 'fresh', value()} end
local state = 'free'
if holder then
  state = 'taken'
elseif ARGV[6] ~= '0' then
  state = 'claimed'
  local held = named(born, ARGV[9]) .. ' ' .. request
  if failed(redis.pcall('SET', KEYS[3], held, 'PX', ARGV[6])) then state = 'full' end
end
if is_there and now < number(kept[1]) + number(ARGV[5]) then
  return {born, state, value()}
end
return {born, state}
"""
)

PUT: Final = Script(
    _SHARED
    + """
-- Keys: purges, answer, claim.
-- Arguments: gateway, request, mark, born, provider, ttl ms, stale ms, how long purges are kept in ms, value.
local gateway, provider = 'g:' .. ARGV[1], 'p:' .. ARGV[5]
local purges = redis.call(
  'HMGET', KEYS[1], 'n', 'a', gateway, provider, gateway .. ':' .. provider, gateway .. ':k:' .. ARGV[3]
)
local latest = 0
for place = 2, 6 do latest = math.max(latest, number(purges[place])) end
local done = 0
if purges[1] and number(ARGV[4]) >= latest then
  local fresh_until = string.format('%.0f', milliseconds(redis.call('TIME')) + number(ARGV[6]))
  -- First of all that is written: after it, Valkey would let a script go beyond its memory.
  done = redis.pcall(
    'HSET', KEYS[2], 'v', ARGV[9], 'u', fresh_until, 'b', ARGV[4], 'p', ARGV[5], 'q', ARGV[2]
  )
  if not failed(done) then
    done = 1
    redis.call('PEXPIRE', KEYS[2], string.format('%.0f', number(ARGV[6]) + number(ARGV[7])))
    redis.call('PEXPIRE', KEYS[1], ARGV[8])
  end
end
release(KEYS[3], ARGV[4])
return done
"""
)

# Key: claim. Argument: born.
RELEASE: Final = Script(
    "#!lua flags=allow-oom\n"
    + _SHARED
    + """
release(KEYS[1], ARGV[1])
return 1
"""
)

# Keys: claims. Arguments: claim ms, then born and name of each. Answers 1 for each that is still there.
RENEW: Final = Script(
    "#!lua flags=allow-oom\n"
    + _SHARED
    + """
local kept = {}
for place, key in ipairs(KEYS) do
  local mine = named(ARGV[2 * place], ARGV[2 * place + 1]) .. ' '
  kept[place] = 0
  if string.sub(redis.call('GET', key) or '', 1, #mine) == mine then
    kept[place] = redis.call('PEXPIRE', key, ARGV[1])
  end
end
return kept
"""
)

# It frees memory rather than takes it, so it runs on a full server, too.
PURGE: Final = Script(
    "#!lua flags=allow-oom\n"
    + _SHARED
    + """
-- Key: purges. Arguments: what is purged, most purges to tell apart, how long purges are kept in ms.
local born = redis.call('HGET', KEYS[1], 'n')
local what = ARGV[1]
if not born then
  born = beginning(redis.call('TIME'))
  what = 'a'
elseif redis.call('HEXISTS', KEYS[1], what) == 0 and redis.call('HLEN', KEYS[1]) > number(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  what = 'a'
end
born = string.format('%.0f', number(born) + 1)
redis.call('HSET', KEYS[1], what, born, 'n', born)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)
