from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.cohere.rerank import RerankRequest, prepare_request, read_answer
from services.providers.dialects.neutral.notes import Notes

RANKED = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]


def prepare(*, strict: bool = False, **members: Any) -> tuple[RerankRequest, tuple[str, ...]]:
    notes = Notes(strict=strict)
    body = orjson.dumps({"model": "cohere/r", "query": "q", "documents": ["a", "b"], **members})
    return prepare_request(body, "rerank-v3.5", notes), notes.taken()


def answer(results: Any, **members: Any) -> bytes:
    return orjson.dumps(
        {"id": "i", "results": results, "meta": {"billed_units": {"search_units": 1}}, **members}
    )


def test_request_stays_as_it_is() -> None:
    """Case 138: a request in Cohere's own shape changes in its model alone."""
    body = b'{ "query": "q", "model":"cohere/r","documents": ["a"],  "top_n":1 }'

    assert b'{ "query": "q", "model":"rerank-v3.5","documents": ["a"],  "top_n":1 }' == (
        prepare_request(body, "rerank-v3.5", Notes()).body
    )


@pytest.mark.parametrize("count", [1, 2])
def test_top_n(count: int) -> None:
    """Case 138: fewer than all are asked for as they are."""
    assert count == orjson.loads(prepare(top_n=count)[0].body)["top_n"]


def test_more_than_there_are() -> None:
    """Case 138: asking for more than there are is asking for all, and no loss."""
    request, notes = prepare(top_n=5)

    assert (2, ()) == (orjson.loads(request.body)["top_n"], notes)


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        (["a", "b"], [{"text": "b"}, {"text": "a"}]),
        ([{"text": "a"}, {"text": "b"}], [{"text": "b"}, {"text": "a"}]),
        (["a", {"title": "b", "n": 1}], [{"title": "b", "n": 1}, {"text": "a"}]),
    ],
)
def test_documents_given_back(documents: list[Any], expected: list[Any]) -> None:
    """Case 138: Cohere gives no documents back, so that they are taken from the request."""
    request, _ = prepare(documents=documents, return_documents=True)
    found = orjson.loads(read_answer(answer(RANKED), request).body)

    assert "return_documents" not in orjson.loads(request.body)
    assert all(isinstance(text, str) for text in orjson.loads(request.body)["documents"])
    assert expected == [entry["document"] for entry in found["results"]]
    assert [1, 0] == [entry["index"] for entry in found["results"]]


@pytest.mark.parametrize("members", [{}, {"return_documents": False}])
def test_documents_not_given_back(members: dict[str, Any]) -> None:
    """Case 138: where no documents are wanted back, an answer in order goes on to the byte."""
    request, _ = prepare(**members)

    assert answer(RANKED) == read_answer(answer(RANKED), request).body


def test_order() -> None:
    """Case 138: the best comes first, whatever the provider's order."""
    request, _ = prepare()
    found = orjson.loads(read_answer(answer(RANKED[::-1], own=1), request).body)

    assert (RANKED, 1) == (found["results"], found["own"])


def test_usage() -> None:
    """Case 138: searches are paid for, but are no tokens."""
    assert read_answer(answer(RANKED), prepare()[0]).usage is None


def test_what_cohere_does_not_take() -> None:
    """Case 138: what other providers have is dropped and said so, and refused in strict mode."""
    assert ("dropped=rank_fields",) == prepare(rank_fields=["a"])[1]
    assert ("emulated=documents",) == prepare(documents=[{"a": 1}])[1]
    with pytest.raises(GatewayError) as error:
        prepare(rank_fields=["a"], strict=True)
    assert (Reason.UNSUPPORTED, "rank_fields") == (error.value.reason, error.value.metadata["param"])


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": [1]}, "documents.0"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "x"}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
    ],
)
def test_malformed_requests(members: dict[str, Any], param: str) -> None:
    """Case 138: what is no request is refused by the parameter at fault."""
    with pytest.raises(GatewayError) as error:
        prepare(**members)

    assert (Reason.INVALID_REQUEST, param) == (error.value.reason, error.value.metadata["param"])


@pytest.mark.parametrize(
    "results",
    [
        None,
        [1],
        [{"index": 2, "relevance_score": 1}],
        [{"index": -1, "relevance_score": 1}],
        [{"index": True, "relevance_score": 1}],
        [{"index": 0}],
        [{"index": 0, "relevance_score": "high"}],
    ],
)
def test_no_ranking(results: Any) -> None:
    """Case 138: a ranking of what was not sent is malformed."""
    with pytest.raises(GatewayError) as error:
        read_answer(answer(results), prepare()[0])

    assert Reason.UPSTREAM_MALFORMED is error.value.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["index", "relevance_score", "text"]), children, max_size=3)
    ),
    max_leaves=8,
)


@given(members=st.dictionaries(st.sampled_from(["query", "documents", "top_n", "x"]), JSON), results=JSON)
def test_nothing_is_too_strange(members: dict[str, Any], results: Any) -> None:
    """Any JSON at all is read, or refused for what it is."""
    try:
        request, _ = prepare(return_documents=True, **members)
        reason = None if read_answer(answer(results), request).body else Reason.INTERNAL
    except GatewayError as error:
        reason = error.reason
    assert reason in {None, Reason.INVALID_REQUEST, Reason.UPSTREAM_MALFORMED}
