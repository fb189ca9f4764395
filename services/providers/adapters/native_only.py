"""
Providers whose API has nothing in common with any client dialect: relayed as it is, and not translated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.providers.adapters.adapter import native_exchange, unsupported
from services.providers.call import ClientDialect
from services.providers.credentials import brings_key

if TYPE_CHECKING:
    from kit.secret import Secret
    from services.providers.call import Call, Exchange
    from services.providers.endpoint import Endpoint
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["NativeOnlyAdapter"]


class NativeOnlyAdapter:
    """Relays native calls to one provider."""

    def __init__(self, provider: Provider, endpoint: Endpoint, operator_key: Secret | None) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._operator_key = operator_key

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Host that is called."""
        return self._endpoint.host

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return brings_key(call, self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        if call.dialect is not ClientDialect.NATIVE:
            raise unsupported(call, self._provider)
        return native_exchange(call, self._provider, self._endpoint, self._operator_key)

    async def models(self) -> list[ModelRow] | None:
        """Return no models: none can be asked for by name alone."""
        return []

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""
