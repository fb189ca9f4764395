"""
What is known of a provider's health as bytes, for stores that several routers share.

Bytes that cannot be read, such as those of another version, are as good as none: health is soon known again.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from services.router.core.health import Health, Phase
from services.router.core.health_counts import BUCKETS, Window

__all__ = ["dump", "load"]

_VERSION: Final = 1


def dump(health: Health) -> bytes:
    """Return a state as bytes."""
    return orjson.dumps(
        (
            _VERSION,
            int(health.phase),
            health.until_s,
            health.openings,
            health.claimed,
            health.succeeded,
            health.failed,
            health.run,
            health.window.buckets,
            health.first_byte_s,
            health.limited_until_s,
            health.heard_s,
        )
    )


def load(data: bytes) -> Health | None:
    """Read a state; None when it cannot be read."""
    try:
        version, *rest = orjson.loads(data)
        return _health(rest) if version == _VERSION else None
    except (ValueError, TypeError):
        return None


def _health(fields: list[Any]) -> Health:
    phase, until_s, openings, claimed, *rest = fields
    succeeded, failed, run, buckets, first_byte_s, limited_until_s, heard_s = rest
    return Health(
        phase=Phase(phase),
        until_s=float(until_s),
        openings=int(openings),
        claimed=int(claimed),
        succeeded=int(succeeded),
        failed=int(failed),
        run=int(run),
        window=Window(buckets=tuple((int(n), int(s), int(f), int(r)) for n, s, f, r in buckets[-BUCKETS:])),
        first_byte_s=None if first_byte_s is None else float(first_byte_s),
        limited_until_s=float(limited_until_s),
        heard_s=float(heard_s),
    )
