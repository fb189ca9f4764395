"""
Who pays for a call: the request's own key, else a stored one, else the operator's, else nobody.

Only where a call brings no key is auth asked at all. A stored key that its provider refuses gives way to
another of its pool, before the client sees anything of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from kit.providers import LOCAL
from services.providers import key_reports
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.credentials import names_alias, operator_may_pay, unusable_key
from services.providers.dialects.failures import FailureClass
from services.providers.key_pool import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.auth.v1 import provider_config_pb2
    from headrace.common.v1 import caller_pb2
    from services.providers.adapters.adapter import Adapter
    from services.providers.call import Call
    from services.providers.key_pool import KeyPools, Lease, StoredKey
    from services.providers.keyring import Keyring

    Note = Callable[[str, provider_config_pb2.KeyStatus.ValueType], None]

__all__ = ["Payer", "Payment"]

# More keys than that are seldom refused by chance.
_MOST_TRIES: Final = 3
# Aliases that an error lists.
_MOST_LISTED: Final = 20
_LONGEST_ALIAS: Final = 64
# Whose own platform it is: no key of theirs is resold by anybody.
_EXEMPT: Final = "workers-ai"
# What `Tail.key` says of a key that is not a stored one.
_REQUEST: Final = "request"
_OPERATOR: Final = "operator"
_REFUSALS: Final = {
    FailureClass.AUTHENTICATION: Refusal.INVALID,
    FailureClass.RATE_LIMIT: Refusal.LIMITED,
}
_STATUSES: Final = {Refusal.INVALID: key_reports.INVALID, Refusal.LIMITED: key_reports.LIMITED}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """The stored keys that a call may be made with, and who is told how they were taken."""

    provider: str
    keys: Sequence[StoredKey]
    pools: KeyPools
    note: Note


class Payment:
    """
    How one call is paid for.

    Args:
        call: That is paid for.
        pool: Stored keys to pay with; None: whoever `call` says.
        key: Who that is, as for `key` below.

    Raises:
        GatewayError: RATE_LIMITED; none of the keys may be used now.

    Attributes:
        call: With the stored key to use, where one is used.
        key: Which key pays: the id of a stored one, `operator` or `request`; empty: none.
    """

    __slots__ = ("_lease", "_pool", "_tried", "call", "key")

    def __init__(self, call: Call, pool: _Pool | None = None, key: str = "") -> None:
        self.call = call
        self.key = key
        self._pool = pool
        self._lease: Lease | None = None
        self._tried: set[str] = set()
        if pool is not None:
            self._use(pool.pools.choose(pool.keys, provider=pool.provider))

    @property
    def stored(self) -> bool:
        """True when a stored key is used."""
        return self._lease is not None

    def taken(self) -> None:
        """Hear that the provider answered."""
        if self._pool is not None and self._lease is not None:
            self._pool.pools.taken(self._lease)
            self._pool.note(self._lease.key.id, key_reports.ACTIVE)

    def refused(
        self, failure_class: FailureClass | None, retry_after_s: float | None = None
    ) -> Refusal | None:
        """
        Hear that the provider answered with an error.

        Returns:
            Why it refused the key; None: the error has nothing to do with it.
        """
        refusal = _REFUSALS.get(failure_class) if failure_class is not None else None
        if refusal is not None and self._pool is not None and self._lease is not None:
            self._pool.pools.refused(self._lease, refusal, retry_after_s)
            self._pool.note(self._lease.key.id, _STATUSES[refusal])
        return refusal

    def unusable(self, error: GatewayError) -> GatewayError | None:
        """
        Hear that no request could be made with the key.

        Returns:
            The error that says so of the stored key; None: the error has nothing to do with it.
        """
        about_key = error.reason is Reason.CREDENTIAL_MISSING or (
            error.reason is Reason.INVALID_REQUEST and error.metadata.get("param") == "authorization"
        )
        if self._pool is None or not about_key:
            return None
        self.refused(FailureClass.AUTHENTICATION)
        if "alias" in error.metadata:
            return error
        return unusable_key(self.call, self._pool.provider, f"cannot be used: {error.message.rstrip('.')}")

    def switch(self) -> bool:
        """Take another key of the pool; False: there is none that is worth a try."""
        pool = self._pool
        if pool is None or len(self._tried) >= _MOST_TRIES:
            return False
        return self._use(pool.pools.choose(pool.keys, provider=pool.provider, tried=self._tried))

    def _use(self, lease: Lease | None) -> bool:
        if lease is None:
            return False
        self._lease = lease
        self.key = lease.key.id
        self._tried.add(self.key)
        self.call = replace(self.call, stored=lease.key.secret)
        return True


class Payer:
    """
    Decides who pays.

    Args:
        keyring: Where stored keys are; None: there are none for what this process serves.
        pools: Chooses among several.
        note: Told how each was taken.
    """

    def __init__(self, keyring: Keyring | None, pools: KeyPools, note: Note) -> None:
        self._keyring = keyring
        self._pools = pools
        self._note = note

    @property
    def heard(self) -> bool:
        """True once all that decides has been heard of."""
        return self._keyring is None or self._keyring.heard

    async def payment(self, adapter: Adapter, call: Call, caller: caller_pb2.Caller) -> Payment:
        """
        Decide who pays for a call.

        Raises:
            GatewayError: ALIAS_NOT_FOUND; RATE_LIMITED, all stored keys have reached limits; auth is away.
        """
        if self._keyring is None:
            # Nobody's but the operator's own is served here.
            call = replace(call, unified=True)
            return Payment(call, key=_paid_by(adapter, call))
        if adapter.brings_key(call):
            return Payment(call, key=_brought(adapter))
        if call.request_only:
            return Payment(call)
        provider = adapter.provider.slug
        found = await self._keyring.find(caller, provider, call.alias)
        if found.keys:
            pool = _Pool(provider=provider, keys=found.keys, pools=self._pools, note=self._note)
            return Payment(call, pool)
        if names_alias(call):
            raise _unknown_alias(provider, call.alias, found.aliases)
        no_operator = call.no_operator and adapter.provider.api != _EXEMPT
        # The call is this attempt's own, and a copy takes longer than all else here.
        call.unified, call.no_operator = found.unified, no_operator
        return Payment(call, key=_operators(adapter, call))


def _paid_by(adapter: Adapter, call: Call) -> str:
    return _brought(adapter) if adapter.brings_key(call) else _operators(adapter, call)


def _brought(adapter: Adapter) -> str:
    """Name the key of a call that needs nobody else's: on this machine there is none."""
    return "" if adapter.provider.slug == LOCAL else _REQUEST


def _operators(adapter: Adapter, call: Call) -> str:
    """Name the operator's key, unless it may not be used, or is not there and not needed."""
    if not operator_may_pay(call):
        return ""
    there = adapter.provider.auth.required or (
        isinstance(adapter, OpenAIAdapter) and adapter.has_operator_key
    )
    return _OPERATOR if there else ""


def _unknown_alias(provider: str, alias: str, known: Sequence[str]) -> GatewayError:
    alias = alias[:_LONGEST_ALIAS]
    listed = ", ".join(f"'{name}'" for name in known[:_MOST_LISTED])
    if len(known) > _MOST_LISTED:
        listed += ", …"
    text = f"Provider '{provider}' has no BYOK credential named '{alias}'. " + (
        f"Configured aliases: {listed}" if known else "No credential of that provider is configured here."
    )
    return GatewayError(Reason.ALIAS_NOT_FOUND, text, provider=provider, alias=alias)
