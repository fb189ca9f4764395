"""
The providers: one row each.

A provider that speaks OpenAI's API is a row here, and nothing else; `make docs` takes its name over into
`kit/provider_names.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from kit.providers import LOCAL
from services.providers.credentials import AuthScheme
from services.providers.dialects.openai_chat import hosts

if TYPE_CHECKING:
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["CUSTOM", "PROVIDERS", "Api", "Provider"]

# Which API a provider speaks, and so which adapter speaks to it. `native`: one that no client dialect has
# anything in common with.
Api = Literal["openai", "anthropic", "gemini", "vertex", "azure", "bedrock", "cohere", "workers-ai", "native"]

_BEARER: Final = AuthScheme(header="authorization", prefix="Bearer ")
_MAYBE_BEARER: Final = AuthScheme(header="authorization", prefix="Bearer ", required=False)
_NOT_OPENAI: Final = ("openai-", "x-stainless-")
_NOT_ANTHROPIC: Final = ("anthropic-",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """
    What is to be known of a provider.

    Attributes:
        slug: In URLs and before model names.
        aliases: Further names for it.
        api: The API it speaks.
        base_url: What the API's paths are joined to, unless the operator sets another. Holds `{region}`,
            `{account}` or `{resource}` where a call decides. Empty: only the operator knows.
        native_url: What native paths without a version are joined to, where it is another address.
        version: Put before paths that name none, where `base_url` does not end with one.
        unversioned: Beginnings of paths that have no version, which is taken off before them; `""`: of all.
        model_host: Where native `model/{id}` is: an address that holds `{id}`.
        target_header: Of native calls: holds the address that they are meant for.
        target_hosts: What the host of such an address must match.
        auth: Where it reads its key.
        telemetry_name: In spans, as the GenAI conventions name it.
        set_headers: Sent with every call, unless the client set them.
        drop_headers: Begin the names of client headers that mean something to other providers only.
        settings: Which of `region`, `project`, `account`, `api_version` and `resource` the operator may set.
        stream_usage: Understands `stream_options.include_usage`.
        lists_models: Answers `GET models`.
        models_query: Of that question, where the usual page would not hold all.
        signs_body: A call is signed, so that its whole body has to be there before it is sent.
        chat_path: Where chat completions are.
        chat: What they take there.
        embeddings: Has OpenAI's embeddings, or something that they are translated to.
        responses: Has OpenAI's responses.
        endpoints: Further endpoints of OpenAI's API that it has in the same dialect.
    """

    slug: str
    aliases: tuple[str, ...] = ()
    api: Api = "openai"
    base_url: str
    native_url: str = ""
    version: str = ""
    unversioned: tuple[str, ...] = ()
    model_host: str = ""
    target_header: str = ""
    target_hosts: str = ""
    auth: AuthScheme = _BEARER
    telemetry_name: str
    set_headers: tuple[tuple[str, str], ...] = ()
    drop_headers: tuple[str, ...] = _NOT_ANTHROPIC
    settings: frozenset[str] = frozenset()
    stream_usage: bool = True
    lists_models: bool = True
    models_query: str = ""
    signs_body: bool = False
    chat_path: str = "chat/completions"
    chat: ChatQuirks = hosts.USUAL
    embeddings: bool = True
    responses: bool = False
    endpoints: frozenset[str] = frozenset()


_OPENAI_ENDPOINTS: Final = frozenset(
    {
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "completions",
        "images/edits",
        "images/generations",
        "images/variations",
        "moderations",
    }
)

_ROWS: Final = (
    Provider(
        slug="openai",
        base_url="https://api.openai.com/v1",
        telemetry_name="openai",
        chat=hosts.OPENAI,
        responses=True,
        endpoints=_OPENAI_ENDPOINTS,
    ),
    Provider(
        slug="anthropic",
        api="anthropic",
        base_url="https://api.anthropic.com",
        version="v1",
        auth=AuthScheme(header="x-api-key", bearer_prefixes=("sk-ant-oat",)),
        telemetry_name="anthropic",
        # A later version refuses parameters that OpenAI clients send.
        set_headers=(("anthropic-version", "2023-06-01"),),
        drop_headers=_NOT_OPENAI,
        models_query="limit=1000",
        embeddings=False,
    ),
    Provider(
        slug="google-ai-studio",
        aliases=("google",),
        api="gemini",
        base_url="https://generativelanguage.googleapis.com",
        version="v1beta",
        # WebSockets, whose version is a part of a name.
        unversioned=("ws",),
        auth=AuthScheme(header="x-goog-api-key", bearer_prefixes=("ya29.",), query="key"),
        telemetry_name="gcp.gemini",
        models_query="pageSize=1000",
        drop_headers=(*_NOT_ANTHROPIC, *_NOT_OPENAI),
    ),
    Provider(
        slug="google-vertex-ai",
        aliases=("google-vertex",),
        api="vertex",
        base_url="https://{region}-aiplatform.googleapis.com",
        version="v1",
        telemetry_name="gcp.vertex_ai",
        drop_headers=_NOT_OPENAI,
        settings=frozenset({"region", "project"}),
        lists_models=False,
    ),
    Provider(
        slug="azure-openai",
        aliases=("azure",),
        api="azure",
        base_url="https://{resource}.openai.azure.com",
        auth=AuthScheme(header="api-key", bearer_prefixes=("eyJ",)),
        telemetry_name="azure.ai.openai",
        chat=hosts.OPENAI,
        settings=frozenset({"api_version", "resource"}),
        # A list is of what could be deployed, not of what is.
        lists_models=False,
        responses=True,
        endpoints=_OPENAI_ENDPOINTS - {"moderations"},
    ),
    Provider(
        slug="aws-bedrock",
        aliases=("bedrock",),
        api="bedrock",
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        telemetry_name="aws.bedrock",
        signs_body=True,
        drop_headers=_NOT_OPENAI,
        settings=frozenset({"region"}),
        lists_models=False,
    ),
    Provider(
        slug="workers-ai",
        api="workers-ai",
        base_url="https://api.cloudflare.com/client/v4/accounts/{account}/ai",
        telemetry_name="cloudflare.workers_ai",
        settings=frozenset({"account"}),
        lists_models=False,
    ),
    Provider(
        slug="groq",
        base_url="https://api.groq.com/openai/v1",
        telemetry_name="groq",
        chat=hosts.GROQ,
        embeddings=False,
        responses=True,
        endpoints=frozenset({"audio/speech", "audio/transcriptions", "audio/translations"}),
    ),
    Provider(
        slug="mistral",
        base_url="https://api.mistral.ai/v1",
        telemetry_name="mistral_ai",
        chat=hosts.MISTRAL,
        # Refused; usage comes without being asked for.
        stream_usage=False,
        endpoints=frozenset({"audio/transcriptions", "moderations"}),
    ),
    Provider(
        slug="cohere",
        api="cohere",
        base_url="https://api.cohere.com",
        version="v1",
        # OpenAI's API, whose version comes after that.
        unversioned=("compatibility",),
        telemetry_name="cohere",
        models_query="page_size=1000",
        drop_headers=(*_NOT_ANTHROPIC, *_NOT_OPENAI),
    ),
    Provider(
        slug="perplexity-ai",
        aliases=("perplexity",),
        base_url="https://api.perplexity.ai",
        version="v1",
        unversioned=("chat", "async", "search"),
        telemetry_name="perplexity",
        chat=hosts.PERPLEXITY,
        stream_usage=False,
        lists_models=False,
        responses=True,
    ),
    Provider(
        slug="deepseek",
        base_url="https://api.deepseek.com",
        telemetry_name="deepseek",
        chat=hosts.DEEPSEEK,
        embeddings=False,
    ),
    Provider(
        slug="grok",
        aliases=("xai",),
        base_url="https://api.x.ai/v1",
        telemetry_name="x_ai",
        chat=hosts.GROK,
        embeddings=False,
        responses=True,
        endpoints=frozenset({"completions", "images/generations"}),
    ),
    Provider(
        slug="cerebras",
        aliases=("cerebras-ai",),
        base_url="https://api.cerebras.ai/v1",
        telemetry_name="cerebras",
        chat=hosts.CEREBRAS,
        embeddings=False,
        endpoints=frozenset({"completions"}),
    ),
    Provider(
        slug="openrouter",
        base_url="https://openrouter.ai/api/v1",
        telemetry_name="openrouter",
        chat=hosts.OPENROUTER,
        responses=True,
        endpoints=frozenset({"completions"}),
    ),
    Provider(
        slug="huggingface",
        base_url="https://router.huggingface.co/v1",
        native_url="https://router.huggingface.co/hf-inference/models",
        telemetry_name="huggingface",
        embeddings=False,
        responses=True,
    ),
    Provider(
        slug="replicate",
        api="native",
        base_url="https://api.replicate.com/v1",
        telemetry_name="replicate",
        lists_models=False,
    ),
    Provider(
        slug="baseten",
        base_url="https://inference.baseten.co/v1",
        model_host="https://model-{id}.api.baseten.co",
        telemetry_name="baseten",
        embeddings=False,
    ),
    Provider(
        slug="parallel",
        base_url="https://api.parallel.ai",
        version="v1",
        unversioned=("chat",),
        auth=AuthScheme(header="x-api-key"),
        telemetry_name="parallel",
        chat=hosts.PARALLEL,
        chat_path="v1beta/chat/completions",
        stream_usage=False,
        lists_models=False,
        embeddings=False,
    ),
    Provider(
        slug="fal",
        api="native",
        base_url="https://fal.run",
        target_header="x-fal-target-url",
        target_hosts=r"(?:[a-z0-9-]+\.)*fal\.(?:run|ai)",
        auth=AuthScheme(header="authorization", prefix="Key "),
        telemetry_name="fal",
        lists_models=False,
    ),
    Provider(
        slug="ideogram",
        api="native",
        base_url="https://api.ideogram.ai",
        version="v1",
        unversioned=("generate", "edit", "remix", "reframe", "upscale", "describe", "manage"),
        auth=AuthScheme(header="api-key"),
        telemetry_name="ideogram",
        lists_models=False,
    ),
    Provider(
        slug="cartesia",
        api="native",
        base_url="https://api.cartesia.ai",
        version="v1",
        unversioned=("",),
        auth=AuthScheme(header="x-api-key", bearer_prefixes=("eyJ",)),
        telemetry_name="cartesia",
        lists_models=False,
    ),
    Provider(
        slug="deepgram",
        api="native",
        base_url="https://api.deepgram.com",
        version="v1",
        auth=AuthScheme(header="authorization", prefix="Token "),
        telemetry_name="deepgram",
        lists_models=False,
    ),
    Provider(
        slug="elevenlabs",
        api="native",
        base_url="https://api.elevenlabs.io",
        version="v1",
        auth=AuthScheme(header="xi-api-key"),
        telemetry_name="elevenlabs",
        lists_models=False,
    ),
    Provider(
        slug="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        telemetry_name="fireworks",
        chat=hosts.FIREWORKS,
        responses=True,
        endpoints=frozenset({"completions", "rerank"}),
    ),
    Provider(
        slug="ollama",
        base_url="",
        version="v1",
        # Its own API, beside OpenAI's.
        unversioned=("api",),
        auth=_MAYBE_BEARER,
        telemetry_name="ollama",
        chat=hosts.OLLAMA,
        responses=True,
        endpoints=frozenset({"completions"}),
    ),
    Provider(
        slug="vllm",
        base_url="",
        version="v1",
        unversioned=("classify", "detokenize", "pooling", "tokenize"),
        auth=_MAYBE_BEARER,
        telemetry_name="vllm",
        chat=hosts.VLLM,
        responses=True,
        endpoints=frozenset({"audio/transcriptions", "audio/translations", "completions", "rerank"}),
    ),
    Provider(
        slug=LOCAL,
        # Stands for the engine on this machine, whose address is known when it runs.
        base_url="http://localhost/v1",
        auth=_MAYBE_BEARER,
        telemetry_name="llama.cpp",
        chat=hosts.LLAMA_CPP,
        responses=True,
        endpoints=frozenset({"completions"}),
    ),
)

PROVIDERS: Final = {row.slug: row for row in _ROWS}

# What is taken for granted of a provider that an account or the operator named.
CUSTOM: Final = Provider(
    slug="custom",
    base_url="",
    auth=_MAYBE_BEARER,
    telemetry_name="custom",
    responses=True,
    endpoints=_OPENAI_ENDPOINTS | {"rerank"},
)
