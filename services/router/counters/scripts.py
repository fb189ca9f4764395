"""
The scripts by which Valkey counts: what `services.router.core.windows` says, in Lua.

A counter is a hash: `i` number of the window, `u` used and `r` reserved in it, `p` and `q` the same of the
window before. A reservation is a string: its parts packed by MessagePack, each the counter's key, the number
of the window, its length in milliseconds, the amount, how it was admitted, and the unit; with `x` before them
for one that ran out, which counts as used until it is told what was; `d` for an id that is only to be known
again. A sorted set has the reservations of a gateway by the time at which they run out;
each script begins with those that are due, so that nobody has to wake up for them. Keys go by themselves once
they do not matter any more.

Each script takes the time as its first argument, in milliseconds; empty, as it is but in tests, the time is
the server's, which is one for all who ask.
"""

from __future__ import annotations

from typing import Final

from kit.valkey import Script

__all__ = ["GIVE_BACK", "LOOK", "RESERVE", "SETTLE"]

_BEGIN: Final = """
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end

local cells, changed = {}, {}

local function cell(key, window, at)
  local index = math.floor(at / window)
  local found = cells[key]
  if not found then
    local kept = redis.call('HMGET', key, 'i', 'u', 'r', 'p', 'q')
    found = {
      i = tonumber(kept[1]) or index, w = window,
      u = tonumber(kept[2]) or 0, r = tonumber(kept[3]) or 0,
      p = tonumber(kept[4]) or 0, q = tonumber(kept[5]) or 0,
    }
    -- Of a clock that was wrong, and far ahead.
    local present = math.floor(now / window)
    if found.i > present + 1 then
      found.i = present
      changed[key] = true
    end
    cells[key] = found
  end
  if index == found.i + 1 then
    found.i, found.u, found.r, found.p, found.q = index, 0, 0, found.u, found.r
  elseif index > found.i then
    found.i, found.u, found.r, found.p, found.q = index, 0, 0, 0, 0
  end
  return found
end

local function keep()
  for key in pairs(changed) do
    local c = cells[key]
    redis.call('HSET', key, 'i', string.format('%.0f', c.i), 'u', string.format('%.0f', c.u),
      'r', string.format('%.0f', c.r), 'p', string.format('%.0f', c.p), 'q', string.format('%.0f', c.q))
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(1, (c.i + 2) * c.w - now) + 60000))
  end
end

-- Puts what was used in the place of what was reserved; `actual` by unit.
local function charge(parts, actual, at)
  for _, part in ipairs(parts) do
    local key, index, window, amount, admit, unit = unpack(part)
    local used = actual[unit] or amount
    local c = cell(key, window, at)
    if admit == 2 then
      c.u = c.u + used
      part[2] = c.i
    elseif index == c.i then
      c.u, c.r = c.u + used, math.max(0, c.r - amount)
    elseif index == c.i - 1 then
      c.p, c.q = c.p + used, math.max(0, c.q - amount)
    end
    changed[key] = true
  end
end

-- Puts right what ran out and was counted as used. What a soft limit did not know of counts now.
local function correct(parts, actual, at)
  for _, part in ipairs(parts) do
    local key, index, window, amount, admit, unit = unpack(part)
    local more = (actual[unit] or amount) - amount
    local c = cell(key, window, at)
    if index == c.i or (admit == 2 and more > 0) then
      c.u = math.max(0, c.u + more)
    elseif index == c.i - 1 then
      c.p = math.max(0, c.p + more)
    end
    changed[key] = true
  end
end

-- Counts as used what ran out. It is kept for a day: what takes so long has not always died.
local expired = 0
local function sweep(due)
  local over = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 100)
  for n = 1, #over, 2 do
    local record = redis.call('GET', over[n])
    redis.call('ZREM', due, over[n])
    if record and record ~= 'd' and string.byte(record) ~= 120 then
      local parts = cmsgpack.unpack(record)
      charge(parts, {}, tonumber(over[n + 1]))
      redis.call('SET', over[n], 'x' .. cmsgpack.pack(parts), 'PX', 86400000)
      expired = expired + 1
    end
  end
end
"""

# Keys: the set of what is due, the reservation, the counters.
# Arguments: time; lifetime in milliseconds; 1 when the id is to be known again, else 0; how long an id is
# known again that has nothing to settle; then for each counter length of the window in milliseconds, limit,
# amount, how to admit, 1 for a sliding window, unit.
# Returns: 1 granted or 0; time; how many ran out; 1 when there is something to settle; then i u r p q of each
# counter.
RESERVE: Final = Script(
    _BEGIN
    + """
sweep(KEYS[1])
local remember = ARGV[3] == '1'
local known = remember and redis.call('GET', KEYS[2])
local granted, reserved = 1, 0
if known and known ~= 'd' then reserved = 1 end

local takes = {}
for n = 3, #KEYS do
  local a = 5 + (n - 3) * 6
  local take = {
    key = KEYS[n], w = tonumber(ARGV[a]), limit = tonumber(ARGV[a + 1]), amount = tonumber(ARGV[a + 2]),
    admit = tonumber(ARGV[a + 3]), sliding = ARGV[a + 4] == '1', unit = tonumber(ARGV[a + 5]),
  }
  takes[#takes + 1] = take
  local c = cell(take.key, take.w, now)
  take.c = c
  if not known and take.admit ~= 3 then
    local current, past = c.u + c.r, c.p + c.q
    if take.admit == 2 then current, past = c.u, c.p end
    local used = current
    if take.sliding then
      local left = math.min(take.w, math.max(0, (c.i + 1) * take.w - now))
      used = past * left / take.w + current
    end
    if take.admit == 0 then
      if used + take.amount > take.limit then granted = 0 end
    elseif used >= take.limit then
      granted = 0
    end
  end
end

if granted == 1 and not known then
  local parts, longest = {}, 0
  for _, take in ipairs(takes) do
    local c = take.c
    if take.unit == 1 then
      c.u = c.u + take.amount
      changed[take.key] = true
    elseif remember then
      parts[#parts + 1] = {take.key, c.i, take.w, take.amount, take.admit, take.unit}
      longest = math.max(longest, take.w)
      if take.admit ~= 2 then
        c.r = c.r + take.amount
        changed[take.key] = true
      end
    end
  end
  if #parts > 0 then
    reserved = 1
    local life = tonumber(ARGV[2])
    local kept = string.format('%.0f', life + 2 * longest + 60000)
    redis.call('SET', KEYS[2], cmsgpack.pack(parts), 'PX', kept)
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + life), KEYS[2])
    redis.call('PEXPIRE', KEYS[1], kept, 'NX')
    redis.call('PEXPIRE', KEYS[1], kept, 'GT')
  elseif remember then
    redis.call('SET', KEYS[2], 'd', 'PX', ARGV[4])
  end
end
keep()

local answer = {granted, now, expired, reserved}
for _, take in ipairs(takes) do
  local c = take.c
  for _, value in ipairs({c.i, c.u, c.r, c.p, c.q}) do answer[#answer + 1] = value end
end
return answer
"""
)

# Keys: the set of what is due, the reservation.
# Arguments: time, how long the id is known again, tokens and nano-USD that were used (empty: as reserved).
# Returns: 1 when it was known or 0; how many ran out.
SETTLE: Final = Script(
    # On a full server, too: what it cannot tell would hold up what is told after it.
    "#!lua flags=allow-oom\n"
    + _BEGIN
    + """
sweep(KEYS[1])
local record = redis.call('GET', KEYS[2])
local found = 0
if record and record ~= 'd' then
  found = 1
  local actual = {[2] = tonumber(ARGV[3]), [3] = tonumber(ARGV[4])}
  if string.byte(record) == 120 then
    correct(cmsgpack.unpack(string.sub(record, 2)), actual, now)
  else
    charge(cmsgpack.unpack(record), actual, now)
  end
  redis.call('ZREM', KEYS[1], KEYS[2])
end
redis.call('SET', KEYS[2], 'd', 'PX', ARGV[2])
keep()
return {found, expired}
"""
)

# Keys: the set of what is due, the counters.
# Arguments: time, length of each counter's window in milliseconds.
# Returns: time; how many ran out; i u r p q of each counter.
LOOK: Final = Script(
    _BEGIN
    + """
sweep(KEYS[1])
local answer = {now, 0}
for n = 2, #KEYS do
  local c = cell(KEYS[n], tonumber(ARGV[n]), now)
  for _, value in ipairs({c.i, c.u, c.r, c.p, c.q}) do answer[#answer + 1] = value end
end
keep()
answer[2] = expired
return answer
"""
)

# Keys: what the giving back is known again by, the counters.
# Arguments: time; how long it is known again in milliseconds, 0 when it is not; then for each counter length
# of its window in milliseconds, number of the window in which was taken, amount.
GIVE_BACK: Final = Script(
    _BEGIN
    + """
if ARGV[2] ~= '0' and not redis.call('SET', KEYS[1], 'd', 'NX', 'PX', ARGV[2]) then return 0 end
for n = 2, #KEYS do
  local a = 3 + (n - 2) * 3
  if redis.call('EXISTS', KEYS[n]) == 1 then
    local c = cell(KEYS[n], tonumber(ARGV[a]), now)
    local index, amount = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
    if index == c.i then
      c.u = math.max(0, c.u - amount)
      changed[KEYS[n]] = true
    elseif index == c.i - 1 then
      c.p = math.max(0, c.p - amount)
      changed[KEYS[n]] = true
    end
  end
end
keep()
return 1
"""
)
