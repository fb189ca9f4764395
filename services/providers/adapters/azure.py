"""
OpenAI's API at Azure: a host for each resource, a path for each deployment.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from yarl import URL

from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from services.providers.adapters.adapter import native_exchange
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.adapters.places import NativePlace
from services.providers.call import ClientDialect
from services.providers.credentials import brings_key
from services.providers.endpoint import Endpoint, check_target

if TYPE_CHECKING:
    from services.providers.call import Call, Exchange
    from services.providers.config import ProvidersConfig, ProviderSettings
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["AzureAdapter"]

# The latest generally available version that is a date; what came after it is the API without versions.
_DEFAULT_VERSION: Final = "2024-10-21"
_RESOURCE: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
_DEPLOYMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Endpoints that stand beside the deployments and take the deployment's name for the model's.
_WITHOUT_DEPLOYMENT: Final = "responses"
# Stands for the resource's host until the model's name says which it is.
_NO_HOST: Final = URL("https://azure.invalid")


class AzureAdapter:
    """
    Speaks to resources of Azure OpenAI.

    Args:
        provider: The row.
        settings: An address of the operator's takes the place of every resource's. Without one the operator's
            key goes to the operator's own resource alone, whatever resource a call names.
        config: Limits.

    Raises:
        ConfigError: there is a key, and nothing says where it belongs.
    """

    def __init__(self, provider: Provider, settings: ProviderSettings, config: ProvidersConfig) -> None:
        self._provider = provider
        self._override = settings.base_url
        self._own = _resource(settings.resource) if settings.resource else ""
        if settings.api_key is not None and self._override is None and not self._own:
            why = "HEADRACE_PROVIDER_AZURE_OPENAI_API_KEY is for one resource: set …_RESOURCE or …_BASE_URL."
            raise ConfigError([why])
        self._operator_key = settings.api_key
        self._version = settings.api_version or _DEFAULT_VERSION
        self._with_key = OpenAIAdapter(provider, Endpoint(_NO_HOST), settings.api_key, config)
        self._without_key = OpenAIAdapter(provider, Endpoint(_NO_HOST), None, config)

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Host that is called, as far as it does not depend on the call."""
        return (self._override.host if self._override else None) or "openai.azure.com"

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return brings_key(call, self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        if call.dialect is ClientDialect.NATIVE:
            return self._native(call)
        resource, deployment = self._named(call.model)
        openai = self._with_key if self._owns(resource) else self._without_key
        made = await openai.exchange(replace(call, model=deployment))
        path = made.url.raw_path.strip("/")
        if path == _WITHOUT_DEPLOYMENT:
            url = f"{self._base(resource)}/openai/v1/{path}"
        else:
            url = f"{self._base(resource)}/openai/deployments/{deployment}/{path}?api-version={self._version}"
        return replace(made, url=URL(url, encoded=True), guarded=self._override is None)

    async def models(self) -> list[ModelRow] | None:
        """Return no models: only whoever deployed one knows its name."""
        return []

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _native(self, call: Call) -> Exchange:
        target = call.native
        assert target is not None
        check_target(target)
        parts = target.path.strip("/").removeprefix("v1/").split("/", 2)
        if len(parts) < 3:
            raise GatewayError(
                Reason.INVALID_REQUEST,
                "Paths of Azure are {resource}/{deployment}/{endpoint} or {resource}/openai/{endpoint}.",
                param="path",
            )
        second, rest = parts[1:]
        resource = _resource(parts[0])
        # Deployments cannot be told from the API's own prefix, so that none can be called `openai`.
        path = f"openai/{rest}" if second == "openai" else f"openai/deployments/{second}/{rest}"
        query = f"?{target.query}" if target.query else ""
        place = NativePlace(
            url=URL(f"{self._base(resource)}/{path}{query}", encoded=True),
            path=rest.removeprefix("v1/"),
            guarded=self._override is None,
        )
        key = self._operator_key if self._owns(resource) else None
        return native_exchange(call, self._provider, Endpoint(_NO_HOST), key, place=place)

    def _owns(self, resource: str) -> bool:
        """Tell whether the operator's key belongs to what a call goes to."""
        return self._override is not None or resource == self._own

    def _base(self, resource: str) -> str:
        if self._override is not None:
            return str(self._override).rstrip("/")
        return self._provider.base_url.format(resource=resource)

    def _named(self, model: str) -> tuple[str, str]:
        """Take `{resource}/{deployment}` apart; the resource may be the operator's, unnamed."""
        named, _, deployment = model.rpartition("/")
        if not _DEPLOYMENT.fullmatch(deployment):
            raise GatewayError(
                Reason.INVALID_REQUEST, "That cannot be the name of a deployment at Azure.", param="model"
            )
        resource = _resource(named) if named else self._own
        if not resource and self._override is None:
            text = (
                "Models of Azure are {resource}/{deployment}, where the operator set no resource or address."
            )
            raise GatewayError(Reason.INVALID_REQUEST, text, param="model")
        return resource, deployment


def _resource(name: str) -> str:
    name = name.lower()
    if not _RESOURCE.fullmatch(name):
        text = "A resource at Azure has 2 to 63 letters, digits and hyphens."
        raise GatewayError(Reason.INVALID_REQUEST, text, param="resource")
    return name
