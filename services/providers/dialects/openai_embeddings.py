"""OpenAI embeddings to a provider that speaks the same: the model changes, the usage is read."""

from __future__ import annotations

from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.openai_chat import in_band_failure, merged_usage


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer. The body is handed on as it is.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not a JSON object.
    """
    document = load_object(body)
    return Answer(
        body=body,
        usage=merged_usage(document.get("usage")),
        served_model=text(document.get("model")),
        failure=in_band_failure(document, body, started=False),
    )
