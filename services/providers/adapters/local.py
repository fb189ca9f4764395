"""
The model on this machine: OpenAI's API, spoken to the local engine with the engine's own key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kit import tokens
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.endpoint import Endpoint
from services.providers.model_row import ModelRow

if TYPE_CHECKING:
    from services.providers.call import Call, Exchange
    from services.providers.config import ProvidersConfig
    from services.providers.local.engine import LocalEngine
    from services.providers.registry import Provider

__all__ = ["LocalAdapter"]


class LocalAdapter(OpenAIAdapter):
    """
    Speaks to the local engine.

    Args:
        provider: The row.
        engine: Started already, since its address is known only then.
        config: Limits.
    """

    def __init__(self, provider: Provider, engine: LocalEngine, config: ProvidersConfig) -> None:
        super().__init__(provider, Endpoint(engine.base_url), engine.api_key, config)
        self._engine = engine

    def brings_key(self, call: Call) -> bool:
        """Return True: the engine's own key is used, whatever a call brings."""
        del call
        return True

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send. Clients send some key or other because their SDK wants one."""
        headers = [pair for pair in call.headers if pair[0] not in tokens.CREDENTIAL_HEADERS]
        own = replace(
            call, headers=headers, request_only=False, alias="", no_operator=False, unified=True, stored=None
        )
        return await super().exchange(own)

    async def models(self) -> list[ModelRow] | None:
        """Return the models that the engine found."""
        return [ModelRow(name=name) for name in self._engine.models()]

    async def check(self) -> None:
        """Raise while no model is loaded."""
        await self._engine.check()
