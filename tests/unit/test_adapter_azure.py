"""
Where calls of Azure OpenAI go, and where the operator's key does not.
"""

from __future__ import annotations

import orjson
import pytest
from yarl import URL

from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.azure import AzureAdapter
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.registry import PROVIDERS

KEY = Secret("azure-operator-key")
BODY = orjson.dumps({"model": "x", "messages": [{"role": "user", "content": "Hi"}]})


def adapter(*, base_url: str = "", resource: str = "", key: Secret | None = KEY) -> AzureAdapter:
    settings = ProviderSettings(
        slug="azure-openai", base_url=URL(base_url) if base_url else None, api_key=key, resource=resource
    )
    return AzureAdapter(PROVIDERS["azure-openai"], settings, ProvidersConfig())


def chat(model: str, **headers: str) -> Call:
    return Call(
        model=model,
        dialect=ClientDialect.OPENAI_CHAT,
        body=BODY,
        stream=False,
        headers=[(name.replace("_", "-"), value.encode()) for name, value in headers.items()],
    )


def native(path: str) -> Call:
    target = NativeTarget(method="POST", path=path, query="api-version=1")
    return Call(model="", dialect=ClientDialect.NATIVE, body=b"{}", stream=False, headers=(), native=target)


@pytest.mark.parametrize("model", ["gpt-4o", "ours/gpt-4o", "OURS/gpt-4o"])
async def test_the_operators_resource(model: str) -> None:
    """A model of the operator's resource, named or not, goes there with the operator's key."""
    made = await adapter(resource="ours").exchange(chat(model))

    expected = (
        "https://ours.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    )
    assert expected == str(made.url)
    assert ("api-key", "azure-operator-key") in made.headers
    assert made.guarded


@pytest.mark.parametrize("call", [chat("theirs/gpt-4o"), native("theirs/gpt-4o/chat/completions")])
async def test_another_resource_gets_no_key_of_the_operator(call: Call) -> None:
    """A resource that a call names is not told the operator's key."""
    with pytest.raises(GatewayError) as caught:
        await adapter(resource="ours").exchange(call)

    assert Reason.CREDENTIAL_MISSING is caught.value.reason


async def test_another_resource_with_a_key_of_its_own() -> None:
    """A call may bring its own key for a resource of its own."""
    made = await adapter(resource="ours").exchange(chat("theirs/gpt-4o", api_key="their-own-key"))

    assert "theirs.openai.azure.com" == made.url.host
    assert [("api-key", "their-own-key")] == [pair for pair in made.headers if pair[0] == "api-key"]


async def test_an_address_of_the_operators() -> None:
    """An address takes the place of every resource's, and the key goes along."""
    made = await adapter(base_url="http://azure.internal:9000").exchange(chat("theirs/gpt-4o"))

    assert "azure.internal" == made.url.host
    assert ("api-key", "azure-operator-key") in made.headers
    assert not made.guarded


async def test_native_calls_of_the_operators_resource() -> None:
    """Native paths name the resource, and get the key where it is the operator's."""
    made = await adapter(resource="ours").exchange(native("ours/gpt-4o/chat/completions"))

    expected = "https://ours.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=1"
    assert expected == str(made.url)
    assert ("api-key", "azure-operator-key") in made.headers


def test_a_key_that_belongs_nowhere() -> None:
    """A key without a resource or an address is a mistake that is told at the start."""
    with pytest.raises(ConfigError, match="_RESOURCE or"):
        adapter()


@pytest.mark.parametrize("model", ["gpt-4o", "a.b/gpt-4o", "-x/gpt-4o", "ours/", "ours/../gpt"])
async def test_models_that_lead_nowhere(model: str) -> None:
    """A model without a resource, and what cannot be a resource's or a deployment's name, is refused."""
    with pytest.raises(GatewayError) as caught:
        await adapter(key=None).exchange(chat(model, api_key="their-own-key"))

    assert Reason.INVALID_REQUEST is caught.value.reason
