"""Which process the edge asks for which provider, by the operator's addresses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from kit.providers import LOCAL, SLUGS
from services.edge.pipeline.providers import Providers
from services.settings import unknown_settings

if TYPE_CHECKING:
    from kit.service import Runtime

SHARED = "dns:///providers-openai:9000"


class _Channel:
    """Says where it leads instead of leading there."""

    def __init__(self, address: str | None) -> None:
        self.address = address

    def unary_stream(self, *_: Any, **__: Any) -> Any:
        return lambda _: self.address

    unary_unary = stream_stream = unary_stream


def _providers(env: dict[str, str], *, local_model: bool = False) -> Providers:
    runtime = SimpleNamespace(
        env=env,
        log=lambda _: None,
        inline=SimpleNamespace(offers=lambda _: False),
        addresses={"providers": SHARED},
        channel=lambda name, address=None: _Channel(address or name),
    )
    return Providers(cast("Runtime", runtime), local_model=local_model)


def _asked(providers: Providers, slug: str) -> object:
    return providers.invoke(slug, cast("Any", None))


def test_a_provider_without_an_address_is_asked_of_the_shared_process() -> None:
    """So is one whose address is that one."""
    providers = _providers({"HEADRACE_PROVIDER_GROQ_ADDRESS": SHARED})

    assert {"providers"} == {_asked(providers, slug) for slug in ("openai", "groq", "custom-x")}
    assert {} == providers.processes


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("dns:///providers-native:9000", "providers-native"),
        ("dns:///providers-native.headrace.svc.cluster.local:9000", "providers-native"),
        ("ipv4:10.0.0.1:9000,10.0.0.2:9000", "providers-deepgram"),
        ("unix:/run/x.sock", "providers-deepgram"),
    ],
)
def test_providers_of_one_address_are_one_process(address: str, name: str) -> None:
    """It is asked once how it is, under the name of its host."""
    variables = ("HEADRACE_PROVIDER_DEEPGRAM_ADDRESS", "HEADRACE_PROVIDER_ELEVENLABS_ADDRESS")
    providers = _providers(dict.fromkeys(variables, address))

    assert [address] * 2 == [_asked(providers, slug) for slug in ("deepgram", "elevenlabs")]
    assert [name] == list(providers.processes)


def test_the_local_model_has_a_process_of_its_own() -> None:
    """Unless it is given an address, or there is none."""
    own = {"HEADRACE_PROVIDER_LOCAL_ADDRESS": "dns:///model:1"}

    assert ["providers-local"] == list(_providers({}, local_model=True).processes)
    assert ["model"] == list(_providers(own, local_model=True).processes)
    assert [] == list(_providers(own).processes)


def test_every_provider_may_have_an_address() -> None:
    """No process takes the setting for a mistake."""
    slugs = [slug for slug in SLUGS if slug != LOCAL]
    env = {
        f"HEADRACE_PROVIDER_{slug.upper().replace('-', '_')}_ADDRESS": f"dns:///{slug}:1" for slug in slugs
    }
    providers = _providers(env)

    assert [] == unknown_settings(env)
    assert slugs == list(providers.processes)
    assert [f"dns:///{slug}:1" for slug in slugs] == [_asked(providers, slug) for slug in slugs]
