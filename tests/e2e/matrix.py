"""
Which SDK is asked for which model, and what it has to say: the cells of `docs/compatibility.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.e2e.keys import CLIENT_AWS_KEY, CLIENT_KEY
from tests.e2e.sdks.anthropic_messages import Messages
from tests.e2e.sdks.bedrock import signing_client, unsigned_client
from tests.e2e.sdks.chat_completions import groq_client, openai_client
from tests.e2e.sdks.cohere_chat import CohereChat
from tests.e2e.sdks.google_genai import GenerateContent
from tests.e2e.sdks.mistral import MistralChat
from tests.e2e.sdks.node import NodeSdk
from tests.e2e.sdks.openai_responses import Responses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.e2e.sdks.client import Client
    from tests.fakes.stack import Stack

__all__ = ["CLIENTS", "NATIVE_CLIENTS", "TARGETS", "Row", "Target"]

# Words by which dialects say that an answer is whole, and that a tool is called.
_OPENAI: Final = ("stop", "tool_calls")
_RESPONSES: Final = ("completed", "completed")
_ANTHROPIC: Final = ("end_turn", "tool_use")
_GEMINI: Final = ("STOP", "STOP")
_VERCEL: Final = ("stop", "tool-calls")
_COHERE: Final = ("COMPLETE", "TOOL_CALL")
_CHAT: Final = "chat completions"
_BY_RESPONSES: Final = "responses"
_LLAMA: Final = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
_RUNTIME: Final = "aws-bedrock/bedrock-runtime/us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    An SDK.

    Attributes:
        sdk: Its name, for readers.
        asks_by: What it calls.
        make: Points it at a gateway.
        finishes: Its words for the end of an answer, and for a call of a tool.
        model: Its own provider's name of a model; empty: it is asked for models of every provider.
        streams_usage: It learns what a stream used from every provider. Else it does not ask, as its own
            provider tells without.
        streams_calls: It reads calls of tools that come in parts. Else it takes them whole, as its own
            provider gives them.
    """

    sdk: str
    asks_by: str
    make: Callable[[Stack], Client]
    finishes: tuple[str, str]
    model: str = ""
    streams_usage: bool = True
    streams_calls: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    A provider that is asked.

    Attributes:
        title: For readers.
        model: Asked for.
        speaks: What it is asked by.
        arrives: Pattern of the paths where that arrives.
        same: Likewise for clients whose own dialect it has too, by what they call.
    """

    title: str
    model: str
    speaks: str
    arrives: str
    same: Mapping[str, str] = field(default_factory=dict)

    def place(self, asks_by: str) -> str:
        """Return the pattern of the paths where calls of a client arrive."""
        return self.same.get(asks_by, self.arrives)


def _compat(make: Callable[..., Client], path: str = "/v1") -> Callable[[Stack], Client]:
    """Make an SDK that has the gateway's token for its key."""
    return lambda stack: make(f"{stack.base_url}{path}", stack.token, {})


def _native(make: Callable[..., Client], path: str) -> Callable[[Stack], Client]:
    """Make an SDK that has its provider's key, and the gateway's token in a header beside it."""
    return lambda stack: make(f"{stack.gateway_url()}/{path}", CLIENT_KEY, _beside(stack))


def _node(program: str, *arguments: str) -> Callable[[Stack], Client]:
    return lambda stack: NodeSdk(stack.openai_base_url, stack.token, program, *arguments)


def _beside(stack: Stack) -> dict[str, str]:
    return {"cf-aig-authorization": f"Bearer {stack.token}"}


def _signing(stack: Stack) -> Client:
    base_url = f"{stack.gateway_url()}/{_RUNTIME}"
    return signing_client(base_url, (CLIENT_AWS_KEY, CLIENT_KEY), _beside(stack))


def _unsigned(stack: Stack) -> Client:
    return unsigned_client(f"{stack.gateway_url()}/{_RUNTIME}", _beside(stack))


# These reach every provider.
CLIENTS: Final = {
    "openai-chat": Row(sdk="openai for Python", asks_by=_CHAT, make=_compat(openai_client), finishes=_OPENAI),
    "openai-responses": Row(
        sdk="openai for Python", asks_by=_BY_RESPONSES, make=_compat(Responses), finishes=_RESPONSES
    ),
    "anthropic": Row(
        sdk="anthropic for Python", asks_by="messages", make=_compat(Messages, ""), finishes=_ANTHROPIC
    ),
    "google-genai": Row(
        sdk="google-genai for Python",
        asks_by="generateContent",
        make=_compat(GenerateContent, ""),
        finishes=_GEMINI,
    ),
    "mistralai": Row(
        sdk="mistralai for Python",
        asks_by=_CHAT,
        make=_compat(MistralChat, ""),
        finishes=_OPENAI,
        streams_usage=False,
        streams_calls=False,
    ),
    "openai-node": Row(sdk="openai for Node", asks_by=_CHAT, make=_node("sdk_openai.mjs"), finishes=_OPENAI),
    "ai-node": Row(
        sdk="ai for Node, @ai-sdk/openai-compatible",
        asks_by=_CHAT,
        make=_node("sdk_vercel.mjs"),
        finishes=_VERCEL,
    ),
    "ai-node-responses": Row(
        sdk="ai for Node, @ai-sdk/openai",
        asks_by=_BY_RESPONSES,
        make=_node("sdk_vercel.mjs", "responses"),
        finishes=_VERCEL,
    ),
}

# These speak to their own provider, on its own path.
NATIVE_CLIENTS: Final = {
    "openai": Row(
        sdk="openai for Python",
        asks_by="openai",
        make=_native(openai_client, "openai"),
        finishes=_OPENAI,
        model="gpt-4o-mini",
    ),
    "openai-responses": Row(
        sdk="openai for Python, by responses",
        asks_by="openai",
        make=_native(Responses, "openai"),
        finishes=_RESPONSES,
        model="gpt-4o-mini",
    ),
    "anthropic": Row(
        sdk="anthropic for Python",
        asks_by="anthropic",
        make=_native(Messages, "anthropic"),
        finishes=_ANTHROPIC,
        model="claude-haiku-4-5",
    ),
    "google-genai": Row(
        sdk="google-genai for Python",
        asks_by="google-ai-studio",
        make=_native(GenerateContent, "google-ai-studio"),
        finishes=_GEMINI,
        model="gemini-2.5-flash",
    ),
    "mistralai": Row(
        sdk="mistralai for Python",
        asks_by="mistral",
        make=_native(MistralChat, "mistral"),
        finishes=_OPENAI,
        model="mistral-large-latest",
    ),
    "groq": Row(
        sdk="groq for Python",
        asks_by="groq",
        make=_native(groq_client, "groq"),
        finishes=_OPENAI,
        model="llama-3.3-70b-versatile",
    ),
    "cohere": Row(
        sdk="cohere for Python",
        asks_by="cohere",
        make=_native(CohereChat, "cohere"),
        finishes=_COHERE,
        model="command-a-03-2025",
    ),
    "boto3-signing": Row(
        sdk="boto3, signing by itself",
        asks_by="aws-bedrock",
        make=_signing,
        finishes=_ANTHROPIC,
        model="amazon.nova-lite-v1:0",
    ),
    "boto3-unsigned": Row(
        sdk="boto3, signed by the gateway",
        asks_by="aws-bedrock",
        make=_unsigned,
        finishes=_ANTHROPIC,
        model="amazon.nova-lite-v1:0",
    ),
}

_VERTEX: Final = "/v1/projects/some-project/locations/us-central1/publishers"
_GENERATE: Final = "gemini-2.5-flash:(generateContent|streamGenerateContent)"

TARGETS: Final = {
    "openai": Target(
        title="openai",
        model="openai/gpt-4o-mini",
        speaks=_CHAT,
        arrives="/v1/chat/completions",
        same={_BY_RESPONSES: "/v1/responses"},
    ),
    "openai-responses": Target(
        title="openai, models without chat completions",
        model="openai/gpt-5-pro",
        speaks=_BY_RESPONSES,
        arrives="/v1/responses",
    ),
    "azure-openai": Target(
        title="azure-openai",
        model="azure-openai/some-resource/gpt-4o-mini",
        speaks=_CHAT,
        arrives="/openai/deployments/gpt-4o-mini/chat/completions",
        same={_BY_RESPONSES: "/openai/v1/responses"},
    ),
    "groq": Target(
        title="groq",
        model="groq/llama-3.3-70b-versatile",
        speaks=_CHAT,
        arrives="/openai/v1/chat/completions",
        same={_BY_RESPONSES: "/openai/v1/responses"},
    ),
    "mistral": Target(
        title="mistral",
        model="mistral/mistral-large-latest",
        speaks=_CHAT,
        arrives="/mistral/v1/chat/completions",
    ),
    "anthropic": Target(
        title="anthropic", model="anthropic/claude-haiku-4-5", speaks="messages", arrives="/v1/messages"
    ),
    "google-ai-studio": Target(
        title="google-ai-studio",
        model="google-ai-studio/gemini-2.5-flash",
        speaks="generateContent",
        arrives=f"/v1beta/models/{_GENERATE}",
    ),
    "google-vertex-ai": Target(
        title="google-vertex-ai",
        model="google-vertex-ai/google/gemini-2.5-flash",
        speaks="generateContent",
        arrives=f"{_VERTEX}/google/models/{_GENERATE}",
    ),
    "google-vertex-ai-claude": Target(
        title="google-vertex-ai, Claude",
        model="google-vertex-ai/anthropic/claude-haiku-4-5",
        speaks="messages",
        arrives=f"{_VERTEX}/anthropic/models/claude-haiku-4-5:(rawPredict|streamRawPredict)",
    ),
    "aws-bedrock": Target(
        title="aws-bedrock",
        model="aws-bedrock/amazon.nova-lite-v1:0",
        speaks="Converse",
        arrives="/model/amazon.nova-lite-v1%3A0/(converse|converse-stream)",
    ),
    "cohere": Target(
        title="cohere", model="cohere/command-a-03-2025", speaks="chat, version 2", arrives="/v2/chat"
    ),
    "workers-ai": Target(
        title="workers-ai",
        model=f"workers-ai/{_LLAMA}",
        speaks="run",
        arrives=f"/client/v4/accounts/some-account/ai/run/{_LLAMA}",
        same={_CHAT: "/client/v4/accounts/some-account/ai/v1/chat/completions"},
    ),
}
