"""Who pays for a call: every combination of what there is and what is allowed, and the errors."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest
from yarl import URL

from headrace.common.v1 import caller_pb2, http_pb2
from headrace.provider.v1 import provider_service_pb2
from headrace.router.v1 import custom_provider_pb2
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers import convert
from services.providers.app import make_adapter
from services.providers.call import Call, ClientDialect
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.custom import CustomAdapters, operator_adapter
from services.providers.key_pool import KeyPools
from services.providers.payer import Payer
from services.providers.registry import PROVIDERS
from tests.fakes.key_vault import KeyVault, paying

if TYPE_CHECKING:
    from services.providers.adapters.adapter import Adapter

CALLER = caller_pb2.Caller(account_id="local", gateway_id="default")
CONFIG = ProvidersConfig()
CHAT: Final = b'{"messages":[{"role":"user","content":"Hello?"}]}'
MISSING: Final = Reason.CREDENTIAL_MISSING.value
UNKNOWN: Final = Reason.ALIAS_NOT_FOUND.value

# What there may be in a call, an account and an installation.
FACTS: Final = ("request", "known", "stored", "alias", "unified", "forbidden", "operator")

# The first row that fits says who pays. A word is a fact that must be, one after `-` one that must not.
ROWS: Final[tuple[tuple[str, str], ...]] = (
    ("request", "request"),
    # Whoever is not known spends nobody's money.
    ("-known", MISSING),
    ("stored alias", "stored-other"),
    ("stored", "stored-default"),
    # The operator's key is no answer to a name that does not exist.
    ("alias", UNKNOWN),
    ("forbidden", MISSING),
    ("-unified", MISSING),
    ("operator", "operator"),
    ("", MISSING),
)
# At Cloudflare's own platform nobody's key is resold, so that nothing is forbidden.
ROWS_OF_WORKERS_AI: Final = tuple(row for row in ROWS if row[0] != "forbidden")
# Where a provider answers without a key, nobody has to pay.
ROWS_WITHOUT_NEED: Final = tuple((what, "nobody" if who == MISSING else who) for what, who in ROWS)
# An account's own provider sees no key of the operator's.
ROWS_OF_CUSTOM: Final = tuple(
    (what, "nobody" if who == "operator" else who) for what, who in ROWS_WITHOUT_NEED
)


def adapter(slug: str, *, operator: bool) -> Adapter:
    """Make the adapter of a provider, with or without a key of the operator's."""
    key = Secret("operator") if operator else None
    if slug == "custom-own":
        own = custom_provider_pb2.CustomProvider(base_url="https://own.example/v1")
        return CustomAdapters(CONFIG).of(slug, own)
    if slug == "custom-operators":
        return operator_adapter(slug, URL("https://operators.example/v1"), key, CONFIG)
    settings = ProviderSettings(
        slug=slug,
        api_key=key,
        account="some-account" if slug == "workers-ai" else "",
        base_url=URL("http://ollama") if slug == "ollama" else None,
    )
    return make_adapter(PROVIDERS[slug], settings, CONFIG)


def call(*facts: str, model: str = "m") -> Call:
    """Make a call for which some of the facts are so."""
    return Call(
        model=model,
        dialect=ClientDialect.OPENAI_CHAT,
        body=CHAT,
        stream=False,
        headers=[("authorization", b"Bearer request")] if "request" in facts else [],
        request_only="known" not in facts,
        alias="other" if "alias" in facts else "",
        no_operator="forbidden" in facts,
    )


async def who_pays(payer: Payer, found: Adapter, asked: Call) -> str:
    """Return whose key a call is sent with, or why it is not sent."""
    try:
        payment = await payer.payment(found, asked, CALLER)
        exchange = await found.exchange(payment.call)
    except GatewayError as error:
        return error.reason.value
    return dict(exchange.headers).get("authorization", "Bearer nobody").removeprefix("Bearer ")


def fits(row: str, facts: tuple[str, ...]) -> bool:
    """Tell whether a row of the table is about a case."""
    return all(word[1:] not in facts if word.startswith("-") else word in facts for word in row.split())


def expected(rows: tuple[tuple[str, str], ...], facts: tuple[str, ...]) -> str:
    """Look a case up in the table."""
    return next(who for what, who in rows if fits(what, facts))


CASES: Final = [
    tuple(name for name, there in zip(FACTS, chosen, strict=True) if there)
    for chosen in product((False, True), repeat=len(FACTS))
]


@pytest.mark.parametrize(
    ("slug", "rows"),
    [
        ("openai", ROWS),
        ("workers-ai", ROWS_OF_WORKERS_AI),
        ("ollama", ROWS_WITHOUT_NEED),
        ("custom-operators", ROWS_WITHOUT_NEED),
        ("custom-own", ROWS_OF_CUSTOM),
    ],
)
async def test_who_pays(slug: str, rows: tuple[tuple[str, str], ...]) -> None:
    """Each combination of key, caller, alias and permission has the payer that the table names."""
    table = {facts: expected(rows, facts) for facts in CASES}

    assert table == {facts: await _found(slug, facts) for facts in CASES}


async def _found(slug: str, facts: tuple[str, ...]) -> str:
    """Return who pays in one case; nobody is asked where the request or the caller decides it."""
    vault = KeyVault()
    vault.unified = "unified" in facts
    if "stored" in facts:
        vault.put(slug, "stored-default")
        vault.put(slug, "stored-other", alias="other")
    async with paying(vault) as payer:
        found = await who_pays(payer, adapter(slug, operator="operator" in facts), call(*facts))
    assert ("request" not in facts and "known" in facts) == bool(vault.asked)
    return found


async def test_nothing_is_the_operators_until_auth_says_so() -> None:
    """A call as it comes may not spend the operator's key, but where no account has keys at all."""
    asked = convert.call_of(provider_service_pb2.InvokeRequest(client_dialect=http_pb2.DIALECT_OPENAI_CHAT))
    with pytest.raises(GatewayError) as raised:
        await adapter("openai", operator=True).exchange(replace(asked, body=CHAT))
    payer = Payer(None, KeyPools(SystemClock()), note=lambda _, __: None)
    payment = await payer.payment(adapter("openai", operator=True), asked, CALLER)

    assert (MISSING, False, True) == (raised.value.reason.value, asked.unified, payment.call.unified)


def test_every_row_decides_something() -> None:
    """No row of the table is hidden behind those before it."""
    decided = {next(what for what, _ in ROWS if fits(what, facts)) for facts in CASES}

    assert {what for what, _ in ROWS} == decided


async def error_of(payer: Payer, slug: str, asked: Call) -> GatewayError:
    """Return why a call is not sent."""
    found = adapter(slug, operator=False)
    with pytest.raises(GatewayError) as raised:
        await found.exchange((await payer.payment(found, asked, CALLER)).call)
    return raised.value


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        ((), "No credential of that provider is configured here."),
        (("prod",), "Configured aliases: 'prod'"),
        (("prod", "default", "a"), "Configured aliases: 'a', 'default', 'prod'"),
    ],
)
async def test_an_alias_that_does_not_exist(aliases: tuple[str, ...], says: str) -> None:
    """The error names the provider, the alias, and those that there are."""
    vault = KeyVault()
    for alias in aliases:
        vault.put("openai", "sk-secret", alias=alias)
    async with paying(vault) as payer:
        error = await error_of(payer, "openai", call("known", "alias"))

    assert f"Provider 'openai' has no BYOK credential named 'other'. {says}" == error.message
    assert {"provider": "openai", "alias": "other"} == error.metadata


@pytest.mark.parametrize("alias", ["odd name", "ä", "x" * 65, "a'b"])
async def test_an_alias_that_cannot_be_one(alias: str) -> None:
    """What no alias looks like is unknown, and never asked for by that name."""
    vault = KeyVault()
    vault.put("openai", "sk-secret")
    async with paying(vault) as payer:
        asked = Call(
            model="m", dialect=ClientDialect.OPENAI_CHAT, body=CHAT, stream=False, headers=(), alias=alias
        )
        error = await error_of(payer, "openai", asked)

    assert Reason.ALIAS_NOT_FOUND is error.reason
    assert [("openai", "default")] == vault.asked


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (("known", "unified"), "store one for this gateway, or let the operator set one"),
        (("known",), "this account may not use the operator's"),
        (("known", "unified", "forbidden"), "byok_only or cf-aig-no-wholesale"),
        ((), "a token of this gateway in cf-aig-authorization"),
    ],
)
async def test_an_error_says_what_to_do(facts: tuple[str, ...], says: str) -> None:
    """Where there is no key, the error says where one could come from."""
    vault = KeyVault()
    vault.unified = "unified" in facts
    async with paying(vault) as payer:
        error = await error_of(payer, "openai", call(*facts))

    assert Reason.CREDENTIAL_MISSING is error.reason
    assert says in error.message


@pytest.mark.parametrize(
    ("slug", "kept_as", "who"),
    [
        ("custom-own", "custom-own", "sk-kept"),
        ("custom-own", "own", "sk-kept"),
        # A provider of that name is somebody else.
        ("custom-openai", "openai", "nobody"),
        ("custom-xai", "xai", "nobody"),
    ],
)
async def test_an_accounts_own_provider(slug: str, kept_as: str, who: str) -> None:
    """Keys of an account's own provider are found under both its names, and never another provider's."""
    vault = KeyVault()
    vault.put(kept_as, "sk-kept")
    own = custom_provider_pb2.CustomProvider(base_url="https://own.example/v1")
    async with paying(vault) as payer:
        found = CustomAdapters(CONFIG).of(slug, own)

        assert who == await who_pays(payer, found, call("known"))


async def test_a_process_without_stored_keys() -> None:
    """The process of the local model asks nobody, and the operator's key is used as ever."""
    noted: list[Any] = []
    payer = Payer(None, KeyPools(SystemClock()), lambda *told: noted.append(told))

    assert "operator" == await who_pays(payer, adapter("openai", operator=True), call("known"))
    assert [] == noted
