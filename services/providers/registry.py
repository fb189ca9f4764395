"""
The providers: one row each.

A provider that speaks OpenAI's API is a row here and a slug in `kit/providers.py`, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from yarl import URL

from kit.providers import LOCAL
from services.providers.credentials import AuthScheme

__all__ = ["PROVIDERS", "Api", "Provider"]

# Which API a provider speaks, and so which adapter speaks to it.
Api = Literal["openai", "anthropic"]

BEARER: Final = AuthScheme(header="authorization", prefix="Bearer ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """
    What is to be known of a provider.

    Attributes:
        slug: In URLs and before model names.
        api: The API it speaks.
        base_url: What the API's paths are joined to, unless the operator sets another.
        auth: Where it reads its key.
        telemetry_name: In spans, as the GenAI conventions name it.
        set_headers: Sent with every translated or same-dialect call, unless the client set them.
        drop_headers: Begin the names of client headers that mean something to other providers only.
        stream_usage: Understands `stream_options.include_usage`.
        lists_models: Answers `GET models`.
    """

    slug: str
    api: Api
    base_url: URL
    auth: AuthScheme
    telemetry_name: str
    set_headers: tuple[tuple[str, str], ...] = ()
    drop_headers: tuple[str, ...] = ()
    stream_usage: bool = True
    lists_models: bool = True


_ROWS: Final = (
    Provider(
        slug="openai",
        api="openai",
        base_url=URL("https://api.openai.com/v1"),
        auth=BEARER,
        telemetry_name="openai",
        drop_headers=("anthropic-",),
    ),
    Provider(
        slug="anthropic",
        api="anthropic",
        base_url=URL("https://api.anthropic.com"),
        auth=AuthScheme(header="x-api-key", bearer_prefixes=("sk-ant-oat",)),
        telemetry_name="anthropic",
        # A later version refuses parameters that OpenAI clients send.
        set_headers=(("anthropic-version", "2023-06-01"),),
        drop_headers=("openai-", "x-stainless-"),
    ),
    Provider(
        slug=LOCAL,
        api="openai",
        # Stands for the engine on this machine, whose address is known when it runs.
        base_url=URL("http://localhost/v1"),
        auth=AuthScheme(header="authorization", prefix="Bearer ", required=False),
        telemetry_name="llama.cpp",
        drop_headers=("anthropic-",),
    ),
)

PROVIDERS: Final = {row.slug: row for row in _ROWS}
