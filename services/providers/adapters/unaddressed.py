"""
Providers that have no public address, as long as the operator has not said where theirs is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from services.providers.call import Call
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["UnaddressedAdapter"]


class UnaddressedAdapter:
    """Says which setting is missing."""

    def __init__(self, provider: Provider, variable: str) -> None:
        self._provider = provider
        self._variable = variable

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Nothing is called."""
        return ""

    def brings_key(self, call: Call) -> bool:
        """Return True: nothing can be paid for."""
        del call
        return True

    async def exchange(self, call: Call) -> NoReturn:
        """Raise INVALID_PROVIDER."""
        del call
        text = (
            f"The provider {self._provider.slug} runs where the operator runs it, and the setting with its "
            f"address is missing: {self._variable}."
        )
        raise GatewayError(Reason.INVALID_PROVIDER, text, provider=self._provider.slug)

    async def models(self) -> list[ModelRow] | None:
        """Return no models."""
        return []

    async def check(self) -> None:
        """Do nothing: nobody wants it as long as its address is not set."""
