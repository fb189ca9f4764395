"""Tokens and accounts on the management API, with the services behind in memory."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.auth.v1 import token_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.management.accounts import Accounts
from services.edge.management.tokens import Tokens
from tests.fakes.management_peers import FakeManagementPeers, run

RUN, READ, EDIT, OPERATOR = (
    pb.PERMISSION_AI_GATEWAY_RUN,
    pb.PERMISSION_AI_GATEWAY_READ,
    pb.PERMISSION_AI_GATEWAY_EDIT,
    pb.PERMISSION_OPERATOR,
)
ACCOUNT, USER = "/accounts/{account_id}/tokens", "/user/tokens"


def token(
    token_id: str,
    *permissions: Any,
    account: str = "acme",
    user: str = "",
    expires: int = 0,
    also: str = "",
    **restrictions: Any,
) -> pb.Token:
    made = pb.Token(
        id=token_id,
        name=token_id,
        owner=pb.TokenOwner(user_id=user) if user else pb.TokenOwner(account_id=account),
        grants=[pb.Grant(account_id=each, permissions=permissions) for each in (account, also) if each],
        restrictions=pb.Restrictions(**restrictions),
    )
    if expires:
        made.expire_time.seconds = expires
    return made


def body(*groups: str, account: str = "acme", **members: Any) -> dict[str, Any]:
    policy = {
        "effect": "allow",
        "permission_groups": [{"name": group} for group in groups or ("AI Gateway Run",)],
        "resources": {f"com.cloudflare.api.account.{account}": "*"},
    }
    return {"name": "new", "policies": [policy], **members}


ADMIN = token("admin", RUN, READ, EDIT)
OPERATORS = token("operators", RUN, READ, EDIT, OPERATOR, account="home")
NARROW = token("narrow", RUN, READ, EDIT, gateway_ids=["a"])
BRIEF = token("brief", RUN, READ, EDIT, expires=100)
ANN = token("ann", RUN, READ, EDIT, account="acme", also="other", user="ann@example.com")
ANN_READS = token("ann-reads", READ, account="other", user="ann@example.com")
BOB = token("bob", RUN, user="bob@example.com")


def peers(*more: pb.Token) -> FakeManagementPeers:
    return FakeManagementPeers(tokens=[OPERATORS, ADMIN, NARROW, BRIEF, ANN, ANN_READS, BOB, *more])


async def ask(
    there: FakeManagementPeers,
    method: str,
    path: str,
    by: pb.Token,
    *,
    body: Any = None,
    query: Any = None,
    **path_: str,
) -> Any:
    if path.startswith(ACCOUNT):
        path_.setdefault("account_id", "acme")
    return await run(Tokens(there.typed).operations(), method, path, by=by, body=body, query=query, **path_)


def names(listed: Any) -> list[str]:
    return [each["id"] for each in listed.items]


async def refusal(*arguments: Any, **named: Any) -> tuple[Reason, str | None]:
    with pytest.raises(GatewayError) as caught:
        await ask(*arguments, **named)
    return caught.value.reason, caught.value.metadata.get("param")


async def test_list_of_an_account() -> None:
    """Newest first or oldest first, by pages; one past the end is empty and says how many there are."""
    there = peers(token("t1", RUN), token("t2", RUN))
    pages = [
        await ask(there, "GET", ACCOUNT, ADMIN, query={"per_page": "2", "page": page, "direction": direction})
        for direction in ("desc", "asc")
        for page in ("1", "2", "3", "4")
    ]

    assert [
        ["t2", "t1"], ["brief", "narrow"], ["admin"], [],
        ["admin", "narrow"], ["brief", "t1"], ["t2"], [],
    ] == [names(each) for each in pages]  # fmt: skip
    assert {5} == {each.total for each in pages}


async def test_a_page_that_begins_at_the_end() -> None:
    """A page that begins where the list ends is empty, in both orders."""
    there = peers()
    query = {"per_page": "3", "page": "2"}

    assert [[], []] == [
        names(await ask(there, "GET", ACCOUNT, ADMIN, query={**query, "direction": each}))
        for each in ("asc", "desc")
    ]


async def test_a_narrowed_token_sees_what_is_within_its_own() -> None:
    """A token for one gateway lists, shows and revokes tokens for that gateway only."""
    there = peers(token("in", RUN, gateway_ids=["a"]), token("out", RUN, gateway_ids=["a", "b"]))
    listed = await ask(there, "GET", ACCOUNT, NARROW)

    assert (["in", "narrow"], 2) == (names(listed), listed.total)
    assert (Reason.NOT_FOUND, None) == await refusal(
        there, "DELETE", f"{ACCOUNT}/{{token_id}}", NARROW, token_id="out"
    )
    assert {"id": "in"} == await ask(there, "DELETE", f"{ACCOUNT}/{{token_id}}", NARROW, token_id="in")


@pytest.mark.parametrize(
    ("by", "given", "param"),
    [
        (ADMIN, body("Headrace Operator"), "policies"),
        (ADMIN, body("Workers AI Read"), "policies"),
        (NARROW, body(), "restrictions.gateways"),
        (NARROW, body(restrictions={"gateways": ["b"]}), "restrictions.gateways"),
        (BRIEF, body(), "expires_on"),
        (BRIEF, body(expires_on="1970-01-01T00:01:41Z"), "expires_on"),
    ],
    ids=["operator", "a permission it lacks", "all gateways", "another gateway", "for ever", "for longer"],
)
@pytest.mark.parametrize("way", ["create", "update"])
async def test_nobody_gives_more_than_they_have(
    by: pb.Token, given: dict[str, Any], param: str, way: str
) -> None:
    """Neither in a new token nor in one that is there, nor in the caller's own."""
    there = peers()
    if way == "create":
        refused = await refusal(there, "POST", ACCOUNT, by, body=given)
    else:
        refused = await refusal(
            there, "PUT", f"{ACCOUNT}/{{token_id}}", by, body={"restrictions": None, **given}, token_id=by.id
        )

    assert (Reason.PERMISSION_DENIED, f"body.{param}") == refused
    assert [] == there.tokens.changes


async def test_what_is_covered_is_made() -> None:
    """The answer has the secret, once."""
    there = peers()
    made = await ask(
        there, "POST", ACCOUNT, NARROW, body=body(restrictions={"gateways": ["a"]}, status="disabled")
    )
    shown = await ask(there, "GET", f"{ACCOUNT}/{{token_id}}", ADMIN, token_id=made["id"])

    assert ("hr_secret", "disabled", ["a"]) == (
        made["value"],
        made["status"],
        made["restrictions"]["gateways"],
    )
    assert "value" not in shown


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("PUT", "/value"), ("DELETE", "")])
async def test_what_can_do_more_is_not_touched(method: str, path: str) -> None:
    """A token that can do more than the caller's is not changed, rolled or revoked, but by an operator's."""
    there = peers(token("strong", RUN, OPERATOR))
    where = f"{ACCOUNT}/{{token_id}}{path}"

    assert (Reason.PERMISSION_DENIED, None) == await refusal(
        there, method, where, ADMIN, body=body(), token_id="strong"
    )
    await ask(there, method, where, OPERATORS, body=body(), token_id="strong")
    assert 1 == len(there.tokens.changes)


@pytest.mark.parametrize("path", ["", "/value"])
async def test_what_gains_in_between_is_not_touched(path: str) -> None:
    """A token is changed as it was looked at: one that has changed by then is looked at again."""
    there = peers(token("weak", RUN))
    where = f"{ACCOUNT}/{{token_id}}{path}"
    strong = token("weak", RUN, OPERATOR)
    strong.update_time.seconds += 1
    there.tokens.meanwhile = strong

    assert (Reason.PERMISSION_DENIED, None) == await refusal(
        there, "PUT", where, ADMIN, body=body(), token_id="weak"
    )
    assert [] == there.tokens.changes

    same = token("weak", RUN)
    same.update_time.seconds += 2
    there.tokens.tokens["weak"], there.tokens.meanwhile = token("weak", RUN), same
    await ask(there, "PUT", where, ADMIN, body=body(), token_id="weak")
    assert 1 == len(there.tokens.changes)


async def test_a_brief_token_revokes_but_does_not_roll_a_lasting_one() -> None:
    """A new secret of a token that works for longer would be more than the caller has; its end is not."""
    there = peers(token("lasting", RUN))
    one = f"{ACCOUNT}/{{token_id}}"

    assert (Reason.PERMISSION_DENIED, None) == await refusal(
        there, "PUT", f"{one}/value", BRIEF, token_id="lasting"
    )
    assert {"id": "lasting"} == await ask(there, "DELETE", one, BRIEF, token_id="lasting")


async def test_a_revoked_token_is_gone() -> None:
    """It is shown to nobody and cannot be revoked again."""
    there = peers(token("old", RUN))
    one = f"{ACCOUNT}/{{token_id}}"
    await ask(there, "DELETE", one, ADMIN, token_id="old")

    assert [(Reason.NOT_FOUND, None)] * 2 == [
        await refusal(there, method, one, ADMIN, token_id="old") for method in ("GET", "DELETE")
    ]


async def test_tokens_of_other_accounts_are_not_there() -> None:
    """An id of another account's token, and one of a user's, lead nowhere."""
    there = peers(token("theirs", RUN, account="other"))
    one = f"{ACCOUNT}/{{token_id}}"

    assert [(Reason.NOT_FOUND, None)] * 2 == [
        await refusal(there, "GET", one, ADMIN, token_id=each) for each in ("theirs", "bob")
    ]


async def test_user_tokens_are_for_users() -> None:
    """An account's token has no user; an operator's names one; nobody else asks for another user's."""
    there = peers()
    made = await ask(there, "POST", USER, OPERATORS, body=body(), query={"user_id": "eve"})

    assert (Reason.PERMISSION_DENIED, None) == await refusal(there, "GET", USER, ADMIN)
    assert (Reason.PERMISSION_DENIED, "user_id") == await refusal(
        there, "GET", USER, ANN, query={"user_id": "bob@example.com"}
    )
    assert (Reason.PERMISSION_DENIED, None) == await refusal(there, "GET", USER, BOB)
    assert pb.TokenOwner(user_id="eve") == there.tokens.tokens[made["id"]].owner


async def test_user_tokens_that_are_seen() -> None:
    """A user's token lists those of the same user that are for accounts which it may read."""
    there = peers()

    assert ["ann-reads", "ann"] == names(await ask(there, "GET", USER, ANN))
    assert ["ann-reads"] == names(await ask(there, "GET", USER, ANN_READS))
    assert ["ann", "ann-reads"] == names(await ask(there, "GET", USER, ANN, query={"direction": "asc"}))


async def test_user_tokens_take_edit_on_every_account() -> None:
    """To make a token for an account takes Edit there."""
    there = peers()
    await ask(there, "POST", USER, ANN, body=body(account="other"))

    assert (Reason.PERMISSION_DENIED, None) == await refusal(
        there, "POST", USER, ANN_READS, body=body("AI Gateway Read", account="other")
    )
    assert (Reason.PERMISSION_DENIED, None) == await refusal(
        there, "POST", USER, ANN, body=body(account="home")
    )


async def test_a_users_token_is_changed_with_edit_on_every_account() -> None:
    """To have as much as a token that may only read is not enough to revoke it."""
    mixed = token("mixed", RUN, READ, EDIT, user="ann@example.com")
    mixed.grants.add(account_id="other", permissions=[READ])
    there = peers(mixed)

    assert (Reason.PERMISSION_DENIED, None) == await refusal(
        there, "DELETE", f"{USER}/{{token_id}}", mixed, token_id="ann-reads"
    )
    assert [] == there.tokens.changes


@pytest.mark.parametrize("change", ["revoked", "disabled", "deleted"])
async def test_a_token_that_stops_in_this_moment(change: str) -> None:
    """What auth knows by now counts, even if the edge has not heard of it."""
    there = peers()
    if change == "revoked":
        there.tokens.tokens["admin"].revoke_time.seconds = 1
    elif change == "disabled":
        there.tokens.tokens["admin"].disabled = True
    else:
        del there.tokens.tokens["admin"]
    by = token("admin", RUN, READ, EDIT)

    assert (Reason.UNAUTHENTICATED, None) == await refusal(there, "POST", ACCOUNT, by, body=body())


async def test_an_operator_is_not_held_to_its_expiry() -> None:
    """An operator's token that ends makes one that does not."""
    brief = token("brief-operator", RUN, OPERATOR, expires=100)
    made = await ask(peers(brief), "POST", ACCOUNT, brief, body=body())

    assert made["expires_on"] is None


async def test_verify() -> None:
    """Every token is told about itself, an operator's on another account without its times."""
    there = peers()
    told = [
        (await ask(there, "GET", f"{base}/verify", by)).result
        for base, by in ((ACCOUNT, BRIEF), (USER, BRIEF), (USER, BOB), (ACCOUNT, OPERATORS))
    ]

    assert [
        {"id": "brief", "status": "active", "expires_on": "1970-01-01T00:01:40.000Z"},
        {"id": "brief", "status": "active", "expires_on": "1970-01-01T00:01:40.000Z"},
        {"id": "bob", "status": "active"},
        {"id": "operators", "status": "active"},
    ] == told


async def test_permission_groups_say_what_may_be_given() -> None:
    """The caller may give what it has."""
    there = peers()
    chosen = {
        by.id: [
            each["name"]
            for each in await ask(there, "GET", f"{base}/permission_groups", by)
            if each["is_selectable"]
        ]
        for base, by in ((ACCOUNT, ADMIN), (ACCOUNT, OPERATORS), (USER, BOB))
    }

    assert {
        "admin": ["AI Gateway Run", "AI Gateway Read", "AI Gateway Write"],
        "operators": [
            "AI Gateway Run", "AI Gateway Read", "AI Gateway Write", "Workers AI Read", "Headrace Operator",
        ],
        "bob": ["AI Gateway Run"],
    } == chosen  # fmt: skip


async def test_accounts_that_are_seen() -> None:
    """An operator's token sees all, any other those that it is for, and one without any sees none."""
    nowhere = token("nowhere", account="", user="eve")
    there = peers(nowhere)
    seen = {
        by.id: names(await run(Accounts(there.typed).operations(), "GET", "/accounts", by=by, query=query))
        for by, query in ((OPERATORS, {}), (ADMIN, {}), (ANN, {"direction": "desc"}), (nowhere, {}))
    }

    assert {
        "operators": ["acme", "home", "other"], "admin": ["acme"], "ann": ["other", "acme"], "nowhere": [],
    } == seen  # fmt: skip


async def test_deleted_accounts_are_shown_to_operators() -> None:
    """With when they were deleted, in the same order as all; nobody else is told of them."""
    there = peers()
    rows = Accounts(there.typed).operations()
    await run(rows, "DELETE", "/accounts/{account_id}", by=OPERATORS, account_id="acme")
    asked = {"include_deleted": "true", "direction": "desc"}
    listed = await run(rows, "GET", "/accounts", by=OPERATORS, query=asked)
    usual = await run(rows, "GET", "/accounts", by=OPERATORS)
    with pytest.raises(GatewayError) as caught:
        await run(rows, "GET", "/accounts", by=ANN, query=asked)

    assert [("other", None), ("home", None), ("acme", "1970-01-01T00:00:01.000Z")] == [
        (each["id"], each.get("deleted_at")) for each in listed.items
    ]
    assert (3, ["home", "other"]) == (listed.total, names(usual))
    assert Reason.PERMISSION_DENIED is caught.value.reason


async def test_accounts_are_made_by_operators() -> None:
    """With an id or without; a new name leaves `unified` as it was."""
    narrowed = token("narrowed", OPERATOR, gateway_ids=["a"])
    there = peers(narrowed)
    rows = Accounts(there.typed).operations()
    named = {"name": "New", "id": "new", "unified": True, "type": "standard"}
    made = await run(rows, "POST", "/accounts", by=OPERATORS, body=named)
    other = await run(rows, "POST", "/accounts", by=OPERATORS, body={"name": "New"})
    changed = await run(
        rows, "PUT", "/accounts/{account_id}", by=OPERATORS, body={"name": "Newer"}, account_id="new"
    )
    refused = []
    for by in (ADMIN, narrowed):
        with pytest.raises(GatewayError) as caught:
            await run(rows, "POST", "/accounts", by=by, body=named)
        refused.append(caught.value.reason)

    assert ("new", 32) == (made["id"], len(other["id"]))
    assert ("Newer", True) == (changed["name"], changed["unified"])
    assert [Reason.PERMISSION_DENIED] * 2 == refused


async def test_an_account_is_deleted_with_what_router_has_of_it() -> None:
    """What is in it goes first, and again what was made meanwhile; what is gone already is no error."""
    there = peers()
    there.gateways.late = "late"
    rows = Accounts(there.typed).operations()
    answer = await run(rows, "DELETE", "/accounts/{account_id}", by=OPERATORS, account_id="acme")
    with pytest.raises(GatewayError) as caught:
        await run(rows, "DELETE", "/accounts/{account_id}", by=OPERATORS, account_id="home")

    assert {"id": "acme"} == answer
    assert ["gateway a", "gateway b", "provider p", "account", "gateway late", "answers acme"] == there.steps
    assert Reason.CONFLICT == caught.value.reason
