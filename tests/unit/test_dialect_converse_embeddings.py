"""Embeddings of the makers at Bedrock."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.converse.embeddings import read_embeddings, write_embeddings_request
from services.providers.dialects.embeddings import read_openai_embeddings_request
from services.providers.dialects.neutral.notes import Notes

TITAN_1 = "amazon.titan-embed-text-v1"
TITAN_2 = "amazon.titan-embed-text-v2:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"


def write(model: str, **request: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    notes = Notes()
    read = read_openai_embeddings_request(orjson.dumps({"model": "m", **request}), notes)
    return orjson.loads(write_embeddings_request(read, model, notes)), notes.taken()


@pytest.mark.parametrize(
    ("model", "request_", "written", "notes"),
    [
        (TITAN_1, {"input": "a", "dimensions": 256}, {"inputText": "a"}, ("dropped=dimensions",)),
        (
            TITAN_2,
            {"input": ["a"], "dimensions": 256, "normalize": False},
            {"inputText": "a", "dimensions": 256, "normalize": False},
            (),
        ),
        (
            "amazon.titan-embed-image-v1",
            {"input": "a", "dimensions": 256},
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 256}},
            (),
        ),
        (
            NOVA,
            {"input": "a", "dimensions": 256, "embeddingPurpose": "TEXT_RETRIEVAL"},
            {
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "TEXT_RETRIEVAL",
                    "embeddingDimension": 256,
                    "text": {"truncationMode": "NONE", "value": "a"},
                },
            },
            (),
        ),
        (
            "cohere.embed-english-v3",
            {"input": ["a", "b"], "input_type": "search_query", "user": "me", "odd": 1},
            {"texts": ["a", "b"], "input_type": "search_query"},
            ("dropped=user", "dropped=odd"),
        ),
        (
            "us.cohere.embed-v4:0",
            {"input": "a", "dimensions": 256},
            {
                "texts": ["a"],
                "input_type": "search_document",
                "output_dimension": 256,
                "embedding_types": ["float"],
            },
            (),
        ),
    ],
)
def test_requests_of_each_maker(
    model: str, request_: dict[str, Any], written: dict[str, Any], notes: tuple[str, ...]
) -> None:
    """Case 128: each maker's model gets its own request, and what it has no word for is reported."""
    assert write(model, **request_) == (written, notes)


@pytest.mark.parametrize("model", [TITAN_1, TITAN_2, NOVA])
def test_several_texts_for_a_model_of_one(model: str) -> None:
    """Case 128: a list for a model that embeds one text is refused by its name."""
    with pytest.raises(GatewayError) as caught:
        write(model, input=["a", "b"])

    assert (caught.value.reason, caught.value.metadata["param"]) == (Reason.UNSUPPORTED, "input")


def test_too_many_texts() -> None:
    """Case 128: more texts than Cohere's models take are refused, and not cut."""
    with pytest.raises(GatewayError, match="96"):
        write("cohere.embed-english-v3", input=["a"] * 97)


def test_models_without_embeddings() -> None:
    """A model that embeds nothing is refused by its name."""
    with pytest.raises(GatewayError, match="model"):
        write("amazon.titan-text-lite-v1", input="a")


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ({"embedding": [1, 2.5], "inputTextTokenCount": 3}, ([[1, 2.5]], 3)),
        ({"embedding": [1], "embeddingsByType": {"float": [1]}, "inputTextTokenCount": True}, ([[1]], None)),
        ({"embeddings": [{"embeddingType": "TEXT", "embedding": [1]}]}, ([[1]], None)),
        ({"embeddings": [[1], [2]], "response_type": "embeddings_floats"}, ([[1], [2]], None)),
        ({"embeddings": {"float": [[1], [2]]}, "response_type": "embeddings_by_type"}, ([[1], [2]], None)),
    ],
)
def test_answers_of_each_maker(answer: dict[str, Any], read: object) -> None:
    """Case 128: the vectors are found in each maker's answer, and Titan's count of tokens."""
    assert read_embeddings(orjson.dumps(answer)) == read


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"embedding":"x"}', b'{"embeddings":[{"embedding":null}]}', b'{"embeddings":[]}', b"<"],
)
def test_answers_without_vectors(body: bytes) -> None:
    """An answer without vectors is malformed."""
    with pytest.raises(GatewayError) as caught:
        read_embeddings(body)

    assert caught.value.reason is Reason.UPSTREAM_MALFORMED
