"""
What each host of chat completions takes, beside what most do.
"""

from __future__ import annotations

from typing import Final

from services.providers.dialects.openai_chat.quirks import EFFORTS, ChatQuirks

__all__ = [
    "CEREBRAS",
    "DEEPSEEK",
    "FIREWORKS",
    "GROK",
    "GROQ",
    "LLAMA_CPP",
    "MISTRAL",
    "OLLAMA",
    "OPENAI",
    "OPENROUTER",
    "PARALLEL",
    "PERPLEXITY",
    "USUAL",
    "VLLM",
]

USUAL: Final = ChatQuirks()

_SAMPLERS: Final = frozenset({"min_p", "repetition_penalty"})

OPENAI: Final = ChatQuirks(
    openai_models=True,
    limit="max_completion_tokens",
    most_stops=4,
    lacks=frozenset({"top_k"}),
    takes=frozenset(
        {
            "prediction",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "store",
            "web_search_options",
        }
    ),
    efforts=EFFORTS,
    developer=True,
    refusals=True,
    files="file",
    audio="object",
    custom_tools=True,
    allowed_tools=True,
    strict=True,
)

CEREBRAS: Final = ChatQuirks(
    limit="max_completion_tokens",
    hottest=1.5,
    most_stops=4,
    lacks=frozenset(
        {
            "frequency_penalty",
            "logit_bias",
            "metadata",
            "n",
            "presence_penalty",
            "service_tier",
            "top_k",
            "verbosity",
        }
    ),
    replay="reasoning",
    strict=True,
)

DEEPSEEK: Final = ChatQuirks(
    most_stops=16,
    seed="",
    lacks=frozenset(
        {
            "logit_bias",
            "metadata",
            "n",
            "parallel_tool_calls",
            "service_tier",
            "top_k",
            "user",
            "verbosity",
        }
    ),
    reasoning="thinking",
    efforts=("low", "high", "max"),
    replay="reasoning_content",
    text_parts=False,
    images=False,
    json_schema=False,
)

FIREWORKS: Final = ChatQuirks(
    takes=_SAMPLERS | {"prompt_cache_key", "prompt_truncate_len", "top_a"},
    replay="reasoning_content",
    strict=True,
)

GROK: Final = ChatQuirks(
    limit="max_completion_tokens",
    most_stops=4,
    # Models that think, as nearly all do, refuse penalties and stop sequences.
    lacks=frozenset(
        {
            "frequency_penalty",
            "logit_bias",
            "metadata",
            "presence_penalty",
            "service_tier",
            "stop",
            "top_k",
            "verbosity",
        }
    ),
    takes=frozenset({"search_parameters"}),
)

GROQ: Final = ChatQuirks(
    limit="max_completion_tokens",
    most_stops=4,
    lacks=frozenset({"logit_bias", "logprobs", "metadata", "n", "top_k", "top_logprobs", "verbosity"}),
    takes=frozenset(
        {"citation_options", "documents", "include_reasoning", "reasoning_format", "search_settings"}
    ),
    replay="reasoning",
    names=False,
)

MISTRAL: Final = ChatQuirks(
    hottest=1.5,
    seed="random_seed",
    lacks=frozenset({"logit_bias", "service_tier", "user", "verbosity"}),
    takes=frozenset({"guardrails", "min_tokens", "prediction", "prompt_mode", "repetition_penalty"}),
    efforts=EFFORTS,
    replay="content",
    names=False,
    short_ids=True,
    files="document_url",
    audio="text",
    prefill="prefix",
    parameters=True,
    strict=True,
)

OLLAMA: Final = ChatQuirks(
    lacks=frozenset(
        {
            "logit_bias",
            "metadata",
            "n",
            "parallel_tool_calls",
            "service_tier",
            "top_k",
            "user",
            "verbosity",
        }
    ),
)

OPENROUTER: Final = ChatQuirks(
    lacks=frozenset({"n"}),
    takes=_SAMPLERS
    | {
        "models",
        "plugins",
        "prediction",
        "prompt_cache_key",
        "provider",
        "route",
        "session_id",
        "top_a",
        "transforms",
        "web_search_options",
    },
    reasoning="openrouter",
    efforts=("none", "minimal", "low", "medium", "high", "xhigh"),
    replay="reasoning_details",
    developer=True,
    cache_marks=True,
    files="file_url",
    audio="object",
    video=True,
    prefill="plain",
    strict=True,
)

PARALLEL: Final = ChatQuirks(
    seed="",
    lacks=frozenset(
        {
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "max_tokens",
            "metadata",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "service_tier",
            "stop",
            "temperature",
            "tools",
            "top_k",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
        }
    ),
    reasoning="",
    images=False,
)

PERPLEXITY: Final = ChatQuirks(
    seed="",
    lacks=frozenset(
        {
            "logit_bias",
            "logprobs",
            "metadata",
            "n",
            "parallel_tool_calls",
            "service_tier",
            "stop",
            "tools",
            "top_logprobs",
            "user",
            "verbosity",
        }
    ),
    takes=frozenset(
        {
            "disable_search",
            "enable_search_classifier",
            "last_updated_after_filter",
            "last_updated_before_filter",
            "return_images",
            "return_related_questions",
            "search_after_date_filter",
            "search_before_date_filter",
            "search_domain_filter",
            "search_mode",
            "search_recency_filter",
            "web_search_options",
        }
    ),
    efforts=("minimal", "low", "medium", "high"),
    json_object=False,
)

VLLM: Final = ChatQuirks(
    takes=_SAMPLERS
    | {
        "chat_template_kwargs",
        "length_penalty",
        "min_tokens",
        "structured_outputs",
        "truncate_prompt_tokens",
    },
    replay="reasoning_content",
    audio="object",
    video=True,
)

LLAMA_CPP: Final = ChatQuirks(
    takes=_SAMPLERS | {"cache_prompt", "chat_template_kwargs", "grammar", "repeat_penalty"},
    replay="reasoning_content",
    audio="object",
    prefill="plain",
)
