"""
Adapters of the providers that accounts named themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from yarl import URL

from kit.errors import GatewayError, Reason
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.endpoint import Endpoint
from services.providers.registry import CUSTOM

if TYPE_CHECKING:
    from headrace.router.v1 import custom_provider_pb2
    from kit.secret import Secret
    from services.providers.adapters.adapter import Adapter
    from services.providers.call import Call, Exchange
    from services.providers.config import ProvidersConfig
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["CustomAdapters", "operator_adapter"]

# Adapters are small; this many are kept so that the URLs of busy ones are made once.
_KEPT: Final = 1024


class GuardedAdapter:
    """An adapter whose address was chosen by an account, and so may not lead into the operator's network."""

    def __init__(self, inner: OpenAIAdapter) -> None:
        self._inner = inner

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._inner.provider

    @property
    def host(self) -> str:
        """Host that is called."""
        return self._inner.host

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return self._inner.brings_key(call)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        return replace(await self._inner.exchange(call), guarded=True)

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return await self._inner.models()

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""


class CustomAdapters:
    """
    Makes adapters from what a step says of an account's own provider.

    Args:
        config: Limits.
    """

    def __init__(self, config: ProvidersConfig) -> None:
        self._config = config
        self._made: OrderedDict[tuple[str, bytes], Adapter] = OrderedDict()

    def of(self, slug: str, custom: custom_provider_pb2.CustomProvider) -> Adapter:
        """
        Return the adapter of a provider.

        Args:
            slug: With `custom-`.
            custom: What its account says of it.

        Raises:
            GatewayError: INVALID_PROVIDER; its address is none that may be called.
        """
        key = slug, custom.SerializeToString(deterministic=True)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(slug, custom)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        else:
            self._made.move_to_end(key)
        return found

    def _make(self, slug: str, custom: custom_provider_pb2.CustomProvider) -> Adapter:
        headers = tuple((row.name.lower(), row.value.decode("latin-1")) for row in custom.headers)
        row = replace(CUSTOM, slug=slug, set_headers=headers)
        endpoint = Endpoint(_address(slug, custom.base_url), verbatim=True)
        return GuardedAdapter(OpenAIAdapter(row, endpoint, None, self._config))


def operator_adapter(slug: str, base_url: URL, key: Secret | None, config: ProvidersConfig) -> Adapter:
    """Make the adapter of a provider that the operator added, whose address is trusted."""
    return OpenAIAdapter(replace(CUSTOM, slug=slug), Endpoint(base_url, verbatim=True), key, config)


def _address(slug: str, text: str) -> URL:
    try:
        url = URL(text)
        if url.scheme == "https" and url.host and not (url.user or url.password or url.query_string):
            return url
    except ValueError:
        pass
    raise GatewayError(Reason.INVALID_PROVIDER, f"The provider {slug} has no https address.", provider=slug)
