"""`headrace apply`: what it sends, what it says, and that a mistake sends nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from tests.fakes.management import OWN_TOKEN, FakeManagement, running_management

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHOLE = """\
version: 1
accounts:
  - id: local
    providers:
      - slug: acme
        base_url: https://llm.acme.example/v1
        headers: {x-team: search}
    gateways:
      - id: production
        cache_ttl: 300
        authentication: true
        spend_limits:
          enabled: true
          rules:
            - {limitType: cost, limit: 10, window: 3600}
        keys:
          - provider: openai
            secret: {env: OPENAI_KEY}
          - provider: anthropic
            ref: vault:anthropic#api_key
            weight: 3
        routes:
          - name: support
            elements:
              - {id: s, type: start, outputs: {next: {elementId: m}}}
              - id: m
                type: model
                properties: {provider: openai, model: gpt-4o-mini, timeout: 10000, retries: 2}
                outputs: {success: {elementId: e}}
              - {id: e, type: end, outputs: {}}
    tokens:
      - name: app
        permissions: [run]
        gateways: [production]
        expires_on: 2031-01-01T00:00:00Z
        write_to: app.token
  - id: team-a
    name: Team A
    gateways:
      - id: production
"""


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeManagement]:
    """A management API that the command line finds."""
    with running_management() as running:
        monkeypatch.setenv("HEADRACE_URL", running.url)
        monkeypatch.setenv("HEADRACE_TOKEN", "hr_ownownownown_" + "s" * 43)
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("OPENAI_KEY", "sk-first-key-0001")
        yield running


class Files:
    """A manifest in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "headrace.yaml"

    def apply(self, text: str, *options: str) -> Any:
        """Apply a text."""
        self.path.write_text(text)
        return CliRunner().invoke(app, ["apply", "-f", str(self.path), *options])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A place for a manifest."""
    return Files(tmp_path)


class TestApply:
    """Making an installation what a file says."""

    def test_everything_is_made_in_order(self, management: FakeManagement, files: Files) -> None:
        """Accounts come first, then providers, gateways, what is in them, and tokens."""
        result = files.apply(WHOLE)

        assert (0, "") == (result.exit_code, "" if result.exit_code == 0 else result.output)
        assert [
            "accounts", "custom-providers", "gateways", "gateways", "provider_configs", "provider_configs",
            "routes", "tokens",
        ] == [path.rsplit("/", 1)[-1] for method, path, _ in management.changes]  # fmt: skip
        assert {"local", "team-a"} == {each["id"] for each in management.things["accounts"]}
        assert "8 to create; 1 as it is to be." in result.stdout

    def test_twice_changes_nothing(self, management: FakeManagement, files: Files) -> None:
        """What is as the file says is left alone."""
        files.apply(WHOLE)
        made = len(management.changes)
        result = files.apply(WHOLE)

        assert (0, made) == (result.exit_code, len(management.changes))
        assert "Nothing to change." in result.stdout

    def test_what_changed_is_shown_and_made(self, management: FakeManagement, files: Files) -> None:
        """A field that is another now is told with both values, and only its thing is sent."""
        files.apply(WHOLE)
        made = len(management.changes)
        result = files.apply(
            WHOLE.replace("cache_ttl: 300", "cache_ttl: 60").replace("gpt-4o-mini", "gpt-4o")
        )

        assert ["gateways/production", "versions", "deployments"] == [
            path.split("ai-gateway/")[-1] if path.endswith("production") else path.rsplit("/", 1)[-1]
            for _, path, _ in management.changes[made:]
        ]
        assert "  ~ gateway production\n      cache_ttl: 300 → 60\n" in result.stdout
        assert "~ elements.m.properties.model: gpt-4o-mini → gpt-4o" in result.stdout

    def test_the_gateway_that_makes_itself(self, management: FakeManagement, files: Files) -> None:
        """It is replaced even when it is not there yet: it may come to be at any moment."""
        files.apply(WHOLE.replace("production", "default"))

        assert [("PUT", "accounts/local/ai-gateway/gateways/default")] == [
            (method, path)
            for method, path, _ in management.changes
            if path.endswith("local/ai-gateway/gateways/default")
        ]
        assert "Nothing to change." in files.apply(WHOLE.replace("production", "default")).stdout

    def test_limits_of_rates(self, management: FakeManagement, files: Files) -> None:
        """They are compared as they are kept, with what they leave out filled in."""
        limits = "rate_limits: {enabled: true, rules: [{limitType: tokens, limit: 10, window: 60}]}"
        text = WHOLE.replace("cache_ttl: 300", limits)
        files.apply(text)

        assert "Nothing to change." in files.apply(text).stdout

    def test_what_is_left_out_has_its_default(self, management: FakeManagement, files: Files) -> None:
        """A gateway is what the file says, and nothing of what it was."""
        files.apply(WHOLE)
        files.apply(WHOLE.replace("        cache_ttl: 300\n", ""))

        assert 0 == management.kept("local/ai-gateway/gateways")[0]["cache_ttl"]

    def test_rotated_secret(
        self, management: FakeManagement, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A key that is another now is sent, even if it ends as the other did; it is never shown."""
        files.apply(WHOLE)
        made = len(management.changes)
        monkeypatch.setenv("OPENAI_KEY", "sk-other-key-0001")
        result = files.apply(WHOLE)

        [(method, _, body)] = management.changes[made:]
        assert ("PUT", "sk-other-key-0001") == (method, body["secret"])
        assert "~ key production openai/default" in result.stdout
        assert "sk-" not in result.output

    def test_secrets_are_never_shown(self, management: FakeManagement, files: Files) -> None:
        """Neither people nor scripts are told a key; a token goes to its file, for its owner alone."""
        for options in ([], ["--dry-run"], ["--json"], ["--dry-run", "--json"]):
            assert "sk-first" not in files.apply(WHOLE, *options).output

        token = files.directory / "app.token"
        assert token.read_text().startswith("hr_token")
        assert 0o600 == token.stat().st_mode & 0o777

    def test_new_token_needs_a_place(self, management: FakeManagement, files: Files) -> None:
        """A token whose secret would be lost is not made, unless it may be shown."""
        text = WHOLE.replace("        write_to: app.token\n", "")
        refused = files.apply(text)

        assert (2, []) == (refused.exit_code, management.changes)
        assert f"{files.path}:32:15: the token app is new" in refused.stderr

        shown = files.apply(text, "--show-secrets")
        assert shown.stdout.splitlines()[-1].startswith("hr_token")

    def test_dry_run(self, management: FakeManagement, files: Files) -> None:
        """It shows what would be done and changes nothing; its status may say whether that is anything."""
        plain, coded = files.apply(WHOLE, "--dry-run"), files.apply(WHOLE, "--dry-run", "--exit-code")

        assert (0, 3, []) == (plain.exit_code, coded.exit_code, management.changes)
        assert "+ gateway production" in plain.stdout

        files.apply(WHOLE)
        assert 0 == files.apply(WHOLE, "--dry-run", "--exit-code").exit_code

    def test_json(self, management: FakeManagement, files: Files) -> None:
        """For scripts there is one object, with every change."""
        report = json.loads(files.apply(WHOLE, "--json").stdout)

        assert (True, 8, 1) == (report["applied"], len(report["changes"]), report["unchanged"])
        assert all(change["done"] for change in report["changes"])

    def test_other_account(self, management: FakeManagement, files: Files) -> None:
        """With --account a file of one account goes there; one of several is refused."""
        one = WHOLE[: WHOLE.index("  - id: team-a")]
        assert 0 == files.apply(one, "--account", "elsewhere").exit_code
        assert ["production"] == [each["id"] for each in management.kept("elsewhere/ai-gateway/gateways")]

        several = files.apply(WHOLE, "--account", "elsewhere")
        assert (2, True) == (several.exit_code, "files of one account" in several.stderr)

    def test_standard_input_and_directories(self, management: FakeManagement, files: Files) -> None:
        """A file may come in on standard input, and many in a directory."""
        given = CliRunner().invoke(
            app, ["apply", "-f", "-"], input="version: 1\naccounts: [{gateways: [{id: a}]}]"
        )
        (files.directory / "x").mkdir()
        for name in ("b", "c"):
            (files.directory / "x" / f"{name}.yaml").write_text(
                f"version: 1\naccounts: [{{gateways: [{{id: {name}}}]}}]"
            )
        inside = CliRunner().invoke(app, ["apply", "-f", str(files.directory / "x")])

        assert (0, 0) == (given.exit_code, inside.exit_code)
        assert ["a", "b", "c"] == [each["id"] for each in management.kept("local/ai-gateway/gateways")]


class TestPrune:
    """Deleting what a file does not have."""

    LESS = """\
version: 1
accounts:
  - id: local
    gateways:
      - id: production
        keys: []
    tokens: []
"""

    def prepare(self, management: FakeManagement, files: Files) -> int:
        """Fill an installation, and say how many changes that took."""
        files.apply(WHOLE)
        gateways = management.kept("local/ai-gateway/gateways")
        gateways += [{**gateways[0], "id": "old"}, {**gateways[0], "id": "default", "is_default": True}]
        return len(management.changes)

    def test_not_without_being_told(self, management: FakeManagement, files: Files) -> None:
        """Nothing is deleted unless --prune is said."""
        made = self.prepare(management, files)
        files.apply(self.LESS)

        assert "DELETE" not in [method for method, _, _ in management.changes[made:]]

    def test_asks_a_program_for_yes(self, management: FakeManagement, files: Files) -> None:
        """Without a person to ask, a deletion needs --yes."""
        made = self.prepare(management, files)
        result = files.apply(self.LESS, "--prune")

        assert (2, made) == (result.exit_code, len(management.changes))
        assert "gateway old" in result.stderr

    def test_only_what_lists_leave_out(self, management: FakeManagement, files: Files) -> None:
        """A list that stands in the file is whole; others are not looked at; some things always stay."""
        made = self.prepare(management, files)
        result = files.apply(self.LESS, "--prune", "--yes")
        deleted = [
            path.split("/", 2)[-1] for method, path, _ in management.changes[made:] if method == "DELETE"
        ]

        assert 0 == result.exit_code
        assert ["ai-gateway/gateways/old"] == deleted[-1:]
        assert {"production", "default"} == {
            each["id"] for each in management.kept("local/ai-gateway/gateways")
        }
        assert 2 == len([path for path in deleted if "provider_configs" in path])
        assert not [
            path for path in deleted if "routes" in path or "custom-providers" in path or "tokens" in path
        ]

    def test_tokens_when_told(self, management: FakeManagement, files: Files) -> None:
        """Tokens go only when that is said too, and never an operator's or the one that asks."""
        self.prepare(management, files)
        files.apply(self.LESS, "--prune", "--prune-tokens", "--yes")

        assert [OWN_TOKEN] == [each["id"] for each in management.kept("local/tokens")]


class TestMistakes:
    """A file that is wrong."""

    @pytest.mark.parametrize(
        ("old", "new", "line", "text"),
        [
            ("version: 1", "version: 2", 1, "version: input should be 1"),
            (
                "    gateways:\n      - id: production\n        cache_ttl",
                "    gateway:\n      - id: p\n        cache_ttl",
                8,
                "there is no such field",
            ),
            ("cache_ttl: 300", "cache_ttl: -1", 10, "greater than or equal to 0"),
            ("cache_ttl: 300", "cache_ttl: 300\n        cache_ttl: 3", 11, "stands here already, in line 10"),
            ("cache_ttl: 300", "cache_ttl: '300'", 10, "valid integer"),
            ("limit: 10,", "limit: 0,", 15, "greater than 0"),
            ("OPENAI_KEY", "NOT_SET", 18, "the variable NOT_SET is not set"),
            ("{env: OPENAI_KEY}", "{file: none}", 18, "cannot be read"),
            ("{env: OPENAI_KEY}", "sk-in-the-file-itself", 18, "valid dictionary"),
            ("provider: anthropic", "provider: antropic", 19, "there is no provider antropic"),
            ("ref: vault:anthropic#api_key", "alias: x", 19, "exactly one of secret and ref"),
            ("elementId: e", "elementId: x", 29, "there is no element of this id"),
            ("gateways: [production]", "gateways: [prod]", 34, "there is no gateway prod"),
            ("permissions: [run]", "permissions: [fly]", 33, "input should be 'run'"),
            ("write_to: app.token", "write_to: no/where", 36, "there is no directory"),
            ("write_to: app.token", "write_to: .", 36, "is a directory"),
            (
                "        write_to: app.token\n",
                "        write_to: app.token\n      - name: again\n        write_to: app.token\n",
                38,
                "another token is written to",
            ),
            (
                "- id: team-a",
                "- id: team-a\n    name: A\n  - id: team-a",
                39,
                "the account team-a stands already",
            ),
            ("base_url: https:", "base_url: http:", 6, "string should match"),
            ("x-team: search", "host: search", 7, "cannot be set"),
            ("accounts:", "accounts: [", 3, "this is not YAML"),
        ],
    )
    def test_is_told_with_its_line(
        self, management: FakeManagement, files: Files, old: str, new: str, line: int, text: str
    ) -> None:
        """Whatever is wrong is told with file, line and column; nothing is sent that changes anything."""
        assert old in WHOLE
        result = files.apply(WHOLE.replace(old, new, 1))

        assert (2, []) == (result.exit_code, management.changes)
        told = [each for each in result.stderr.splitlines() if each.startswith(f"{files.path}:{line}:")]
        assert told, result.stderr
        assert text in " ".join(told)
        assert "nothing was changed" in result.stderr

    @pytest.mark.parametrize(
        ("target", "text"),
        [("headrace.yaml", "is one of these files"), ("key.txt", "a key is read from"), ("link", "a key is")],
    )
    def test_a_token_in_the_place_of_what_is_read(
        self, management: FakeManagement, files: Files, target: str, text: str
    ) -> None:
        """A new token never takes the place of the file itself, or of a key, whatever they are called."""
        (files.directory / "key.txt").write_text("sk-1")
        (files.directory / "link").symlink_to(files.directory / "key.txt")
        whole = WHOLE.replace("{env: OPENAI_KEY}", "{file: ./key.txt}").replace("app.token", target)
        result = files.apply(whole)

        assert (2, []) == (result.exit_code, management.changes)
        assert f"{files.path}:36:19: accounts.0.tokens.0.write_to: " in result.stderr
        assert text in result.stderr

    def test_the_same_place_in_two_files(self, management: FakeManagement, files: Files) -> None:
        """Tokens of two files do not take each other's place either."""
        other = files.directory / "other.yaml"
        other.write_text("version: 1\naccounts: [{tokens: [{name: b, write_to: app.token}]}]\n")
        result = files.apply(WHOLE, "-f", str(other))

        assert (2, []) == (result.exit_code, management.changes)
        assert f"{other}:2:42: accounts.0.tokens.0.write_to: another token is written to" in result.stderr

    def test_nothing_is_even_asked(self, management: FakeManagement, files: Files) -> None:
        """A mistake that the file shows by itself is told without a single call."""
        files.apply(WHOLE.replace("cache_ttl: 300", "cache_ttl: -1"))

        assert [] == management.requests

    def test_all_at_once(self, management: FakeManagement, files: Files) -> None:
        """Every mistake is told, in the order of the file."""
        text = WHOLE.replace("cache_ttl: 300", "cache_ttl: -1\n        nope: 1").replace(
            "limit: 10,", "limit: 0,"
        )
        lines = [line for line in files.apply(text).stderr.splitlines() if line.startswith(str(files.path))]

        assert [10, 11, 16] == [int(line.removeprefix(str(files.path)).split(":")[1]) for line in lines]

    def test_the_same_thing_twice(self, management: FakeManagement, files: Files) -> None:
        """A name that stands twice is told with both places, in one file or in two."""
        text = "version: 1\naccounts:\n  - gateways:\n      - id: a\n      - id: a\n"
        once = files.apply(text)
        other = files.directory / "other.yaml"
        other.write_text("version: 1\naccounts:\n  - gateways:\n      - id: a\n")
        text = text.replace("      - id: a\n", "", 1)
        twice = files.apply(text, "-f", str(other))

        assert f"{files.path}:5:13: the gateway a stands already at {files.path}:4:13" in once.stderr
        assert f"{other}:4:13: the gateway a stands already at {files.path}:4:13" in twice.stderr
        assert [] == management.changes

    def test_json(self, management: FakeManagement, files: Files) -> None:
        """Scripts get the places too."""
        report = json.loads(files.apply("version: 1\n", "--json").stdout)

        assert (1, "accounts is missing here") == (
            report["problems"][0]["line"],
            report["problems"][0]["message"],
        )

    def test_refused_half_way(self, management: FakeManagement, files: Files) -> None:
        """What was made and what was not is told; applying again goes on from there."""
        management.refuse["POST accounts/local/ai-gateway/gateways/production/routes"] = (
            400,
            "no such luck",
            ["body"],
        )
        result = files.apply(WHOLE)

        assert 1 == result.exit_code
        assert (
            f"route production support ({files.path}:23:19) could not be created: no such luck"
            in result.stderr
        )
        assert "6 of 8 changes are made. Not made:" in result.stderr
        assert "create token app" in result.stderr

        management.refuse.clear()
        made = len(management.changes)
        assert 0 == files.apply(WHOLE).exit_code
        assert ["routes", "tokens"] == [path.rsplit("/", 1)[-1] for _, path, _ in management.changes[made:]]

    def test_ambiguous_token(self, management: FakeManagement, files: Files) -> None:
        """Two tokens of one name cannot be told apart, which is said before anything is changed."""
        files.apply(WHOLE)
        tokens = management.kept("local/tokens")
        tokens.append({**tokens[-1], "id": "another"})
        made = len(management.changes)
        result = files.apply(WHOLE)

        assert (2, made) == (result.exit_code, len(management.changes))
        assert "there are 2 tokens app" in result.stderr


class TestExport:
    """An installation as a file."""

    def test_applies_elsewhere(
        self, management: FakeManagement, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is exported makes another account like it, then changes nothing there, and holds no secret."""
        files.apply(WHOLE)
        exported = CliRunner().invoke(app, ["export"])
        monkeypatch.setenv("PRODUCTION_OPENAI_KEY", "sk-first-key-0001")
        copied = files.apply(exported.stdout, "--account", "copy")
        again = files.apply(exported.stdout, "--account", "copy")

        assert (0, 0, 0) == (exported.exit_code, copied.exit_code, again.exit_code), copied.output
        assert "Nothing to change." in again.stdout
        assert "sk-first" not in exported.output
        assert "operator's token first is left out" in exported.stderr
        assert management.kept("copy/ai-gateway/gateways") == [
            each for each in management.kept("local/ai-gateway/gateways") if each["id"] == "production"
        ]

    def test_is_as_it_is(
        self, management: FakeManagement, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Applying an export where it came from changes nothing."""
        files.apply(WHOLE)
        exported = CliRunner().invoke(app, ["export", "--all"]).stdout
        monkeypatch.setenv("PRODUCTION_OPENAI_KEY", "sk-first-key-0001")
        result = files.apply(exported, "--dry-run", "--exit-code", "--prune")

        assert (0, "Nothing to change.\n") == (result.exit_code, result.stdout)


def test_pool(management: FakeManagement, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of a pool are told apart by what they are, so that one can go and the others stay."""
    pool = """\
version: 1
accounts:
  - gateways:
      - id: a
        keys:
          - {provider: openai, secret: {env: ONE}}
          - {provider: openai, secret: {env: TWO}}
          - {provider: openai, secret: {env: THREE}}
"""
    for name in ("ONE", "TWO", "THREE"):
        monkeypatch.setenv(name, f"sk-{name}-0123456789")
    files.apply(pool)
    made = len(management.changes)
    files.apply(pool.replace("          - {provider: openai, secret: {env: TWO}}\n", ""), "--prune", "--yes")

    keys = [each["id"] for each in management.kept("local/ai-gateway/gateways/a/provider_configs")]
    assert [("DELETE", True)] == [(m, "provider_configs" in p) for m, p, _ in management.changes[made:]]
    assert 2 == len(keys)
    assert (
        "Nothing to change."
        in files.apply(
            pool.replace("TWO", "ONE", 1)
            .replace("ONE", "THREE", 1)
            .replace("          - {provider: openai, secret: {env: THREE}}\n", "", 1)
        ).stdout
    )
