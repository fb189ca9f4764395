"""
Every mistake that the installation would refuse is found by `headrace apply` before anything is changed.

The rows follow the services' own checks: `services/auth/core`, `services/router/core` and the models of the
management API.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from cli.api import Api, _Answered
from cli.manifest.body_check import MOST_BODY_BYTES
from cli.manifest.plan import Options, Plan, compare, read_files
from kit.secret import Secret
from services.edge.management import dispatch
from tests.fakes.management import OWN_TOKEN, FakeManagement
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from cli.manifest.marks import Problem

FILE: Final = Path("headrace.yaml")
ROUTE: Final = """\
              - {id: s, type: start, outputs: {next: {elementId: m}}}
              - id: m
                type: model
                properties: {provider: openai, model: gpt-4o-mini, timeout: 10000, retries: 2}
                outputs: {success: {elementId: e}}
              - {id: e, type: end, outputs: {}}
"""
WHOLE: Final = f"""\
version: 1
accounts:
  - id: local
    name: Local
    providers:
      - slug: acme
        base_url: https://llm.acme.example/v1
        headers: {{x-team: search}}
        description: text
    gateways:
      - id: production
        store_id: store
        keys:
          - provider: openai
            secret: {{env: KEY}}
            weight: 1
            rate_limit: 5
            rate_limit_period: 60
          - provider: anthropic
            ref: vault:anthropic#api_key
        routes:
          - name: support
            elements:
{ROUTE}\
    tokens:
      - name: app
        gateways: [production]
        providers: [openai]
        models: [openai/gpt-4o]
        addresses: [192.0.2.0/24]
        expires_on: 2031-01-01T00:00:00Z
        write_to: app.token
"""
# 2026-01-01.
NOW_S: Final = 1_767_225_600.0


class DirectApi(Api):
    """The client of the management API, with a stand-in behind it and no network between."""

    def __init__(self, management: FakeManagement) -> None:
        super().__init__("http://stand-in.example", Secret("hr_x"), sleep=lambda _: None)
        self._management = management

    def _ask(self, method: str, target: str, body: bytes | None) -> _Answered:
        status, raw = self._management.respond(method, target, body or b"")
        return _Answered(status, raw, "")


class Apply:
    """What `headrace apply` does before it changes anything, with files that are in memory."""

    def __init__(self, directory: Path) -> None:
        self.management = FakeManagement()
        self.path = directory / FILE
        self.options = Options(account="local")
        self.key = "sk-first-key-0001"

    def plan(self, text: str, **options: Any) -> Plan:
        """Check a text, and compare it with the installation where it has no mistake of its own."""
        chosen = Options(account="local", **options)
        compiled = read_files([self.path], chosen, texts={self.path: text}, env={"KEY": self.key})
        if compiled.problems:
            return Plan(problems=compiled.problems)
        return compare(DirectApi(self.management), compiled, chosen, StoppedClock(NOW_S))

    def problems(self, text: str, **options: Any) -> list[Problem]:
        """Give all mistakes."""
        return self.plan(text, **options).problems

    def told(self, text: str, **options: Any) -> list[tuple[int, str]]:
        """Give lines and texts of all mistakes."""
        return [(each.mark.line, each.text) for each in self.problems(text, **options)]


@pytest.fixture
def apply(tmp_path: Path) -> Apply:
    """Give a place for a file, and an installation."""
    return Apply(tmp_path)


def line_of(part: str) -> int:
    """Give the line of the whole file that holds a text."""
    return WHOLE[: WHOLE.index(part)].count("\n") + 1


def test_the_whole_file_has_no_mistake(apply: Apply) -> None:
    """What the rows below are made from holds."""
    assert [] == apply.told(WHOLE)
    assert [] == apply.told(WHOLE.replace("rate_limit: 5", "rate_limit: 0"))
    assert [] == apply.management.changes


SETTING: Final = "store_id: store"
NAMES: Final = ", ".join(f"h{number}: x" for number in range(33))
LONG: Final = "x" * 4097
FOUR_LONG: Final = ", ".join(f"h{number}: {'x' * 4096}" for number in range(4))
RULE: Final = "{id: a, limitType: cost, limit: 1, window: 1}"
NO_KEY: Final = r'limit: 1, window: 1, metadata: {"\u0007": {mode: partition}}'
POLICY: Final = "{id: a, enabled: true, action: FLAG, check: [], profiles: []}"
LATER: Final = "\n        not_before: 2032-01-01T00:00:00Z"
# What stands in the whole file, what it becomes, and what is told about that line.
OF_A_FILE: Final = [
    # Accounts.
    ("name: Local", 'name: ""', "at least 1 character"),
    ("name: Local", 'name: " "', "printable characters"),
    ("name: Local", r'name: "a\u0007b"', "printable characters"),
    ("name: Local", f"name: {'x' * 121}", "at most 120 characters"),
    ("- id: local", "- id: lo/cal", "should match pattern"),
    # Accounts' own providers.
    ("slug: acme", "slug: Acme", "should match pattern"),
    ("slug: acme", f"slug: {'a' * 51}", "at most 50 characters"),
    ("https://llm.acme", "http://llm.acme", "should match pattern"),
    ("llm.acme.example/v1", "user@llm.acme.example/v1", "user or a password"),
    ("llm.acme.example/v1", "llm.acme.example/v1?a=b", "a query or a fragment"),
    ("llm.acme.example/v1", "llm.acme.example/../v1", "dot segments"),
    ("llm.acme.example/v1", "llm.acme.example:0/v1", "makes no sense"),
    ("llm.acme.example/v1", "llm.äcme.example/v1", "printable ASCII"),
    ("llm.acme.example/v1", "[/v1", "is no URL"),
    ("{x-team: search}", "{host: a}", "cannot be set"),
    ("{x-team: search}", "{authorization: a}", "holds a key"),
    ("{x-team: search}", "{x y: a}", "no name of a header"),
    ("{x-team: search}", f"{{x: {LONG}}}", "too long"),
    ("{x-team: search}", f"{{{FOUR_LONG}}}", "at most 16384 characters"),
    ("{x-team: search}", f"{{{NAMES}}}", "at most 32 headers"),
    ("{x-team: search}", "{x: ä}", "printable ASCII"),
    ("{x-team: search}", f"{{x: hr_abcdefghijkl_{'s' * 43}}}", "holds a token"),
    ("description: text", r'description: "\u0007"', "no control characters"),
    ("description: text", f"description: {'x' * 2001}", "at most 2000 characters"),
    ("description: text", f"link: {'x' * 1025}", "at most 1024 characters"),
    ("description: text", f"js_example: {'x' * 8193}", "at most 8192 characters"),
    ("description: text", "position: -1", "greater than or equal to 0"),
    ("description: text", r'name: "a\nb"', "printable characters"),
    # Gateways.
    ("- id: production", "- id: Production", "should match pattern"),
    (SETTING, "store_id: a b", "letters, digits, dots"),
    (SETTING, "logpush_public_key: '-----BEGIN PRIVATE KEY-----'", "only the public one"),
    (SETTING, r'logpush_public_key: "0123456789abcdef\u0007"', "printable characters"),
    (SETTING, "logpush_public_key: short", "at least 16 characters"),
    (SETTING, "cache_ttl: -1", "greater than or equal to 0"),
    (SETTING, "rate_limiting_limit: 2147483648", "less than or equal to"),
    (SETTING, "log_management: 9999", "greater than or equal to 10000"),
    (SETTING, "retry_max_attempts: 6", "less than or equal to 5"),
    (SETTING, "retry_delay: 60001", "less than or equal to 60000"),
    (SETTING, "total_timeout: 0", "greater than or equal to 1"),
    (SETTING, "idempotency_ttl: 2592001", "less than or equal to 2592000"),
    (SETTING, "workers_ai_billing_mode: free", "input should be"),
    (SETTING, "otel: [{url: 'ftp://a.example', headers: {}}]", "begins with http"),
    (SETTING, "otel: [{url: 'https://a.example', headers: {authorization: a}}]", "holds a secret"),
    (SETTING, "otel: [{url: 'https://a.example', headers: {}, authorization: 'a b'}]", "not the secret"),
    (SETTING, "stripe: {authorization: sk_live_0123456789, usage_events: []}", "not the secret"),
    (SETTING, f"dlp: {{enabled: true, policies: [{POLICY}, {POLICY}]}}", "another policy has this id"),
    (SETTING, r'dlp: {enabled: true, action: FLAG, profiles: ["\u0007"]}', "printable characters"),
    (SETTING, "guardrails: {prompt: {S14: BLOCK}, response: {}}", "there is no such field"),
    (SETTING, "spend_limits: {rules: [{limitType: cost, limit: 1.0e-10, window: 1}]}", "billionth"),
    (SETTING, f"spend_limits: {{rules: [{RULE}, {RULE}]}}", "another rule has this id"),
    (SETTING, "rate_limits: {rules: [{limitType: tokens, limit: 0, window: 1}]}", "greater than 0"),
    (SETTING, f"rate_limits: {{rules: [{{limitType: tokens, {NO_KEY}}}]}}", "printable characters"),
    # Keys.
    ("provider: openai\n", "provider: opnai\n", "there is no provider opnai"),
    ("provider: openai\n", "provider: custom-\n", "there is no provider custom-"),
    ("provider: openai\n", "provider: custom-A\n", "not a provider's name"),
    ("weight: 1", "weight: 0", "greater than or equal to 1"),
    ("weight: 1", "alias: a b", "should match pattern"),
    ("rate_limit: 5", "rate_limit: 1000000001", "1 to 1000000000 requests"),
    ("rate_limit: 5", "rate_limit: 0.5", "fractional part"),
    ("rate_limit_period: 60", "rate_limit_period: 0.5", "1 second to 30 days"),
    ("rate_limit_period: 60", "rate_limit_period: 2592001", "1 second to 30 days"),
    ("vault:anthropic#api_key", "vault:anthropic", "`vault:path#field`"),
    ("vault:anthropic#api_key", "vault:../a#b", "`vault:path#field`"),
    ("vault:anthropic#api_key", "env:lower", "`env:NAME`"),
    ("vault:anthropic#api_key", "file:../a", "`file:name`"),
    ("vault:anthropic#api_key", "disk:a", "should match pattern"),
    # Routes.
    ("name: support", "name: sup/port", "should match pattern"),
    ("provider: openai,", "provider: opnai,", "there is no provider of this name"),
    ("retries: 2", "retries: 6", "a number from 0 to 5"),
    ("elementId: e}}\n", "elementId: s}}\n", "comes back"),
    ("model: gpt-4o-mini", f"model: {'x' * 257}", "printable characters"),
    ("{id: e, type: end", "{id: m, type: end", "another element has this id"),
    ("{id: e, type: end", "{id: e, type: ende", "one of these is expected"),
        # Tokens.
    ("name: app", "name: ' '", "printable characters"),
    ("name: app", f"name: {'x' * 121}", "at most 120 characters"),
    ("[production]", "[Production]", "not well-formed"),
    ("providers: [openai]", "providers: [opnai]", "there is no provider opnai"),
    ("providers: [openai]", "providers: [open ai]", "not well-formed"),
    ("[openai/gpt-4o]", "[gpt-4o]", "not well-formed"),
    ("[openai/gpt-4o]", f"[openai/{'x' * 250}]", "at most 256 characters"),
    ("192.0.2.0/24", "192.0.2.0/33", "not an IP address"),
    ("192.0.2.0/24", "'fe80::1%eth0'", "not an IP address"),
    ("192.0.2.0/24", "'::ffff:192.0.2.1'", "not an IP address"),
    ("addresses: [", "forbidden_addresses: [here, ", "not an IP address"),
    ("expires_on: 2031-01-01T00:00:00Z", f"expires_on: 2031-01-01T00:00:00Z{LATER}", "before the token"),
    ("expires_on: 2031-01-01T00:00:00Z", "expires_on: 2031", "RFC 3339"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "text"), OF_A_FILE)
def test_found_in_the_file_alone(apply: Apply, old: str, new: str, text: str) -> None:
    """A mistake that the file shows is told with its line, and nobody is asked anything."""
    assert old in WHOLE
    told = apply.told(WHOLE.replace(old, new, 1))

    assert [] == apply.management.requests
    assert [(line_of(old), True)] == [(where, text in what) for where, what in told], told


def test_what_json_cannot_say(apply: Apply) -> None:
    """A number that is too large for JSON is told where the body would be sent for."""
    [(line, told)] = apply.told(WHOLE.replace("timeout: 10000", "timeout: 1.0e+400"))

    assert (line_of("name: support"), True) == (line, "this cannot be sent as JSON" in told)


@pytest.mark.parametrize(
    ("key", "text"),
    [("x" * 65_537, "at most 65536"), ("ä" * 40_000, "1 to 65536 bytes"), ("a\0b", "text that is not blank")],
)
def test_a_key_that_is_none(apply: Apply, key: str, text: str) -> None:
    """A key is within bounds before it is sent, and is not told."""
    apply.key = key
    [(line, told)] = apply.told(WHOLE)

    assert (line_of("secret: "), True, False) == (line, text in told, key in told)


def test_an_account_that_the_command_names_is_checked(apply: Apply) -> None:
    """An id from an option is looked at as one from a file."""
    [(_, told)] = apply.told(WHOLE, only_account="not an id")

    assert "an account id has 1 to 64" in told


def test_the_longest_body_is_the_servers(apply: Apply) -> None:
    """What is too long to be sent is known from the same number."""
    assert dispatch._MOST_BODY_BYTES == MOST_BODY_BYTES


class TestOfAnInstallation:
    """What depends on what is there."""

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("provider: anthropic\n", "provider: custom-nobody\n"),
            ("provider: openai,", "provider: custom-nobody,"),
            ("providers: [openai]", "providers: [custom-nobody]"),
            ("[openai/gpt-4o]", "[custom-nobody/gpt-4o]"),
        ],
    )
    def test_a_provider_that_nobody_has(self, apply: Apply, old: str, new: str) -> None:
        """An own provider is one of the file, of the account, or of the operator."""
        text = WHOLE.replace(old, new, 1)
        told = apply.told(text)
        of_file = apply.told(text.replace("nobody", "acme"))
        apply.management.operator_providers.append("custom-nobody")

        expected = "there is no provider custom-nobody in the account local"
        assert [(line_of(old), expected)] == told
        assert ([], []) == (of_file, apply.told(text))
        assert [] == apply.management.changes

    def test_a_provider_that_would_be_deleted(self, apply: Apply) -> None:
        """What the same command deletes cannot be named, even by what stays as it is."""
        text = WHOLE.replace("provider: openai,", "provider: custom-old,")
        api = DirectApi(apply.management)
        api.post(
            "/accounts/local/ai-gateway/custom-providers", {"slug": "old", "base_url": "x", "name": "old"}
        )
        kept, pruned = apply.told(text), apply.told(text, prune=True)

        assert [] == kept
        assert [
            (line_of("provider: openai,"), "provider custom-old would be deleted, and is named here")
        ] == pruned

    def test_a_provider_of_the_operator(self, apply: Apply) -> None:
        """An account cannot take a slug that the operator has."""
        apply.management.operator_providers.append("custom-acme")

        expected = "the operator has a provider custom-acme already"
        assert [(line_of("slug: acme"), expected)] == apply.told(WHOLE)

    def test_an_id_that_was_used(self, apply: Apply) -> None:
        """The id of a deleted account is not used again, which is known before anything is made."""
        text = f"{WHOLE}  - id: fresh\n  - id: gone\n"
        good = apply.told(text)
        apply.management.deleted_accounts.append("gone")

        expected = "the id gone was that of an account that is deleted, and is not used again"
        assert ([], [(text.count("\n"), expected)]) == (good, apply.told(text))
        assert [] == apply.management.changes

    def test_deleted_accounts_are_asked_for_where_one_is_made(self, apply: Apply) -> None:
        """Nobody else needs them, and only an operator's token may have them."""
        apply.told(WHOLE)
        with_none_new = [*apply.management.queries]
        apply.management.queries.clear()
        apply.management.permissions = frozenset({"read", "edit"})
        [token] = apply.management.things["accounts/local/tokens"]
        token["policies"] = []
        told = apply.told(f"{WHOLE}  - id: fresh\n")

        assert not [each for each in [*with_none_new, *apply.management.queries] if "include_deleted" in each]
        assert "lacks the permission operator" in str(told)

    def test_new_accounts_are_made_first(self, apply: Apply) -> None:
        """An id may be taken since it was looked for: then nothing else is changed yet."""
        steps = apply.plan(f"{WHOLE}  - id: new\n    providers: []\n").steps

        assert ["create account new", "update account local", "create provider acme"] == [
            f"{step.action} {step.title}" for step in steps[:3]
        ]

    def test_a_token_that_is_over(self, apply: Apply) -> None:
        """A new token ends in the future; one that is there may have ended."""
        text = WHOLE.replace("2031-01-01", "2026-01-01")
        new = apply.told(text)
        apply.management.things["accounts/local/tokens"].append(
            {**apply.management.things["accounts/local/tokens"][0], "name": "app", "id": "there"}
        )

        assert [(line_of("expires_on"), "the token app: the expiry is in the past")] == new
        assert [] == apply.told(text)

    @pytest.mark.parametrize(
        ("ref", "text"),
        [
            ("vault:a#b", "knows no Vault"),
            ("file:a", "no directory of keys"),
            ("env:A", "only the account of this installation"),
        ],
    )
    def test_a_reference_that_cannot_be_followed(self, apply: Apply, ref: str, text: str) -> None:
        """Where keys may be kept is known before one is named."""
        whole = WHOLE.replace("vault:anthropic#api_key", ref)
        [account] = apply.management.things["accounts"]
        good = apply.told(whole)
        account["reference_kinds"] = [each for each in ("env", "file", "vault") if not ref.startswith(each)]
        [(line, told)] = apply.told(whole)
        of_new = apply.told(whole.replace("- id: local", "- id: new"))

        assert [] == good
        assert (line_of("ref: "), True) == (line, text in told)
        assert 1 == len(of_new)

    def test_the_environment_is_for_one_account(self, apply: Apply) -> None:
        """An account that is to be made may not use it."""
        whole = WHOLE.replace("vault:anthropic#api_key", "env:A").replace("- id: local", "- id: new")

        assert [line_of("ref: ")] == [line for line, _ in apply.told(whole)]

    @pytest.mark.parametrize(
        ("path", "count", "part"),
        [
            ("custom-providers", 200, "slug: acme"),
            ("gateways", 1000, "- id: production"),
            ("gateways/production/provider_configs", 199, "provider: openai\n"),
            ("gateways/production/routes", 200, "name: support"),
        ],
    )
    def test_more_than_there_may_be(self, apply: Apply, path: str, count: int, part: str) -> None:
        """The last one that fits is made, and the next one is told of."""
        self.fill(apply, path, count)
        told = apply.told(WHOLE)
        apply.management.things[f"accounts/local/ai-gateway/{path}"].pop()

        assert [(line_of(part), True)] == [(line, "one more than the" in text) for line, text in told]
        assert [] == apply.told(WHOLE)

    def fill(self, apply: Apply, path: str, count: int) -> None:
        """Put things into a place, and the gateway that it is of."""
        api = DirectApi(apply.management)
        base = "/accounts/local/ai-gateway"
        if "/" in path:
            api.post(f"{base}/gateways", {"id": "production", "store_id": "store"})
        for number in range(count):
            name = f"a{number}"
            bodies: dict[str, dict[str, Any]] = {
                "custom-providers": {"slug": name, "name": name, "base_url": "https://a.example"},
                "gateways": {"id": name},
                "provider_configs": {
                    "provider_slug": "groq", "alias": name, "default_config": False, "secret": name,
                },
                "routes": {"name": name, "elements": []},
            }  # fmt: skip
            api.post(f"{base}/{path}", bodies[path.rsplit("/", 1)[-1]])
        apply.management.requests.clear()

    def test_a_route_with_all_its_versions(self, apply: Apply) -> None:
        """A route that can have no further version is told before anything is sent."""
        api = DirectApi(apply.management)
        api.post("/accounts/local/ai-gateway/gateways", {"id": "production", "store_id": "store"})
        api.post("/accounts/local/ai-gateway/gateways/production/routes", {"name": "support", "elements": []})
        apply.management.versions = 999
        fits = apply.told(WHOLE)
        apply.management.versions = 1000

        assert [] == fits
        assert [(line_of("name: support"), True)] == [
            (line, "has 1000 versions" in text) for line, text in apply.told(WHOLE)
        ]

    def test_nothing_is_asked_of_a_gateway_that_is_not_there(self, apply: Apply) -> None:
        """The gateway `default` would make itself, which is a change."""
        assert [] == apply.told(WHOLE.replace("production", "default"))
        assert not [path for _, path, _ in apply.management.requests if "gateways/default" in path]


class TestOfAToken:
    """What the token that asks may not do."""

    OWN: Final[dict[str, list[str]]] = {"gateways": [], "providers": [], "models": []}

    def narrow(self, apply: Apply, *permissions: str, **own: Any) -> None:
        """Let the token that asks be another one."""
        apply.management.permissions = frozenset(permissions)
        [token] = apply.management.things["accounts/local/tokens"]
        restrictions = {**self.OWN, **{name: own.pop(name) for name in tuple(own) if name in self.OWN}}
        token |= {"restrictions": restrictions, **own}

    def titles(self, told: list[tuple[int, str]]) -> list[str]:
        """Give what cannot be done."""
        return sorted(text.partition(" cannot be ")[0].removeprefix("the ") for _, text in told)

    def test_editing(self, apply: Apply) -> None:
        """A token that may only read changes nothing; that is told once for each account."""
        self.narrow(apply, "read")
        told = apply.told(WHOLE.replace("    name: Local\n", ""))

        assert [True] == ["lacks the permission ai_gateway_edit" in text for _, text in told]

    def test_accounts(self, apply: Apply) -> None:
        """Accounts are an operator's."""
        self.narrow(apply, "read", "edit", "run")
        changed, made = apply.told(WHOLE), apply.told(WHOLE.replace("id: local", "id: other"))

        assert ["account local"] == self.titles(changed)
        assert "account other" in self.titles(made)

    def test_an_editor(self, apply: Apply) -> None:
        """Whoever may edit and run makes all the rest."""
        self.narrow(apply, "read", "edit", "run")

        assert [] == apply.told(WHOLE.replace("    name: Local\n", ""))

    def test_permissions_that_it_lacks(self, apply: Apply) -> None:
        """Nobody makes a token that can do more than theirs."""
        self.narrow(apply, "read", "edit")
        told = apply.told(WHOLE.replace("    name: Local\n", "    # as it is\n"))

        assert [(line_of("- name: app"), True)] == [(line, "ai_gateway_run" in text) for line, text in told]

    def test_a_token_for_some_gateways(self, apply: Apply) -> None:
        """It changes those, and nothing that is the whole account's."""
        self.narrow(apply, "read", "edit", "run", gateways=["production"])
        text = WHOLE.replace("    name: Local\n", "")
        other = text.replace("id: production", "id: other").replace("[production]", "[other]")

        assert ["provider acme"] == self.titles(apply.told(text))
        assert [
            "gateway other", "key other anthropic/default", "key other openai/default", "provider acme",
            "route other support", "token app",
        ] == self.titles(apply.told(other))  # fmt: skip

    def test_a_token_for_some_providers(self, apply: Apply) -> None:
        """It changes their keys, and nothing that concerns others."""
        self.narrow(apply, "read", "edit", "run", providers=["openai"])

        assert [
            "gateway production", "key production anthropic/default", "provider acme",
            "route production support",
        ] == self.titles(apply.told(WHOLE.replace("    name: Local\n", "")))  # fmt: skip

    def test_a_token_that_ends(self, apply: Apply) -> None:
        """It makes none that goes on for longer."""
        self.narrow(apply, "read", "edit", "run", expires_on="2030-01-01T00:00:00.000Z")

        assert ["token app"] == self.titles(apply.told(WHOLE.replace("    name: Local\n", "")))

    def test_keys_in_other_stores(self, apply: Apply) -> None:
        """For an own provider they are an operator's to name."""
        text = WHOLE.replace("    name: Local\n", "").replace("provider: anthropic", "provider: custom-acme")
        of_operator = apply.told(text)
        self.narrow(apply, "read", "edit", "run")

        assert [] == of_operator
        assert ["key production custom-acme/default"] == self.titles(apply.told(text))

    def test_another_address(self, apply: Apply) -> None:
        """Where there are keys for a provider, its address is an operator's to change."""
        api = DirectApi(apply.management)
        base = "/accounts/local/ai-gateway"
        api.post(
            f"{base}/custom-providers", {"slug": "acme", "name": "acme", "base_url": "https://old.example"}
        )
        api.post(f"{base}/gateways", {"id": "old"})
        key = {"provider_slug": "custom-acme", "alias": "default", "default_config": True, "secret": "sk"}
        text = WHOLE.replace("    name: Local\n", "")
        self.narrow(apply, "read", "edit", "run")
        without = apply.told(text)
        api.post(f"{base}/gateways/old/provider_configs", key)

        assert [] == without
        assert ["provider acme"] == self.titles(apply.told(text))

    def test_its_own_end_comes_last(self, apply: Apply) -> None:
        """A file that narrows the token that asks narrows it after everything else, deletions included."""
        DirectApi(apply.management).post("/accounts/local/ai-gateway/gateways", {"id": "old"})
        text = WHOLE + "      - name: first\n        permissions: [operator]\n        disabled: true\n"
        chosen = Options(account="local", prune=True)
        compiled = read_files([apply.path], chosen, texts={apply.path: text}, env={"KEY": apply.key})
        plan = compare(DirectApi(apply.management), compiled, chosen, StoppedClock(NOW_S))

        assert [] == plan.problems
        assert ["gateway old", "token first"] == [step.title for step in plan.steps[-2:]]
        assert OWN_TOKEN == (plan.steps[-1].found and plan.steps[-1].found.id)


def test_tokens_of_one_name_are_not_pruned(apply: Apply) -> None:
    """No file can list them, and an export leaves them out; so they stay, which is told."""
    kept = apply.management.things["accounts/local/tokens"]
    policies = json.loads(json.dumps(kept[0]["policies"]).replace("operator", "run"))
    policies[0]["permission_groups"] = [{"id": "run", "name": "AI Gateway Run"}]
    kept += [{**kept[0], "name": name, "id": name * 2, "policies": policies} for name in ("a", "a", "b")]
    chosen = Options(account="local", prune=True, prune_tokens=True)
    text = "version: 1\naccounts: [{tokens: []}]\n"
    compiled = read_files([apply.path], chosen, texts={apply.path: text})
    plan = compare(DirectApi(apply.management), compiled, chosen)

    assert ["token b"] == [step.title for step in plan.steps]
    assert ["2 tokens a of the account local are left"] == [each.partition(":")[0] for each in plan.notes]
