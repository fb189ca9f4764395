"""
How each provider is seen from its own side: where calls arrive, where the key is, what models are called.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from yarl import URL

from services.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from services.providers.registry import Provider

__all__ = ["ADAPTERS", "CHAT_SIDES", "FIELDS", "SIDES", "Side", "WireName"]

# What the operator sets for providers that need it.
FIELDS: Final = {"region": "us-central1", "project": "some-project", "account": "some-account"}

WireName = Literal["openai", "anthropic", "gemini", "converse", "cohere", "workers-ai", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """
    How a provider is seen from its own side.

    Attributes:
        chat_path: Where a chat of the model `m-1` arrives; empty: it has no chat.
        stream_path: Likewise where a stream is asked for; empty: at the same place.
        native_path: Path of a native call, as clients send it.
        arrives_at: Where that one arrives.
        native_chat: Path of a native chat of the model `m-1`, as clients send it.
        native_stream: Likewise of one that is streamed, with its query; empty: the body asks for the stream.
        key_header: Header in which it reads its key.
        key_prefix: What stands before the key there.
        model: Its naming of models.
        wire: What it speaks.
        names_model: Its answers say which model they are of.
        needs_key: It answers nobody without a key.
        set_headers: Names of headers that every call to it has.
        usage_asked: It tells usage in a stream only when asked; otherwise always, beside the finish reason.
    """

    chat_path: str = ""
    stream_path: str = ""
    native_path: str = "v1/files/a%2Fb%20c"
    arrives_at: str = "/v1/files/a%2Fb%20c"
    native_chat: str = "chat/completions"
    native_stream: str = ""
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    model: str = "{}"
    wire: WireName = "openai"
    names_model: bool = True
    needs_key: bool = True
    set_headers: frozenset[str] = frozenset()
    usage_asked: bool = True

    @property
    def translated(self) -> bool:
        """True when chats of OpenAI's dialect are translated."""
        return self.wire != "openai"


def _openai(base: str = "/v1", **changes: object) -> Side:
    side = Side(chat_path=f"{base}/chat/completions", arrives_at=f"{base}/files/a%2Fb%20c")
    return replace(side, **changes)  # type: ignore[arg-type]  # checked by `replace` itself


def _native(base: str = "/v1", **changes: object) -> Side:
    return replace(Side(wire="", arrives_at=f"{base}/files/a%2Fb%20c"), **changes)  # type: ignore[arg-type]  # as above


_VERTEX_PLACE: Final = "/v1/projects/some-project/locations/us-central1"
_VERTEX: Final = _VERTEX_PLACE + "/publishers/google/models/m-1:{}"

SIDES: Final[dict[str, Side]] = {
    "openai": _openai(),
    "anthropic": Side(
        chat_path="/v1/messages",
        key_header="x-api-key",
        key_prefix="",
        wire="anthropic",
        native_chat="v1/messages",
        set_headers=frozenset({"anthropic-version"}),
    ),
    "google-ai-studio": Side(
        chat_path="/v1beta/models/m-1:generateContent",
        stream_path="/v1beta/models/m-1:streamGenerateContent",
        native_chat="v1beta/models/m-1:generateContent",
        native_stream="v1beta/models/m-1:streamGenerateContent?alt=sse",
        native_path="v1beta/files/a%2Fb%20c",
        arrives_at="/v1beta/files/a%2Fb%20c",
        key_header="x-goog-api-key",
        key_prefix="",
        wire="gemini",
    ),
    "google-vertex-ai": Side(
        chat_path=_VERTEX.format("generateContent"),
        stream_path=_VERTEX.format("streamGenerateContent"),
        native_chat=_VERTEX.format("generateContent").lstrip("/"),
        native_stream=_VERTEX.format("streamGenerateContent").lstrip("/") + "?alt=sse",
        native_path=f"{_VERTEX_PLACE}/files/a%2Fb%20c".lstrip("/"),
        arrives_at=f"{_VERTEX_PLACE}/files/a%2Fb%20c",
        model="google/{}",
        wire="gemini",
    ),
    "azure-openai": _openai(
        chat_path="/openai/deployments/m-1/chat/completions",
        key_header="api-key",
        key_prefix="",
        native_chat="some-resource/m-1/chat/completions",
        native_path="some-resource/m-1/files/a%2Fb%20c",
        arrives_at="/openai/deployments/m-1/files/a%2Fb%20c",
    ),
    "aws-bedrock": Side(
        chat_path="/model/amazon.nova-m-1/converse",
        stream_path="/model/amazon.nova-m-1/converse-stream",
        model="amazon.nova-{}",
        wire="converse",
        names_model=False,
        native_chat="bedrock-runtime/us-west-2/model/amazon.nova-m-1/converse",
        native_stream="bedrock-runtime/us-west-2/model/amazon.nova-m-1/converse-stream",
        native_path="bedrock-runtime/us-west-2/files/a%2Fb%20c",
        arrives_at="/files/a%2Fb%20c",
    ),
    "workers-ai": _openai(
        "/client/v4/accounts/some-account/ai/v1", model="@cf/meta/{}", native_chat="v1/chat/completions"
    ),
    "groq": _openai("/openai/v1"),
    "mistral": _openai(usage_asked=False),
    "cohere": Side(chat_path="/v2/chat", native_chat="v2/chat", wire="cohere", names_model=False),
    "perplexity-ai": _openai("", arrives_at="/v1/files/a%2Fb%20c", usage_asked=False),
    "deepseek": _openai("", arrives_at="/v1/files/a%2Fb%20c"),
    "grok": _openai(),
    "cerebras": _openai(),
    "openrouter": _openai("/api/v1"),
    "huggingface": _openai("/v1"),
    "replicate": _native(),
    "baseten": _openai(),
    "parallel": _openai(
        "/v1beta", key_header="x-api-key", key_prefix="", arrives_at="/v1/files/a%2Fb%20c", usage_asked=False
    ),
    "fal": _native(),
    "ideogram": _native(key_header="api-key", key_prefix=""),
    "cartesia": _native("", key_header="x-api-key", key_prefix=""),
    "deepgram": _native(),
    "elevenlabs": _native(key_header="xi-api-key", key_prefix=""),
    "fireworks": _openai("/inference/v1"),
    "ollama": _openai(needs_key=False),
    "vllm": _openai(needs_key=False),
    "local": _openai(needs_key=False),
}


def _of_row(row: Provider) -> Side:
    """Say of a provider of OpenAI's API what its row says: it needs no line above."""
    base = URL(row.base_url).path.rstrip("/")
    return _openai(
        base,
        chat_path=f"{base}/{row.chat_path}",
        key_header=row.auth.header,
        key_prefix=row.auth.prefix,
        needs_key=row.auth.required,
        usage_asked=row.stream_usage,
    )


SIDES.update(
    {slug: _of_row(row) for slug, row in PROVIDERS.items() if row.api == "openai" and slug not in SIDES}
)
CHAT_SIDES: Final = {slug: side for slug, side in SIDES.items() if side.chat_path}

# One of each adapter, for what takes time and does not depend on a row of data.
ADAPTERS: Final = (
    "anthropic",
    "aws-bedrock",
    "azure-openai",
    "cohere",
    "google-ai-studio",
    "google-vertex-ai",
    "openai",
    "workers-ai",
)
