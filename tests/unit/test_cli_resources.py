"""The commands of the command line that are in the shape of the management API's objects."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli import account_command
from cli.__main__ import app
from cli.api import USER_AGENT, Api, ApiError
from cli.gateway_fields import FIELDS, NEW
from cli.session import complete_gateway, connect
from cli.token_body import public_part
from kit.secret import Secret
from services.edge.management.models.gateway import CreateGateway
from tests.fakes.management import FakeManagement, running_management
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "hr_ownownownown_" + "s" * 43
ELEMENTS = "elements:\n  - {id: s, type: start}\n"


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeManagement]:
    """A management API that the command line finds."""
    with running_management() as running:
        monkeypatch.setenv("HEADRACE_URL", running.url)
        monkeypatch.setenv("HEADRACE_TOKEN", TOKEN)
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
        yield running


def headrace(*arguments: str, stdin: str | None = None) -> Any:
    """Run the command."""
    return CliRunner().invoke(app, list(arguments), input=stdin)


def done(*arguments: str, stdin: str | None = None) -> str:
    """Run a command that must succeed; give what it prints."""
    result = headrace(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


class TestApi:
    """The client."""

    def client(self, management: FakeManagement, waits: list[float]) -> Api:
        """Make one that notes its waits instead of waiting."""
        return Api(management.url, Secret(TOKEN), sleep=waits.append)

    def test_says_who_it_is(self, management: FakeManagement) -> None:
        """Every call carries the token, and the version of the command line."""
        self.client(management, []).get("/accounts")

        headers = management.headers[0]
        assert (f"Bearer {TOKEN}", USER_AGENT) == (headers["authorization"], headers["user-agent"])

    def test_reading_is_tried_again(self, management: FakeManagement) -> None:
        """A service that is away for a moment is waited for."""
        management.unavailable, waits = 2, []  # type: ignore[var-annotated]
        self.client(management, waits).get("/accounts")

        assert (2, 3) == (len(waits), len(management.requests))

    def test_a_change_is_not(self, management: FakeManagement) -> None:
        """Nobody knows whether a change was made that was not answered, so it is sent once."""
        management.unavailable, waits = 1, []  # type: ignore[var-annotated]
        with pytest.raises(ApiError, match="away"):
            self.client(management, waits).post("/accounts", {"id": "a", "name": "a"})

        assert ([], 1) == (waits, len(management.requests))

    def test_lists_are_read_to_their_end(self, management: FakeManagement) -> None:
        """Pages are asked for until one is not full."""
        account = management.things["accounts"][0]
        management.things["accounts"] = [{**account, "id": str(number)} for number in range(250)]
        found = self.client(management, []).pages("/accounts")

        assert (250, 3) == (len({each["id"] for each in found}), len(management.requests))

    def test_where_an_error_is(self, management: FakeManagement) -> None:
        """An error tells the field that is wrong, once."""
        management.refuse["POST accounts"] = (400, "too long", ["body", "name"])
        with pytest.raises(ApiError, match=r"^name: too long$"):
            self.client(management, []).post("/accounts", {})

    @pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x:y", "http://[1"])
    def test_no_address(self, url: str) -> None:
        """What is no address is told as such."""
        with pytest.raises(ApiError, match="is no address"):
            Api(url, Secret(TOKEN))

    @pytest.mark.parametrize("token", ["a\nb", "schlüssel"])
    def test_no_token(self, token: str) -> None:
        """What cannot be sent as a token is told as such, without telling it."""
        with pytest.raises(ApiError, match=r"^The token holds characters that no token has\.$"):
            Api("http://127.0.0.1", Secret(token))


class TestSession:
    """How commands find the installation."""

    def test_token_of_the_first_start(
        self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Without a setting the token is the one in the data directory."""
        monkeypatch.delenv("HEADRACE_TOKEN")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "token").write_text("hr_fromfile\n")
        done("gateway", "list")

        assert "Bearer hr_fromfile" == management.headers[0]["authorization"]

    def test_token_file(
        self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A setting may name a file that holds it."""
        monkeypatch.delenv("HEADRACE_TOKEN")
        (tmp_path / "other").write_text("hr_other\n")
        monkeypatch.setenv("HEADRACE_TOKEN_FILE", str(tmp_path / "other"))
        done("gateway", "list")

        assert "Bearer hr_other" == management.headers[0]["authorization"]

    def test_not_running(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Where nobody listens the answer says how to start."""
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("HEADRACE_PORT", str(free_port()))
        (tmp_path / "token").write_text(TOKEN)
        result = headrace("gateway", "list")

        assert (1, True) == (result.exit_code, "Headrace is not running" in result.stderr)
        assert "Traceback" not in result.stderr

    def test_no_token(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without a token the answer says where one could be."""
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
        result = headrace("gateway", "list")

        assert (1, True) == (result.exit_code, "token recover" in result.stderr)

    def test_other_account(self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch) -> None:
        """The account is an option, else a setting."""
        monkeypatch.setenv("HEADRACE_ACCOUNT", "mine")
        done("gateway", "list")
        done("gateway", "list", "--account", "other")

        assert ["accounts/mine", "accounts/other"] == [
            path[:14].rstrip("/") for _, path, _ in management.requests
        ]

    def test_completion(self, management: FakeManagement) -> None:
        """The shell is given the gateways that begin so."""
        done("gateway", "create", "production")
        done("gateway", "create", "staging")

        assert ["production"] == complete_gateway("pro")


class TestGateway:
    """`headrace gateway`."""

    def test_options_are_the_fields(self) -> None:
        """Every field of the API that is not an object has an option, of its type."""
        documents = {"dlp", "guardrails", "otel", "rate_limits", "spend_limits", "stripe"}
        read_only = {
            "id",
            "is_default",
            "internal_id",
            "account_id",
            "account_tag",
            "created_at",
            "modified_at",
        }
        schema = CreateGateway.model_json_schema()["properties"]
        kinds = {"boolean": "switch", "integer": "count", "string": "text"}

        def kind(field: dict[str, Any]) -> str:
            types = {each.get("type") for each in field.get("anyOf", [field])} - {"null"}
            return kinds[types.pop()]

        expected = {name: kind(field) for name, field in schema.items() if name not in documents | read_only}
        assert expected == {field.name: field.kind for field in FIELDS}
        assert {name for name, field in CreateGateway.model_fields.items() if field.is_required()} == {
            *NEW,
            "id",
        }

    def test_create(self, management: FakeManagement) -> None:
        """Options become fields; the others are the API's, or what every gateway must be told."""
        done(
            "gateway", "create", "prod", "--cache-ttl", "300", "--authentication", "--set", "retry_delay=500"
        )

        [(method, path, body)] = management.changes
        assert ("POST", "accounts/local/ai-gateway/gateways") == (method, path)
        assert {**NEW, "id": "prod", "cache_ttl": 300, "authentication": True, "retry_delay": 500} == body

    def test_create_from_a_file(self, management: FakeManagement, tmp_path: Path) -> None:
        """Objects come from a file; options win over it."""
        (tmp_path / "g.yaml").write_text("cache_ttl: 5\nspend_limits: {enabled: true}\n")
        done("gateway", "create", "prod", "-f", str(tmp_path / "g.yaml"), "--cache-ttl", "9", "--json")

        body = management.changes[0][2]
        assert (9, {"enabled": True}) == (body["cache_ttl"], body["spend_limits"])

    def test_update_changes_what_is_named(self, management: FakeManagement) -> None:
        """The whole object is sent, as it was but for what is named."""
        done("gateway", "create", "prod", "--cache-ttl", "300", "--set", "spend_limits.enabled=true")
        done("gateway", "update", "prod", "--no-collect-logs", "--set", "retry_delay=null")

        method, path, body = management.changes[-1]
        assert ("PUT", "accounts/local/ai-gateway/gateways/prod") == (method, path)
        assert (300, False, None) == (body["cache_ttl"], body["collect_logs"], body["retry_delay"])
        assert body["spend_limits"]["enabled"] is True
        assert "is_default" not in body

    def test_update_of_nothing(self, management: FakeManagement) -> None:
        """An update that names nothing is a slip, and asks nobody."""
        assert (2, []) == (headrace("gateway", "update", "prod").exit_code, management.requests)

    @pytest.mark.parametrize("text", ["x", "=1", "cache_ttl.x=1"])
    def test_bad_set(self, management: FakeManagement, text: str) -> None:
        """What cannot be set is told before anything is sent."""
        assert 2 == headrace("gateway", "create", "prod", "--set", text).exit_code
        assert [] == management.changes

    def test_list_get_url(self, management: FakeManagement) -> None:
        """People get tables, scripts the API's result."""
        done("gateway", "create", "prod")
        listed = json.loads(done("gateway", "list", "--json"))

        assert ["prod"] == [each["id"] for each in listed]
        assert "prod" in done("gateway", "list")
        assert listed[0] == json.loads(done("gateway", "get", "prod", "--json"))
        assert f"{management.url}/v1/local/prod/openai\n" == done("gateway", "url", "prod", "openai")

    def test_delete(self, management: FakeManagement) -> None:
        """A script means what it names."""
        done("gateway", "create", "prod")
        done("gateway", "delete", "prod")

        assert [] == management.kept("local/ai-gateway/gateways")

    def test_refused(self, management: FakeManagement) -> None:
        """What the API refuses is one plain sentence."""
        result = headrace("gateway", "get", "nobody")

        assert (1, "headrace: Not Found\n") == (result.exit_code, result.stderr)


class TestKey:
    """`headrace key`."""

    @pytest.mark.parametrize("source", ["stdin", "file", "env"])
    def test_add(
        self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
    ) -> None:
        """The key comes from standard input, a file or a variable, and is shown nowhere."""
        (tmp_path / "key").write_text("sk-secret-12345\n")
        monkeypatch.setenv("THE_KEY", "sk-secret-12345")
        options = {
            "stdin": [],
            "file": ["--from-file", str(tmp_path / "key")],
            "env": ["--from-env", "THE_KEY"],
        }
        result = headrace("key", "add", "openai", "-g", "prod", *options[source], stdin="sk-secret-12345\n")

        body = management.changes[0][2]
        assert ("sk-secret-12345", "default", True) == (body["secret"], body["alias"], body["default_config"])
        assert "sk-secret" not in result.output

    def test_reference(self, management: FakeManagement) -> None:
        """A key may stay where it is, and only be named."""
        done("key", "add", "openai", "--alias", "b", "--ref", "vault:openai#key", "--weight", "3")

        body = management.changes[0][2]
        assert ("vault:openai#key", 3, False) == (body["secret_id"], body["weight"], body["default_config"])
        assert "secret" not in body

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--ref", "openai"], "begin with"),
            (["--ref", "env:A", "--from-env", "A"], "do not go together"),
            (["--from-env", "NOT_THERE"], "is not set"),
            ([], "is empty"),
        ],
    )
    def test_no_key(self, management: FakeManagement, options: list[str], text: str) -> None:
        """A key that cannot be had is told before anything is sent."""
        result = headrace("key", "add", "openai", *options, stdin="")

        assert (2, []) == (result.exit_code, management.changes)
        assert text in result.stderr

    def test_rotate_update_delete(self, management: FakeManagement) -> None:
        """A key is named by its id, or by provider and alias where that is one."""
        done("key", "add", "openai", stdin="sk-one-0123456789")
        done("key", "add", "openai", "--alias", "b", stdin="sk-two-0123456789")
        done("key", "rotate", "openai/b", stdin="sk-new-0123456789")
        done("key", "update", "openai/b", "--weight", "7", "--rate-limit", "10")

        assert [{"secret": "sk-new-0123456789"}, {"weight": 7, "rate_limit": 10}] == [
            b for _, _, b in management.changes[2:]
        ]
        assert "…6789" in done("key", "list")

        several = headrace("key", "delete", "openai", "--yes")
        assert (1, True) == (several.exit_code, "is several keys" in several.stderr)

        first = json.loads(done("key", "list", "--json"))[0]["id"]
        done("key", "delete", first, "--yes")
        assert ["b"] == [
            each["alias"] for each in management.kept("local/ai-gateway/gateways/default/provider_configs")
        ]


class TestRoute:
    """`headrace route`."""

    def test_life_of_a_route(self, management: FakeManagement, tmp_path: Path) -> None:
        """It is made from a file, gets another version and another name, and goes."""
        (tmp_path / "r.yaml").write_text(ELEMENTS)
        done("route", "create", "support", "-f", str(tmp_path / "r.yaml"), "-g", "prod")
        shown = done("route", "get", "support", "-g", "prod")
        done("route", "deploy", "support", "-f", "-", "-g", "prod", stdin='[{"id": "x", "type": "start"}]')
        done("route", "rename", "support", "help", "-g", "prod")

        assert "name: support\nelements:\n  - id: s\n    type: start\n" == shown
        assert ["routes", "versions", "deployments"] == [
            p.rsplit("/", 1)[-1] for _, p, _ in management.changes[:3]
        ]
        [route] = management.kept("local/ai-gateway/gateways/prod/routes")
        assert ("help", "x") == (route["name"], route["elements"][0]["id"])
        assert "help" in done("route", "list", "-g", "prod")

        done("route", "delete", "help", "-g", "prod", "--yes")
        assert [] == management.kept("local/ai-gateway/gateways/prod/routes")

    def test_broken_file(self, management: FakeManagement, tmp_path: Path) -> None:
        """A file that is no YAML is told with its line."""
        (tmp_path / "r.yaml").write_text("elements:\n  - {id: s\n")
        result = headrace("route", "create", "x", "-f", str(tmp_path / "r.yaml"))

        assert (2, []) == (result.exit_code, management.requests)
        assert f"{tmp_path}/r.yaml:3:1: this is not YAML" in result.stderr


class TestProvider:
    """`headrace provider`."""

    def test_life_of_a_provider(self, management: FakeManagement) -> None:
        """It is made so that it may be called, changed by its slug, and deleted."""
        done("provider", "create", "acme", "--base-url", "https://llm.acme.example", "-H", "x-team: search")
        done("provider", "update", "custom-acme", "--disable")

        assert [True, {"enable": False}] == [management.changes[0][2]["enable"], management.changes[1][2]]
        assert {"x-team": "search"} == json.loads(management.changes[0][2]["headers"])
        assert "acme" in done("provider", "list")

        done("provider", "delete", "acme", "--yes")
        assert [] == management.kept("local/ai-gateway/custom-providers")

    def test_health(self, management: FakeManagement) -> None:
        """What is known is a line for each model and key."""
        known = {
            "provider": "openai", "model": "gpt", "key": "", "shared": True, "circuit": "half_open",
            "retry_after_ms": None, "success_rate": 0.25, "first_byte_ms": 310, "weight": 1.0,
            "successes": 1, "failures": 3, "refusals": 0,
        }  # fmt: skip
        unknown = dict.fromkeys(("success_rate", "first_byte_ms"))
        key = {
            **known,
            "model": "",
            "key": "id-7",
            "shared": False,
            "circuit": "open",
            "retry_after_ms": 4600,
        }
        management.things["accounts/local/ai-gateway/providers/health"] = [known, {**key, **unknown}]
        lines = done("provider", "health", "--provider", "openai").splitlines()

        assert ["openai", "gpt", "-", "operator", "half", "open", "25%", "310", "ms"] == lines[1].split()[:9]
        assert ["openai", "-", "id-7", "account", "open", "for", "5", "s", "-", "-"] == lines[2].split()[:10]
        assert ["openai"] == management.queries[-1]["provider"]


class TestCache:
    """`headrace cache`."""

    @pytest.mark.parametrize(
        ("arguments", "path", "query"),
        [
            ((), "local/ai-gateway", {}),
            (("--provider", "openai"), "local/ai-gateway", {"provider": ["openai"]}),
            (("prod",), "local/ai-gateway/gateways/prod", {}),
            (("prod", "--key", "mine"), "local/ai-gateway/gateways/prod", {"key": ["mine"]}),
        ],
    )
    def test_purge(
        self, management: FakeManagement, arguments: tuple[str, ...], path: str, query: dict[str, list[str]]
    ) -> None:
        """It forgets what is named, of a gateway or of all."""
        management.things[f"accounts/{path}"] = [{"id": "cache"}]
        done("cache", "purge", *arguments, "--yes")

        assert ("DELETE", query) == (management.requests[-1][0], management.queries[-1])
        assert [] == management.kept(path)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--key", "k"),
            ("prod", "--key", "k", "--provider", "openai"),
            ("prod", "--provider", "", "--yes"),
            ("prod", "--key", "", "--yes"),
            ("", "--yes"),
        ],
    )
    def test_a_purge_that_makes_no_sense(
        self, management: FakeManagement, arguments: tuple[str, ...]
    ) -> None:
        """Nothing is sent."""
        assert 2 == headrace("cache", "purge", *arguments).exit_code
        assert [] == management.requests


class TestAccount:
    """`headrace account`."""

    def test_life_of_an_account(self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is not named stays: the name, when only a switch is."""
        done("account", "create", "team-a", "--name", "Team A")
        done("account", "update", "team-a", "--unified")

        assert {"name": "Team A", "unified": True} == management.changes[-1][2]
        assert "Team A" in done("account", "list")

        asked: list[str] = []
        monkeypatch.setattr(account_command, "confirm", lambda question, **_: asked.append(question))
        done("account", "delete", "team-a", "--yes")
        lost = ("gateways", "routes", "keys", "custom providers", "tokens")
        assert [] == [what for what in lost if what not in asked[0]]
        assert ["local"] == [each["id"] for each in management.things["accounts"]]


class TestToken:
    """`headrace token`."""

    def test_create(self, management: FakeManagement) -> None:
        """The secret stands alone on standard output; everything that was said is sent."""
        result = headrace(
            "token", "create", "--name", "ci", "-p", "read", "-p", "edit", "--gateway", "prod",
            "--model", "openai/gpt", "--address", "192.0.2.0/24", "--forbid-address", "192.0.2.9",
            "--expires-in", "30d", "--disable",
        )  # fmt: skip

        [(method, path, body)] = management.changes
        assert ("POST", "accounts/local/tokens") == (method, path)
        assert {"gateways": ["prod"], "providers": [], "models": ["openai/gpt"]} == body["restrictions"]
        assert {"in": ["192.0.2.0/24"], "not_in": ["192.0.2.9"]} == body["condition"]["request_ip"]
        assert ("disabled", ["AI Gateway Read", "AI Gateway Write"]) == (
            body["status"], [group["name"] for group in body["policies"][0]["permission_groups"]],
        )  # fmt: skip
        assert (0, 1, True) == (
            result.exit_code,
            len(result.stdout.splitlines()),
            result.stdout.startswith("hr_token"),
        )
        assert "cannot be shown again" in result.stderr

    def test_run_unless_said_otherwise(self, management: FakeManagement) -> None:
        """A token is for requests, unless more is asked for."""
        report = json.loads(done("token", "create", "--name", "ci", "--json"))

        assert ["AI Gateway Run"] == [group["name"] for group in report["policies"][0]["permission_groups"]]
        assert report["value"].startswith("hr_token")

    def test_of_a_user(self, management: FakeManagement) -> None:
        """A user's token may be for several accounts; an account's is for one."""
        done(
            "token", "create", "--name", "x", "--user", "ann@example.com", "--account", "a", "--account", "b"
        )
        refused = headrace("token", "create", "--name", "x", "--account", "a", "--account", "b")

        [(_, path, body)] = management.changes
        assert ("user/tokens", ["ann@example.com"]) == (path, management.queries[0]["user_id"])
        assert ["com.cloudflare.api.account.a", "com.cloudflare.api.account.b"] == list(
            body["policies"][0]["resources"]
        )
        assert 2 == refused.exit_code

    def test_bad_duration(self, management: FakeManagement) -> None:
        """A duration that is none is refused before anything is made."""
        result = headrace("token", "create", "--name", "ci", "--expires-in", "soon")

        assert (2, []) == (result.exit_code, management.requests)
        assert "30d" in result.stderr

    def test_update_changes_what_is_named(self, management: FakeManagement) -> None:
        """Everything else is sent as it was."""
        secret = done("token", "create", "--name", "ci", "--gateway", "prod", "--provider", "openai").strip()
        done("token", "update", secret, "--disable", "--provider", "")

        _, path, body = management.changes[-1]
        assert f"accounts/local/tokens/{public_part(secret)}" == path
        assert ("ci", "disabled") == (body["name"], body["status"])
        assert {"gateways": ["prod"], "providers": [], "models": []} == body["restrictions"]

    def test_update_takes_times_away(self, management: FakeManagement) -> None:
        """An empty text means that there is no such time; what is not named stays."""
        start, name = "2026-01-01T00:00:00Z", "ci"
        secret = done("token", "create", "--name", name, "--expires-in", "30d", "--not-before", start).strip()
        done("token", "update", secret, "--expires-in", "")
        first = management.changes[-1][2]
        done("token", "update", secret, "--not-before", "")
        second = management.changes[-1][2]
        nothing = headrace("token", "update", secret, "--expires-in", "")

        assert (None, start, name) == (first["expires_on"], first["not_before"], first["name"])
        assert (None, None) == (second["expires_on"], second["not_before"])
        assert (2, True) == (nothing.exit_code, "nothing to change" in nothing.stderr)

    def test_list_roll_revoke_verify(self, management: FakeManagement) -> None:
        """Lists never hold secrets; a token is named by its id or by itself."""
        secret = done("token", "create", "--name", "ci").strip()
        listed = done("token", "list")
        rolled = done("token", "roll", secret, "--yes")

        assert (True, False) == ("ci" in listed, secret in listed)
        assert rolled.startswith("hr_rolledrolled_")
        assert "works" in done("token", "verify") or "active" in done("token", "verify")
        assert "operator" in done("token", "permissions")

        done("token", "revoke", secret)
        assert ["first"] == [each["name"] for each in management.kept("local/tokens")]

    @pytest.mark.parametrize("text", [TOKEN, "hr_ownownownown", "ownownownown", " ownownownown\n"])
    def test_public_part(self, text: str) -> None:
        """A token, its public part and its id all name it."""
        assert public_part(text) == "ownownownown"


class TestAudit:
    """`headrace audit`."""

    def test_list(self, management: FakeManagement) -> None:
        """It tells who did what, and which fields are others now."""
        entry = {
            "id": "1", "action": {"type": "update", "result": True}, "interface": "API",
            "when": "2026-01-01T00:00:00Z",
            "actor": {"id": "tok", "email": None, "ip": "192.0.2.7", "type": "user"},
            "owner": {"id": "local"},
            "metadata": {"token_name": "ci"}, "resource": {"id": "prod", "type": "gateway"},
            "oldValueJson": {"cache_ttl": 0, "zdr": False}, "newValueJson": {"cache_ttl": 5, "zdr": False},
        }  # fmt: skip
        management.things["accounts/local/audit_logs"] = [entry, {**entry, "id": "2"}]
        line = done("audit", "list", "-n", "1", "--type", "gateway").splitlines()

        assert 2 == len(line)
        assert ["2026-01-01T00:00:00Z", "ci", "192.0.2.7", "update", "gateway", "prod", "cache_ttl"] == line[
            1
        ].split()
        assert ["gateway"] == management.queries[0]["resource.type"]


def test_a_person_is_asked(management: FakeManagement, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a question is asked, and anything but yes is no."""
    from cli import output

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    with pytest.raises(SystemExit):
        output.confirm("Delete it?", yes=False)
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    output.confirm("Delete it?", yes=False)


def test_wrong_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that makes no sense is told, and nothing is asked."""
    with pytest.raises(SystemExit) as ended:
        connect(env={"HEADRACE_PORT": "x"})

    assert 2 == ended.value.code
