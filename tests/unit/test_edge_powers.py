"""What callers may pass on to tokens that they make."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.auth.v1 import token_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.management.powers import Powers

RUN, READ, EDIT, OPERATOR = (
    pb.PERMISSION_AI_GATEWAY_RUN,
    pb.PERMISSION_AI_GATEWAY_READ,
    pb.PERMISSION_AI_GATEWAY_EDIT,
    pb.PERMISSION_OPERATOR,
)


def powers(*, expires: int = 0, operator: bool = False, **restrictions: list[str]) -> Powers:
    return Powers(
        permissions={"acme": frozenset({RUN, EDIT})},
        restrictions=pb.Restrictions(**restrictions),
        expire_time=Timestamp(seconds=expires) if expires else None,
        operator=operator,
    )


def token(
    *permissions: Any, account: str = "acme", expires: int = 0, **restrictions: list[str]
) -> pb.TokenSpec:
    made = pb.TokenSpec(
        grants=[pb.Grant(account_id=account, permissions=permissions or [RUN])],
        restrictions=pb.Restrictions(**restrictions),
    )
    if expires:
        made.expire_time.seconds = expires
    return made


COVERED = {
    "the same": (powers(), token(RUN, EDIT)),
    "less": (powers(), token(RUN)),
    "narrower": (powers(), token(gateway_ids=["a"], addresses=["10.0.0.1"], expires=9)),
    "the same gateways": (powers(gateway_ids=["a", "b"]), token(gateway_ids=["b", "a"])),
    "one of its gateways": (powers(gateway_ids=["a", "b"]), token(gateway_ids=["b"])),
    "another name of its provider": (powers(providers=["google"]), token(providers=["google-ai-studio"])),
    "one of its models": (powers(models=["openai/a", "openai/b"]), token(models=["openai/b"])),
    "a network within": (powers(addresses=["10.0.0.0/8", "::1"]), token(addresses=["10.9.0.0/16", "::1"])),
    "a network without a part": (
        powers(forbidden_addresses=["10.0.0.0/16"]),
        token(forbidden_addresses=["10.0.0.0/8", "11.0.0.1"]),
    ),
    "ends with it": (powers(expires=100), token(expires=100)),
    "anything for an operator": (powers(operator=True), token(OPERATOR, account="other")),
}  # fmt: skip

MORE = {
    "a permission": (powers(), token(READ), "policies"),
    "operator": (powers(), token(OPERATOR), "policies"),
    "an account": (powers(), token(RUN, account="other"), "policies"),
    "all gateways": (powers(gateway_ids=["a"]), token(), "restrictions.gateways"),
    "another gateway": (powers(gateway_ids=["a"]), token(gateway_ids=["a", "b"]), "restrictions.gateways"),
    # Names of providers have other names; those of gateways never do.
    "a gateway called like a provider": (
        powers(gateway_ids=["google-ai-studio"]), token(gateway_ids=["google"]), "restrictions.gateways",
    ),
    "all providers": (powers(providers=["openai"]), token(models=["openai/a"]), "restrictions.providers"),
    "another model": (powers(models=["openai/a"]), token(models=["openai/b"]), "restrictions.models"),
    "all addresses": (powers(addresses=["10.0.0.1"]), token(), "condition.request_ip.in"),
    "a wider network": (
        powers(addresses=["10.0.0.0/16"]), token(addresses=["10.0.0.0/8"]), "condition.request_ip.in",
    ),
    "the other kind of address": (
        powers(addresses=["0.0.0.0/0"]), token(addresses=["::1"]), "condition.request_ip.in",
    ),
    "a forbidden network": (
        powers(forbidden_addresses=["10.0.0.0/8"]),
        token(forbidden_addresses=["10.0.0.0/16"]),
        "condition.request_ip.not_in",
    ),
    "for ever": (powers(expires=100), token(), "expires_on"),
    "a second longer": (powers(expires=100), token(expires=101), "expires_on"),
    "a narrowed operator": (powers(operator=True, gateway_ids=["a"]), token(RUN), "restrictions.gateways"),
}  # fmt: skip


@pytest.mark.parametrize("name", COVERED)
def test_what_may_be_given(name: str) -> None:
    """A token that can do as much as the caller's, or less, may be made."""
    caller, wanted = COVERED[name]

    caller.check_covers(wanted)


@pytest.mark.parametrize("name", MORE)
def test_what_may_not_be_given(name: str) -> None:
    """A token that can do more in any way may not, and the answer says in which."""
    caller, wanted, param = MORE[name]
    with pytest.raises(GatewayError) as caught:
        caller.check_covers(wanted)

    assert (Reason.PERMISSION_DENIED, f"body.{param}") == (
        caught.value.reason,
        caught.value.metadata["param"],
    )


def test_revoking_does_not_ask_how_long() -> None:
    """Where the expiry does not matter, a token that works for longer is covered."""
    powers(expires=100).check_covers(token(), expiry=False)


def test_networks_that_are_none_are_refused() -> None:
    """A malformed network is the request's fault."""
    with pytest.raises(GatewayError) as caught:
        powers().check_covers(token(addresses=["10.0.0.0/99"]))

    assert Reason.INVALID_REQUEST == caught.value.reason


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        (powers(), True),
        (powers(gateway_ids=["a"]), True),
        (powers(gateway_ids=["b"]), False),
        (powers(addresses=["10.0.0.1"], expires=100), True),
    ],
    ids=["not narrowed", "its gateway", "another gateway", "not to gateways"],
)
def test_what_is_seen(caller: Powers, *, seen: bool) -> None:
    """A caller that is narrowed to gateways sees tokens within those; where it calls from is no matter."""
    there = pb.Token(
        grants=[pb.Grant(account_id="acme", permissions=[READ, OPERATOR])],
        restrictions=pb.Restrictions(gateway_ids=["a"]),
    )

    assert seen is caller.sees(there)


def test_tokens_of_other_accounts_are_not_seen() -> None:
    """A token that is for an account on which the caller may nothing is not shown."""
    there = pb.Token(
        grants=[pb.Grant(account_id=each, permissions=[RUN]) for each in ("acme", "other")],
    )

    assert not powers().sees(there)
    assert powers(operator=True).sees(there)
