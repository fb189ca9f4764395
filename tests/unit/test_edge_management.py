"""How the management API finds, reads and wraps, apart from what it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast
from unittest.mock import Mock

import orjson
import pytest
from aiohttp import StreamReader
from aiohttp.test_utils import make_mocked_request
from multidict import MultiDict
from pydantic import Field, ValidationError

from headrace.auth.v1 import auth_service_pb2, token_pb2
from kit.errors import GatewayError, Reason
from services.edge.headers import RequestHeaders
from services.edge.management.dispatch import Dispatch
from services.edge.management.models.forms import Body, Listed, PageQuery
from services.edge.management.models.log import LogsQuery
from services.edge.management.openapi import document
from services.edge.management.operation import Answer, Call, Message, Operation, RawAnswer
from services.edge.management.query import plain_query
from services.edge.routes import resolve

if TYPE_CHECKING:
    from services.edge.management.admission import Admission

READ = token_pb2.PERMISSION_AI_GATEWAY_READ
EDIT = token_pb2.PERMISSION_AI_GATEWAY_EDIT


class Thing(Body):
    """A body."""

    name: Annotated[str, Field(min_length=1)]
    parts: list[int] = []  # noqa: RUF012  # pydantic copies it


class FakeAdmission:
    """Lets everyone in who has the token `good`, with some permissions and gateways."""

    def __init__(
        self, *permissions: int, gateways: tuple[str, ...] = (), providers: tuple[str, ...] = ()
    ) -> None:
        self._permissions = permissions
        self._restrictions = token_pb2.Restrictions(gateway_ids=gateways, providers=providers)

    async def authenticate(self, account_id: str, headers: RequestHeaders) -> auth_service_pb2.Principal:
        """Give the principal."""
        if headers.gateway_token != "good":
            raise GatewayError(Reason.UNAUTHENTICATED, "Authentication error")
        return auth_service_pb2.Principal(
            account_id=account_id,
            token_id="t1",
            permissions=self._permissions,  # type: ignore[arg-type]  # numbers of an enum
            restrictions=self._restrictions,
        )


async def _show(call: Call) -> Any:
    return {"account": call.account_id, **call.path, "actor": call.actor.token_id}


async def _list(call: Call) -> Any:
    return Listed(items=["a", "b"], total=5)


async def _make(call: Call) -> Any:
    return call.body.name


async def _fail(call: Call) -> Any:
    raise GatewayError(Reason.INVALID_REQUEST, "No.", param="settings.parts.3.x")


async def _raw(call: Call) -> Any:
    return RawAnswer(body=b"<b>", content_type="application/octet-stream")


async def _said(call: Call) -> Any:
    return Answer(result={}, messages=(Message(10000, "Well."),), extra={"more": 1})


def _operation(method: Any, path: str, handler: Any, **members: Any) -> Operation:
    members = {"permission": READ, "tag": "t", "summary": "s", **members}
    return Operation(id=f"{method} {path}", method=method, path=path, handler=handler, **members)


OPERATIONS = (
    _operation("GET", "/accounts/{account_id}/things/{id}", _show, result=dict[str, str]),
    _operation("GET", "/accounts/{account_id}/things/special", _said, permission=None),
    _operation(
        "GET", "/accounts/{account_id}/things", _list, query=PageQuery, result=list[str], shape="list"
    ),
    _operation("POST", "/accounts/{account_id}/things", _make, body=Thing, permission=EDIT, result=str),
    _operation("PUT", "/accounts/{account_id}/things", _fail, body=Thing, permission=EDIT, failures=(409,)),
    _operation("GET", "/accounts/{account_id}/raw", _raw, shape="raw", for_narrowed=True),
    _operation("GET", "/accounts/{account_id}/gateways/{gateway_id}", _show, result=dict[str, str]),
    _operation("DELETE", "/accounts/{account_id}/keys", _show, permission=EDIT, keeps_to_providers=True),
)


async def _send(
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str = "good",
    admission: FakeAdmission | None = None,
    monkeypatch: pytest.MonkeyPatch | None = None,
) -> tuple[int, Any]:
    dispatch = Dispatch(cast("Admission", admission or FakeAdmission(READ, EDIT)), OPERATIONS)
    path = f"/client/v4{path}"
    payload = StreamReader(Mock(), 1 << 16)
    payload.feed_data(body if isinstance(body, bytes) else orjson.dumps(body))
    payload.feed_eof()
    request = make_mocked_request(method, path, headers={"host": "ai.example"}, payload=payload)
    route = resolve(path.partition("?")[0])
    response = await dispatch.answer(request, route, RequestHeaders(gateway_token=token))
    assert isinstance(response.body, bytes)
    return response.status, response.body if response.content_type != "application/json" else orjson.loads(
        response.body
    )


async def test_variables_of_the_path_are_decoded() -> None:
    """A segment is one value, whatever is percent-encoded in it."""
    status, told = await _send("GET", "/accounts/acme/things/a%2Fb%20c")

    assert (200, {"account": "acme", "account_id": "acme", "id": "a/b c", "actor": "t1"}) == (
        status,
        told["result"],
    )


async def test_a_fixed_path_wins_over_a_variable_one() -> None:
    """What is said beside a result, and further members, stand in the envelope."""
    _, told = await _send("GET", "/accounts/acme/things/special")

    assert {
        "success": True,
        "errors": [],
        "messages": [{"code": 10000, "message": "Well."}],
        "result": {},
        "more": 1,
    } == told


async def test_a_list_tells_its_page() -> None:
    """A list has `result_info` with what the query asked for."""
    _, told = await _send("GET", "/accounts/acme/things?page=2&per_page=2&whatever=1")

    info = {"count": 2, "page": 2, "per_page": 2, "total_count": 5, "total_pages": 3}
    assert (["a", "b"], info) == (told["result"], told["result_info"])


@pytest.mark.parametrize("query", ["page=0", "per_page=101", "page=x", "page=1&page=2"])
async def test_a_query_out_of_bounds_is_refused(query: str) -> None:
    """What cannot be is a 400 that names the parameter."""
    status, told = await _send("GET", f"/accounts/acme/things?{query}")

    assert (400, 7001, "query") == (status, told["errors"][0]["code"], told["errors"][0]["path"][0])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", ["body"]),
        ([], ["body"]),
        ({}, ["body", "name"]),
        ({"name": ""}, ["body", "name"]),
        ({"name": "x", "parts": [1, "2"]}, ["body", "parts", 1]),
        ({"name": "x", "nmae": 1}, ["body", "nmae"]),
        ({"name": "x", "²": 1}, ["body", "²"]),
        ({"name": "x", "99999999999999999999": 1}, ["body", "99999999999999999999"]),
        ({"name": "x", "007": 1}, ["body", "007"]),
        (b'{"name": "x", "parts": ' + b"[" * 200 + b"]" * 200 + b"}", ["body"]),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(body: Any, path: list[Any]) -> None:
    """The answer tells the path to the first thing that is wrong."""
    status, told = await _send("POST", "/accounts/acme/things", body)

    assert (400, 7001, path) == (status, told["errors"][0]["code"], told["errors"][0]["path"])


async def test_a_body_that_is_too_long_is_refused() -> None:
    """There is a bound on what is read."""
    status, _ = await _send("POST", "/accounts/acme/things", b" " * ((1 << 20) + 1))

    assert 413 == status


async def test_a_service_that_complains_is_heard_with_the_place() -> None:
    """A field of a message becomes the place in the body that it was made from."""
    status, told = await _send("PUT", "/accounts/acme/things", {"name": "x"})

    assert (400, ["body", "parts", 3, "x"]) == (status, told["errors"][0]["path"])


async def test_raw_answers_are_never_a_page() -> None:
    """Bytes are given as they are."""
    assert (200, b"<b>") == await _send("GET", "/accounts/acme/raw")


@pytest.mark.parametrize("path", ["/accounts/acme/things", "/accounts/acme/nope", "/nope", "/"])
async def test_without_a_token_nothing_is_told(path: str) -> None:
    """Whether there is something at a path or not makes no difference."""
    status, told = await _send("GET", path, token="bad")

    assert (401, [{"code": 10000, "message": "Authentication error"}]) == (status, told["errors"])


@pytest.mark.parametrize(
    ("method", "path", "status"), [("DELETE", "/accounts/a/things", 405), ("GET", "/x", 404)]
)
async def test_what_is_not_there(method: str, path: str, status: int) -> None:
    """Another method is a 405, another path a 404."""
    assert status == (await _send(method, path))[0]


async def test_a_head_is_a_get() -> None:
    """Some clients look before they read."""
    assert 200 == (await _send("HEAD", "/accounts/acme/things"))[0]


@pytest.mark.parametrize(
    ("permissions", "gateways", "method", "path", "status"),
    [
        ((EDIT,), (), "GET", "/accounts/a/things", 403),
        ((READ,), (), "POST", "/accounts/a/things", 403),
        ((), (), "GET", "/accounts/a/things/special", 200),
        ((READ,), ("gw",), "GET", "/accounts/a/gateways/gw", 200),
        ((READ,), ("gw",), "GET", "/accounts/a/gateways/other", 403),
        ((READ,), ("gw",), "GET", "/accounts/a/things", 403),
        ((READ,), ("gw",), "GET", "/accounts/a/raw", 200),
    ],
)
async def test_permissions_and_narrowing(
    permissions: tuple[int, ...], gateways: tuple[str, ...], method: str, path: str, status: int
) -> None:
    """A token needs the permission, and one that is narrowed to gateways stays with them."""
    admission = FakeAdmission(*permissions, gateways=gateways)

    assert status == (await _send(method, path, {"name": "x"}, admission=admission))[0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/accounts/a/things", 200),
        ("POST", "/accounts/a/things", 403),
        ("DELETE", "/accounts/a/keys", 200),
    ],
)
async def test_narrowing_to_providers(method: str, path: str, status: int) -> None:
    """A token for some providers changes nothing that concerns others as well."""
    admission = FakeAdmission(READ, EDIT, providers=("openai",))

    assert status == (await _send(method, path, {"name": "x"}, admission=admission))[0]


def test_lists_in_queries() -> None:
    """A parameter that is repeated is a list, and so is one with brackets."""
    assert {"a": "1", "b": ["1", "2"], "c": ["3"]} == plain_query(
        MultiDict([("a", "1"), ("b", "1"), ("b", "2"), ("c[]", "3")])
    )


FILTERS = [
    {"key": "model", "operator": "eq", "value": ["a", "b"]},
    {"key": "cost", "operator": "gt", "value": ["1"]},
]


@pytest.mark.parametrize(
    "query",
    [
        [
            ("filters.key", "model"), ("filters.operator", "eq"),
            ("filters.value", "a"), ("filters.value", "b"),
            ("filters.key", "cost"), ("filters.operator", "gt"), ("filters.value", "1"),
        ],
        [
            ("filters[1][key]", "cost"), ("filters[1][operator]", "gt"), ("filters[1][value][]", "1"),
            ("filters[0][key]", "model"), ("filters[0][value][]", "a"), ("filters[0][value][]", "b"),
            ("filters[0][operator]", "eq"),
        ],
    ],
    ids=["dots", "brackets"],
)  # fmt: skip
def test_filters_in_parts(query: list[tuple[str, str]]) -> None:
    """Objects whose members come as parameters of their own are put together."""
    assert {"page": "2", "filters": FILTERS} == plain_query(MultiDict([("page", "2"), *query]))


@pytest.mark.parametrize("name", ["filter", "filters[0]", "Filters", "limits"])
def test_a_deletion_takes_no_parameter_that_nobody_knows(name: str) -> None:
    """A misspelt filter would otherwise delete everything."""
    with pytest.raises(ValidationError):
        LogsQuery.model_validate({name: "x"})


def test_the_document_has_what_a_row_says() -> None:
    """Path, query, body, result and failures of a row stand in the document."""
    made = document(OPERATIONS)
    row = made["paths"]["/accounts/{account_id}/things"]
    assert ["page", "per_page"] == [each["name"] for each in row["get"]["parameters"][1:]]
    assert {"$ref": "#/components/schemas/Thing"} == row["put"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert {"200", "400", "401", "403", "409", "413", "503"} == set(row["put"]["responses"])
    assert ["name"] == made["components"]["schemas"]["Thing"]["required"]
