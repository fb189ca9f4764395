"""Every field of a gateway over REST: what is taken, refused just outside, the default, and clearing."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from services.edge.management.models.gateway import CreateGateway
from tests.e2e.calls import Answer, call
from tests.e2e.topologies import one_topology

if TYPE_CHECKING:
    import aiohttp

    from tests.fakes.stack import Stack

topology = one_topology

REQUIRED: dict[str, Any] = {
    "cache_invalidate_on_update": False,
    "cache_ttl": None,
    "collect_logs": True,
    "rate_limiting_interval": None,
    "rate_limiting_limit": None,
}
NOTHING = object()
FLAG: dict[str, Any] = {"takes": [True, False], "refuses": ["true", 1, None]}
COUNT: dict[str, Any] = {
    "takes": [0, 1, 2**31 - 1, None],
    "refuses": [-1, 2**31, 1.5, "1", True],
    "required": True,
    "default": 0,
}
TIMEOUT: dict[str, Any] = {"takes": [1, 86_400_000, None], "refuses": [0, 86_400_001, "1"]}
STALE: dict[str, Any] = {"takes": [0, 2_592_000], "refuses": [-1, 2_592_001, "1", None], "default": 0}
RULE = {"limitType": "cost", "limit": 1, "window": 60}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What holds for one field."""

    takes: list[Any]
    refuses: list[Any]
    default: Any = None
    required: bool = False
    # What is shown, where it is not what was sent: by the place in `takes`.
    shows: dict[int, Any] = field(default_factory=dict)


FIELDS: dict[str, Field] = {
    "authentication": Field(**FLAG, default=False),
    "byok_only": Field(**FLAG, default=False),
    "cache_invalidate_on_update": Field(takes=[True, False], refuses=["no", 0, None], required=True),
    "cache_ttl": Field(**COUNT, shows={3: 0}),
    "collect_logs": Field(takes=[True, False], refuses=["no", 0, None], required=True),
    "collect_payloads": Field(**FLAG, default=True),
    "connect_timeout": Field(**TIMEOUT),
    "dlp": Field(
        takes=[
            {"enabled": True, "action": "BLOCK", "profiles": ["a", "b"]},
            {
                "enabled": True,
                "policies": [
                    {
                        "id": "p",
                        "enabled": False,
                        "action": "FLAG",
                        "check": ["REQUEST", "RESPONSE"],
                        "profiles": [],
                    }
                ],
            },
            None,
        ],
        refuses=[
            {},
            {"enabled": True, "action": "WARN", "profiles": []},
            {"enabled": True, "policies": [{"id": "p"}]},
            {"enabled": True, "action": "FLAG", "profiles": [], "unknown": 1},
            "on",
        ],
    ),
    "first_byte_timeout": Field(**TIMEOUT),
    "guardrails": Field(
        takes=[
            {"prompt": {"S1": "FLAG", "P1": "BLOCK"}, "response": {"S13": "BLOCK"}},
            {"prompt": {}, "response": {}},
            None,
        ],
        refuses=[
            {"prompt": {}},
            {"prompt": {"S14": "FLAG"}, "response": {}},
            {"prompt": {"S1": "IGNORE"}, "response": {}},
            [],
        ],
    ),
    "id": Field(
        takes=["a", "0", "_", "a-b", "a_b-c_d", "x" * 64],
        refuses=["", "x" * 65, "A", "a--b", "-a", "a-", "a b", "a.b", "ä", 5, None],
        required=True,
    ),
    "idle_timeout": Field(**TIMEOUT),
    "log_classification": Field(**FLAG, default=False),
    "log_management": Field(
        takes=[10_000, 10_000_000, None],
        refuses=[9_999, 10_000_001, "10000"],
        default=10_000_000,
        shows={2: 10_000_000},
    ),
    "log_management_strategy": Field(
        takes=["STOP_INSERTING", "DELETE_OLDEST", None],
        refuses=["delete_oldest", "", 1],
        default="DELETE_OLDEST",
        shows={2: "DELETE_OLDEST"},
    ),
    "logpush": Field(**FLAG, default=False),
    "logpush_public_key": Field(takes=["k" * 16, "k" * 1024, None], refuses=["k" * 15, "k" * 1025, 5]),
    "cache_no_sharing": Field(**FLAG, default=False),
    "cache_replay_paced": Field(**FLAG, default=False),
    "cache_stale_if_error": Field(**STALE),
    "cache_stale_while_revalidate": Field(**STALE),
    "idempotency_ttl": Field(**STALE),
    "drain_timeout": Field(**TIMEOUT),
    "stream_failover": Field(**FLAG, default=False),
    "rate_limits": Field(
        takes=[
            {
                "enabled": True,
                "rules": [
                    {
                        "id": "r1",
                        "enabled": True,
                        "limitType": "tokens",
                        "limit": 5,
                        "window": 60,
                        "technique": "fixed",
                        "token": {"mode": "partition"},
                        "metadata": {"team": {"mode": "partition"}},
                    }
                ],
            },
            {"enabled": False, "rules": []},
            None,
        ],
        refuses=[
            {"enabled": True, "rules": [{"limitType": "cost", "limit": 1, "window": 60}]},
            {"enabled": True, "rules": [{"limitType": "tokens", "limit": 0, "window": 60}]},
            {"enabled": True, "rules": [{"limitType": "requests", "limit": 1}]},
        ],
    ),
    "on_disconnect": Field(takes=["cancel", "drain"], refuses=["", "stop", None], default="cancel"),
    "otel": Field(
        takes=[
            [{"url": "https://otel.example/v1/traces", "headers": {}, "content_type": "protobuf"}],
            [],
            None,
        ],
        refuses=[
            [{"url": "https://otel.example"}],
            [{"url": "ftp://otel.example", "headers": {}}],
            [{"url": "https://otel.example", "headers": {}, "content_type": "xml"}],
            {},
        ],
    ),
    "rate_limiting_interval": Field(**COUNT, shows={3: 0}),
    "rate_limiting_limit": Field(**COUNT, shows={3: 0}),
    "rate_limiting_technique": Field(
        takes=["fixed", "sliding", None], refuses=["", "Fixed", 1], default="fixed", shows={2: "fixed"}
    ),
    "retry_backoff": Field(takes=["constant", "linear", "exponential", None], refuses=["", "random"]),
    "retry_delay": Field(takes=[0, 60_000, None], refuses=[-1, 60_001, "5"]),
    "retry_max_attempts": Field(takes=[1, 5, None], refuses=[0, 6, 1.5]),
    "spend_limits": Field(
        takes=[
            {
                "enabled": True,
                "rules": [
                    {
                        **RULE,
                        "id": "r1",
                        "enabled": False,
                        "technique": "fixed",
                        "model": {"mode": "filter", "values": ["openai/gpt-5.5"]},
                        "provider": {"mode": "filter", "values": ["openai"]},
                        "metadata": {
                            "team": {"mode": "partition"},
                            "plan": {"mode": "filter", "values": ["free"]},
                        },
                    }
                ],
            },
            {"enabled": False, "rules": []},
            None,
        ],
        refuses=[
            {"enabled": True, "rules": [{**RULE, "limit": 0}]},
            {"enabled": True, "rules": [{**RULE, "window": 0}]},
            {"enabled": True, "rules": [{**RULE, "limitType": "count"}]},
            {"enabled": True, "rules": [RULE] * 21},
            {"enabled": True, "rules": [{**RULE, "technique": "moving"}]},
        ],
    ),
    "store_id": Field(takes=["store", None], refuses=["s" * 257, 5]),
    "strict_translation": Field(**FLAG, default=False),
    "stripe": Field(
        takes=[None],
        refuses=[{}, {"authorization": "", "usage_events": []}, {"authorization": "x"}, "x"],
    ),
    "total_timeout": Field(**TIMEOUT),
    "wholesale": Field(takes=[True, False], refuses=["true", 1], default=True),
    "workers_ai_billing_mode": Field(
        takes=["postpaid", "unified"], refuses=["", "free", None], default="postpaid"
    ),
    "zdr": Field(**FLAG, default=False),
}
# What a client may send back as it was shown.
SHOWN_ONLY = {"is_default", "internal_id", "account_id", "account_tag", "created_at", "modified_at"}


class Gateways:
    """The gateways of an account, over REST."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self._url = f"{stack.base_url}/client/v4/accounts/{stack.account}/ai-gateway/gateways"
        self._token = stack.token
        self._session = session

    async def send(self, method: str, name: str, body: Any = None) -> Answer:
        """Make a call about one gateway, or about all."""
        url = f"{self._url}/{name}" if name else self._url
        return await call(self._session, url, body, method=method, token=self._token)


@pytest.fixture
async def gateways(stack: Stack, session: aiohttp.ClientSession) -> Gateways:
    """Give the gateways of the shared stack."""
    return Gateways(stack, session)


def test_no_field_is_left_out() -> None:
    """The table below has every field that a gateway can be made with."""
    assert set(CreateGateway.model_fields) - SHOWN_ONLY == set(FIELDS)


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "id"])
async def test_field(gateways: Gateways, name: str) -> None:
    """A field takes what it must, refuses what lies outside, has its default, and is cleared by a replace."""
    row, gateway = FIELDS[name], f"f-{uuid.uuid4().hex[:12]}"
    plain = {key: value for key, value in REQUIRED.items() if key != name}
    if row.required:
        await _refused(await gateways.send("POST", "", {**plain, "id": gateway}), name)
        plain = REQUIRED
    made = await gateways.send("POST", "", {**plain, "id": gateway})
    assert 200 == made.status, made.body
    if not row.required:
        assert row.default == made.json["result"][name]
    for place, value in enumerate(row.takes):
        taken = await gateways.send("PUT", gateway, {**plain, name: value})
        assert 200 == taken.status, (value, taken.body)
        assert row.shows.get(place, value) == taken.json["result"][name]
        read = await gateways.send("GET", gateway)
        assert taken.json["result"] == read.json["result"]
    for value in row.refuses:
        await _refused(await gateways.send("PUT", gateway, {**plain, name: value}), name)
        await _refused(await gateways.send("POST", "", {**plain, "id": f"{gateway}-2", name: value}), name)
    if not row.required:
        cleared = await gateways.send("PUT", gateway, plain)
        assert row.default == cleared.json["result"][name]
    deleted = await gateways.send("DELETE", gateway)
    assert gateway == deleted.json["result"]["id"]


async def test_id(gateways: Gateways) -> None:
    """An id follows the pattern, is taken once, and cannot be changed."""
    for value in FIELDS["id"].takes:
        made = await gateways.send("POST", "", {**REQUIRED, "id": value})
        assert 200 == made.status, (value, made.body)
        again = await gateways.send("POST", "", {**REQUIRED, "id": value})
        assert 409 == again.status
        assert 200 == (await gateways.send("DELETE", value)).status
    for value in FIELDS["id"].refuses:
        await _refused(await gateways.send("POST", "", {**REQUIRED, "id": value}), "id")


async def test_what_is_shown_may_be_sent_back(gateways: Gateways) -> None:
    """A gateway that is read, and sent as it is, stays as it was but for the time of the change."""
    gateway = f"f-{uuid.uuid4().hex[:12]}"
    made = await gateways.send("POST", "", {**REQUIRED, "id": gateway, "retry_delay": 7, "zdr": True})
    sent = await gateways.send("PUT", gateway, made.json["result"])
    assert 200 == sent.status, sent.body
    assert {**made.json["result"], "modified_at": ""} == {**sent.json["result"], "modified_at": ""}
    await gateways.send("DELETE", gateway)


async def test_default_makes_itself(gateways: Gateways) -> None:
    """The gateway `default` is there for whoever asks with a token, with settings of its own."""
    await gateways.send("DELETE", "default")
    shown = (await gateways.send("GET", "default")).json["result"]
    assert {
        "id": "default",
        "is_default": True,
        "authentication": True,
        "collect_logs": True,
        "cache_ttl": 0,
        "rate_limiting_limit": 0,
    }.items() <= shown.items()


async def _refused(answer: Answer, name: str) -> None:
    told = answer.json
    assert (400, False, None, []) == (answer.status, told["success"], told["result"], told["messages"])
    [error] = told["errors"]
    assert (7001, ["body", name]) == (error["code"], error["path"][:2])
