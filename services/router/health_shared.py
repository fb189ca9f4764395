"""
The states that routers share in Valkey: read as far as they changed, and written unless somebody else did.

There are two keys, a hash of states by subject, and the subjects in order of their last change. Both go by
themselves when nobody writes; what nobody wrote for a while goes from them, and so does what is too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from kit.valkey import Script
from services.router.core.health_book import IDLE_S, Subject
from services.router.core.health_state import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.valkey import Valkey
    from services.router.core.health import Health

__all__ = ["News", "SharedStates"]

_KEYS: Final = ("hr:h:{health}:states", "hr:h:{health}:changes")
_MOST: Final = 20_000
# Nobody waits for these exchanges.
_TIMEOUT_S: Final = 2.0

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""
_READ: Final = Script(
    _NOW
    + """
local function states(names)
  local found = {}
  for first = 1, #names, 1000 do
    local part = redis.call('HMGET', KEYS[1], unpack(names, first, math.min(first + 999, #names)))
    for place = 1, #part do found[#found + 1] = part[place] end
  end
  return found
end
local changed = redis.call('ZRANGE', KEYS[2], ARGV[1], '+inf', 'BYSCORE')
local asked = {}
for place = 2, #ARGV do asked[place - 1] = ARGV[place] end
return {now, changed, states(changed), states(asked)}
"""
)
"""Since when, then names. Returns the time, what changed since, its states, the states of the names."""

_SWAP: Final = Script(
    _NOW
    + """
local idle, most, found = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for place = 3, #ARGV, 3 do
  local current = redis.call('HGET', KEYS[1], ARGV[place]) or ''
  if current == ARGV[place + 1] then
    redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 2])
    redis.call('ZADD', KEYS[2], now, ARGV[place])
    found[#found + 1] = false
  else
    found[#found + 1] = current
  end
end
local gone = redis.call('ZRANGE', KEYS[2], '-inf', now - idle, 'BYSCORE', 'LIMIT', 0, 1000)
local excess = redis.call('ZCARD', KEYS[2]) - most
if excess > 0 then
  for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, math.min(excess, 1000) - 1)) do
    gone[#gone + 1] = name
  end
end
for _, name in ipairs(gone) do
  redis.call('ZREM', KEYS[2], name)
  redis.call('HDEL', KEYS[1], name)
end
redis.call('PEXPIRE', KEYS[1], idle / 1000)
redis.call('PEXPIRE', KEYS[2], idle / 1000)
return found
"""
)
"""Idle time, most names, then name, old and new state of each. Returns nil for each that was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """
    What was read.

    Attributes:
        now_us: What time it is there.
        changed: What changed.
        seen: The states that were asked for, as they are there; empty: there is none.
    """

    now_us: int
    changed: Sequence[tuple[Subject, Health]]
    seen: Sequence[bytes]


class SharedStates:
    """
    Reads and writes them.

    Args:
        valkey: Where they are.
    """

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    async def read(self, since_us: int, subjects: Sequence[Subject]) -> News:
        """
        Read what changed since some time, and the states of some subjects.

        Raises:
            ValkeyError: It did not work.
        """
        names = [_name(subject) for subject in subjects]
        now_us, changed, states, seen = await self._valkey.run(
            _READ, _KEYS, [since_us, *names], timeout_s=_TIMEOUT_S
        )
        return News(
            now_us=now_us,
            changed=[
                (subject, health)
                for name, state in zip(changed, states, strict=True)
                if state and (subject := _subject(name)) and (health := load(state))
            ],
            seen=[state or b"" for state in seen],
        )

    async def swap(self, changes: Sequence[tuple[Subject, bytes, bytes]]) -> list[bytes | None]:
        """
        Write states that are still as they were seen.

        Args:
            changes: Of each subject, the state that was seen, and the new one.

        Returns:
            Of each, None when it was written, else the state that is there.

        Raises:
            ValkeyError: It did not work; some may be written.
        """
        arguments: list[bytes | int] = [int(IDLE_S * 1e6), _MOST]
        for subject, seen, new in changes:
            arguments += [_name(subject), seen, new]
        written: list[bytes | None] = await self._valkey.run(_SWAP, _KEYS, arguments, timeout_s=_TIMEOUT_S)
        return written


def _name(subject: Subject) -> bytes:
    return orjson.dumps(tuple(subject))


def _subject(name: bytes) -> Subject | None:
    try:
        parts = orjson.loads(name)
    except ValueError:
        return None
    if isinstance(parts, list) and len(parts) == 4 and all(isinstance(part, str) for part in parts):
        return Subject(*parts)
    return None
