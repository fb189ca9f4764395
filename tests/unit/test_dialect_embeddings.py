from __future__ import annotations

import struct
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects import openai_embeddings
from services.providers.dialects.cohere import embeddings as cohere
from services.providers.dialects.embeddings import (
    EmbeddingsRequest,
    read_openai_embeddings_request,
    read_vectors,
    write_openai_embeddings_answer,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.answer import Answer

VECTOR = [0.5, -1.0, 2.0]
PACKED = b64encode(struct.pack("<3f", *VECTOR)).decode()


def read(*, strict: bool = False, **members: Any) -> EmbeddingsRequest:
    return read_openai_embeddings_request(orjson.dumps({"model": "m", **members}), Notes(strict=strict))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"input": "a"}, EmbeddingsRequest(inputs=("a",))),
        ({"input": ["a", "b"]}, EmbeddingsRequest(inputs=("a", "b"))),
        ({"input": "a", "dimensions": 8}, EmbeddingsRequest(inputs=("a",), dimensions=8)),
        (
            {"input": "a", "encoding_format": "base64"},
            EmbeddingsRequest(inputs=("a",), encoding_format="base64"),
        ),
        ({"input": "a", "user": "u"}, EmbeddingsRequest(inputs=("a",), user="u")),
        (
            {"input": "a", "input_type": "x", "none": None},
            EmbeddingsRequest(inputs=("a",), extra={"input_type": "x"}),
        ),
    ],
)
def test_requests(members: dict[str, Any], expected: EmbeddingsRequest) -> None:
    """A request is read with all that it asks for."""
    assert expected == read(**members)


@pytest.mark.parametrize("given", [[1, 2], [[1, 2], [3]], ["a", [1]], 5])
def test_tokens(given: Any) -> None:
    """Case 152: numbers of tokens mean nothing to a provider of text, and are refused by name."""
    with pytest.raises(GatewayError) as error:
        read(input=given)

    assert (Reason.UNSUPPORTED, "input") == (error.value.reason, error.value.metadata["param"])


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": {}}, "input"),
        ({"input": True}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": "8"}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "user": 5}, "user"),
    ],
)
def test_malformed_requests(members: dict[str, Any], param: str) -> None:
    """What is no request is refused by the parameter at fault."""
    with pytest.raises(GatewayError) as error:
        read(**members)

    assert (Reason.INVALID_REQUEST, param) == (error.value.reason, error.value.metadata["param"])


def test_answer_in_numbers() -> None:
    """An answer has one entry for each text, in order, and the tokens that it used."""
    body = write_openai_embeddings_answer([VECTOR, [1.0]], "m", UsageCounts(input_tokens=4), "float")

    assert {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": VECTOR},
            {"object": "embedding", "index": 1, "embedding": [1.0]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    } == orjson.loads(body)


@pytest.mark.parametrize("vector", [VECTOR, PACKED])
def test_answer_in_base64(vector: Any) -> None:
    """Case 152: numbers are packed for a client that wants base64; what is packed already stays."""
    body = write_openai_embeddings_answer([vector], "m", None, "base64")

    found = orjson.loads(body)
    assert PACKED == found["data"][0]["embedding"]
    assert "usage" not in found


@pytest.mark.parametrize("value", [None, {}, [1.0], [["a"]], [[None]], [[1.0], "x"], [[10**400]]])
def test_no_vectors(value: Any) -> None:
    """What is no list of vectors is malformed."""
    with pytest.raises(GatewayError) as error:
        read_vectors(value)

    assert Reason.UPSTREAM_MALFORMED is error.value.reason


ASKED = b'{"model":"m","input":"a","encoding_format":"base64"}'


def test_same_dialect_with_numbers_where_base64_was_asked_for() -> None:
    """Case 152: a provider that ignores what it was asked for is made good for."""
    body = orjson.dumps(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": VECTOR, "own": 1}],
            "model": "m",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    )
    answer = openai_embeddings.answer_reader(ASKED)(body)

    assert [{"object": "embedding", "index": 0, "embedding": PACKED, "own": 1}] == orjson.loads(answer.body)[
        "data"
    ]
    assert (UsageCounts(input_tokens=3, output_tokens=0), "m") == (answer.usage, answer.served_model)


@pytest.mark.parametrize(
    ("request_body", "body"),
    [
        (ASKED, b'{ "data":[{"embedding":"%s"}], "model":"m" }' % PACKED.encode()),
        (ASKED, b'{ "data":[] }'),
        (ASKED, b'{ "data":7 }'),
        (ASKED, b'{ "error":{"message":"x"} }'),
        (b'{"input":"base64"}', b'{ "data":[{"embedding":[1.0]}] }'),
        (b'{"input":"a","encoding_format":"float"}', b'{ "data":[{"embedding":[1.0]}] }'),
        (b"base64 but no JSON", b'{ "data":[{"embedding":[1.0]}] }'),
    ],
)
def test_same_dialect_otherwise(request_body: bytes, body: bytes) -> None:
    """Case 152: every other answer goes on to the byte."""
    assert body == openai_embeddings.answer_reader(request_body)(body).body


def test_same_dialect_with_broken_numbers() -> None:
    """Case 152: what cannot be packed is malformed."""
    with pytest.raises(GatewayError) as error:
        openai_embeddings.answer_reader(ASKED)(b'{"data":[{"embedding":["x"]}]}')

    assert Reason.UPSTREAM_MALFORMED is error.value.reason


def to_cohere(**members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    notes = Notes()
    request = read_openai_embeddings_request(orjson.dumps(members), notes)
    return orjson.loads(cohere.write_request(request, "embed-v4.0", notes)), notes.taken()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {}),
        ({"input_type": "search_query"}, {"input_type": "search_query"}),
        ({"encoding_format": "base64"}, {"embedding_types": ["base64"]}),
        ({"dimensions": 256}, {"output_dimension": 256}),
        ({"truncate": "START"}, {"truncate": "START"}),
    ],
)
def test_requests_to_cohere(members: dict[str, Any], expected: dict[str, Any]) -> None:
    """Case 137: Cohere is told what the texts are for, and which type of vector is wanted."""
    always = {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
    }

    assert ({**always, **expected}, ()) == to_cohere(input=["a", "b"], **members)


def test_what_cohere_does_not_take() -> None:
    """Case 137: what Cohere has nothing for is dropped and said so; too many texts are refused."""
    assert ("dropped=user", "dropped=own") == to_cohere(input="a", user="u", own=1)[1]
    with pytest.raises(GatewayError) as error:
        to_cohere(input=["a"] * 97)
    assert (Reason.INVALID_REQUEST, "input") == (error.value.reason, error.value.metadata["param"])


@pytest.mark.parametrize(
    ("held", "encoding_format", "expected"),
    [
        ({"float": [VECTOR]}, "float", VECTOR),
        ({"base64": [PACKED]}, "base64", PACKED),
        ({"float": [VECTOR]}, "base64", PACKED),
        ([VECTOR], "float", VECTOR),
    ],
)
def test_answers_of_cohere(held: Any, encoding_format: Any, expected: Any) -> None:
    """Cases 137 and 152: vectors lie in a list for each type, and reach the client as it wants them."""
    body = orjson.dumps({"id": "i", "embeddings": held, "meta": {"billed_units": {"input_tokens": 4}}})
    answer = cohere.read_answer(body, model="embed-v4.0", inputs=1, encoding_format=encoding_format)

    found = orjson.loads(answer.body)
    assert expected == found["data"][0]["embedding"]
    assert ("embed-v4.0", {"prompt_tokens": 4, "total_tokens": 4}) == (found["model"], found["usage"])
    assert UsageCounts(input_tokens=4) == answer.usage


@pytest.mark.parametrize(
    "held", [None, {}, {"float": []}, {"float": [VECTOR, VECTOR]}, {"base64": [PACKED]}, {"float": ["x"]}]
)
def test_no_answer_of_cohere(held: Any) -> None:
    """Case 137: an answer without one vector for each text is malformed."""
    body = orjson.dumps({"embeddings": held})
    with pytest.raises(GatewayError) as error:
        cohere.read_answer(body, model="m", inputs=1, encoding_format="float")

    assert Reason.UPSTREAM_MALFORMED is error.value.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["input", "dimensions", "encoding_format", "user", "input_type", "truncate", "x"])


@given(members=st.dictionaries(MEMBERS, JSON, max_size=4))
def test_no_request_is_too_strange(members: dict[str, Any]) -> None:
    """Any JSON at all is written for Cohere, or refused by name."""
    try:
        found: dict[str, Any] | GatewayError = to_cohere(**members)[0]
    except GatewayError as error:
        found = error
    if isinstance(found, GatewayError):
        assert found.metadata["param"]
    else:
        assert "embed-v4.0" == found["model"]


@given(
    document=st.dictionaries(st.sampled_from(["embeddings", "meta", "float", "data", "embedding"]), JSON),
    encoding_format=st.sampled_from(["float", "base64"]),
)
def test_no_answer_is_too_strange(document: dict[str, Any], encoding_format: Any) -> None:
    """Any JSON at all is an answer, or malformed."""
    body = orjson.dumps(document)
    readers: list[Callable[[], Answer]] = [
        lambda: cohere.read_answer(body, model="m", inputs=1, encoding_format=encoding_format),
        lambda: openai_embeddings.answer_reader(ASKED)(body),
    ]
    for reader in readers:
        try:
            reason = None if reader().body else Reason.INTERNAL
        except GatewayError as error:
            reason = error.reason
        assert reason in {None, Reason.UPSTREAM_MALFORMED}
