# ruff: noqa: E501  (messages stand on one line, as they are sent)
from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.providers.dialects.failures import FailureClass, classify, error_message

# Provider, or the serving program behind it, and what it says of a prompt that is too long.
TOO_LONG = [
    (
        "openai",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens. Please reduce the length of the messages.",
    ),
    (
        "openai",
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
    ),
    ("openai", "Invalid 'input': maximum input length is 8192 tokens."),
    (
        "azure-openai",
        "This model's maximum context length is 4097 tokens, however you requested 4162 tokens (1090 in your prompt; 3072 for the completion).",
    ),
    ("anthropic", "prompt is too long: 208310 tokens > 200000 maximum"),
    (
        "anthropic",
        "input length and `max_tokens` exceed context limit: 198981 + 21333 > 200000, decrease input length or max_tokens and try again",
    ),
    (
        "google-ai-studio",
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    ),
    (
        "google-vertex-ai",
        "Unable to submit request because the input token count is 40000 but model only supports up to 32768.",
    ),
    ("aws-bedrock", "Input is too long for requested model."),
    (
        "aws-bedrock",
        "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length",
    ),
    (
        "aws-bedrock",
        "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9000",
    ),
    (
        "aws-bedrock",
        "Malformed input request: expected maxLength: 50000, actual: 61234, please reformat your input and try again.",
    ),
    (
        "cohere",
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using a shorter prompt, or enabling prompt truncating.",
    ),
    (
        "cohere",
        "too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs, or setting prompt_truncation='AUTO'.",
    ),
    (
        "mistral",
        "Prompt contains 70000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    ),
    ("groq", "Please reduce the length of the messages or completion."),
    (
        "deepseek",
        "This model's maximum context length is 131072 tokens. However, you requested 141403 tokens (133211 in the messages, 8192 in the completion).",
    ),
    ("grok", "This model's maximum prompt length is 131072 but the request contains 136973 tokens."),
    (
        "cerebras",
        "Please reduce the length of the messages or completion. Current length is 42328 while limit is 40000",
    ),
    ("fireworks", "The prompt is too long: 200000, model maximum context length: 131071"),
    (
        "openrouter",
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 132463 tokens (1463 of text input, 131000 in the output).",
    ),
    ("openrouter", "The input exceeds the maximum allowed input length of 131072 tokens."),
    (
        "vllm",
        "This model's maximum context length is 131072 tokens. However, you requested 128000 output tokens and your prompt contains at least 3073 input tokens.",
    ),
    ("vllm", "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    ("sglang", "Requested token count exceeds the model's maximum context length of 256000 tokens."),
    ("sglang", "Input (70000 tokens) is longer than the model's context length (65536 tokens)."),
    ("ollama", "prompt too long; exceeded max context length by 12 tokens"),
    ("ollama", "the input length exceeds the context length"),
    (
        "llama.cpp",
        "the request exceeds the available context size. try increasing the context size or enable context shift",
    ),
    (
        "llama.cpp",
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
    ),
    ("llama.cpp", "input is too large to process. increase the physical batch size"),
    ("lm-studio", "The number of tokens to keep from the initial prompt is greater than the context length."),
    (
        "workers-ai",
        "AiError: 5021: The estimated number of input and maximum output tokens (9000) exceeded this model context window limit (7968).",
    ),
    (
        "workers-ai",
        "AiError: This model's maximum context length is 131072 tokens. However, you requested 16000 output tokens.",
    ),
    ("huggingface", "Input validation error: `inputs` must have less than 1024 tokens. Given: 2048"),
    (
        "huggingface",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2000 `inputs` tokens and 100 `max_new_tokens`",
    ),
    ("together", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097."),
    ("moonshot", "Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)"),
    ("minimax", "invalid params, context window exceeds limit (2013)"),
    ("qwen", "Range of input length should be [1, 30720]"),
    ("github", "prompt token count of 93854 exceeds the limit of 90000"),
]

NOT_ALLOWED = [
    (
        400,
        {
            "message": "Your request was rejected as a result of our safety system.",
            "code": "content_policy_violation",
        },
    ),
    (400, {"message": "m", "code": "moderation_blocked"}),
    (
        400,
        {
            "message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            "code": "invalid_prompt",
        },
    ),
    (
        400,
        {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            "code": "content_filter",
        },
    ),
    (400, {"message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}),
    (400, {"message": "Output blocked by content filtering policy", "type": "invalid_request_error"}),
    (400, {"message": "Content Exists Risk", "type": "invalid_request_error"}),
    (
        403,
        {
            "message": 'Your chosen model requires moderation and your input was flagged for "violence".',
            "code": 403,
        },
    ),
    (400, {"message": "AiError: 3030: Input prompt contains NSFW content."}),
]


@pytest.mark.parametrize(("provider", "message"), TOO_LONG)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_too_long(provider: str, message: str, status: int) -> None:
    """Case 150: a prompt that is too long is one class, in the words of every provider."""
    body = orjson.dumps({"error": {"message": message}})

    assert (provider, FailureClass.CONTEXT_LENGTH) == (provider, classify(status, body))


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (429, "Too many tokens, please wait before trying again.", FailureClass.RATE_LIMIT),
        (400, "Too many tokens, please wait before trying again.", FailureClass.INVALID_REQUEST),
        (400, "Too many tokens per day, please wait before trying again.", FailureClass.INVALID_REQUEST),
        (
            400,
            "too many tokens: max tokens must be less than or equal to 4096, the maximum output for this model - received 8192.",
            FailureClass.INVALID_REQUEST,
        ),
        (
            400,
            "max_completion_tokens is too large: 262144. This model supports at most 256000 completion tokens.",
            FailureClass.INVALID_REQUEST,
        ),
        (401, "Input is too long for requested model.", FailureClass.AUTHENTICATION),
    ],
)
def test_not_too_long(status: int, message: str, expected: FailureClass) -> None:
    """Case 150: too many calls, and too long an answer asked for, are no prompt that is too long."""
    assert expected is classify(status, orjson.dumps({"error": {"message": message}}))


def test_too_large_for_a_limit_in_time() -> None:
    """Case 150: a request above the limit of a minute is a matter of rates, whatever its status."""
    error = {
        "message": "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 10000, please reduce your message size and try again.",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }

    assert FailureClass.RATE_LIMIT is classify(413, orjson.dumps({"error": error}))


@pytest.mark.parametrize(("status", "error"), NOT_ALLOWED)
def test_not_allowed(status: int, error: dict[str, Any]) -> None:
    """Case 150: a refusal by policy is one class, in the words of every provider."""
    assert FailureClass.CONTENT_POLICY is classify(status, orjson.dumps({"error": error}))


XAI = {
    "code": "The caller does not have permission to execute the specified operation",
    "error": "Content violates usage guidelines. Model: grok-4-0709, Failed check: SAFETY_CHECK_TYPE_BIO",
}


@pytest.mark.parametrize(
    ("status", "document", "expected", "message"),
    [
        (403, XAI, FailureClass.CONTENT_POLICY, XAI["error"]),
        (403, {"error": {"message": "No access"}}, FailureClass.AUTHENTICATION, "No access"),
        (400, {"message": "prompt is too long"}, FailureClass.CONTEXT_LENGTH, "prompt is too long"),
        (400, {"error": "prompt is too long"}, FailureClass.CONTEXT_LENGTH, "prompt is too long"),
        (
            400,
            {
                "object": "error",
                "message": "too large for model with 32768 maximum context length",
                "code": "3051",
            },
            FailureClass.CONTEXT_LENGTH,
            "too large for model with 32768 maximum context length",
        ),
        (
            400,
            {
                "success": False,
                "result": {},
                "messages": [],
                "errors": [{"code": 5021, "message": "exceeded this model context window limit (7968)"}],
            },
            FailureClass.CONTEXT_LENGTH,
            "exceeded this model context window limit (7968)",
        ),
        (404, {"detail": "Not Found"}, FailureClass.NOT_FOUND, "Not Found"),
        (
            422,
            {"detail": [{"loc": ["body", "model"], "msg": "Field required", "type": "missing"}]},
            FailureClass.INVALID_REQUEST,
            "body.model: Field required",
        ),
        (
            401,
            {"detail": {"status": "invalid_api_key", "message": "Invalid API key"}},
            FailureClass.AUTHENTICATION,
            "Invalid API key",
        ),
        (
            400,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 400,
                    "metadata": {"raw": '{"message":"prompt is too long: 2 > 1"}'},
                }
            },
            FailureClass.CONTEXT_LENGTH,
            "Provider returned error",
        ),
    ],
)
def test_shapes(status: int, document: Any, expected: FailureClass, message: str) -> None:
    """Case 150: the words are found in each shape that errors come in."""
    body = orjson.dumps(document)

    assert (expected, message) == (classify(status, body), error_message(status, body))


@pytest.mark.parametrize(
    "document",
    [
        {"errors": []},
        {"errors": ["x"]},
        {"detail": []},
        {"detail": [1]},
        {"detail": {}},
        {"detail": [{"loc": 1}]},
    ],
)
def test_shapes_that_say_nothing(document: Any) -> None:
    """An error that says nothing has the class of its status and a message of ours."""
    body = orjson.dumps(document)

    assert FailureClass.INVALID_REQUEST is classify(400, body)
    assert "400" in error_message(400, body)
