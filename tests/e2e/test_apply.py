"""`headrace apply` and `headrace export` against a running installation."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.topologies import TOPOLOGIES, one_topology
from tests.fakes.stack import ROOT, Setup, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Topology

topology = one_topology

WHOLE = """\
version: 1
accounts:
  - id: {account}
    name: Applied
    providers:
      - slug: acme
        base_url: https://llm.acme.example/v1
        description: Ours
        headers: {{X-Team: search}}
    gateways:
      - id: production
        cache_ttl: 300
        authentication: true
        retry_max_attempts: 3
        total_timeout: 60000
        guardrails:
          prompt: {{S1: BLOCK}}
          response: {{}}
        dlp: {{enabled: true, action: FLAG, profiles: [one]}}
        otel:
          - {{url: "https://otel.example/v1/traces", headers: {{x-team: search}}, authorization: otel-key}}
        spend_limits:
          enabled: true
          rules:
            - {{limitType: cost, limit: 10, window: 3600, metadata: {{user: {{mode: partition}}}}}}
        keys:
          - {{provider: openai, secret: {{env: OPENAI_KEY}}}}
          - {{provider: openai, secret: {{env: OPENAI_KEY_2}}, weight: 3, rate_limit: 100}}
          - {{provider: custom-acme, alias: b, secret: {{env: ACME_KEY}}}}
        routes:
          - name: support
            elements:
              - {{id: s, type: start, outputs: {{next: {{elementId: m}}}}}}
              - id: m
                type: model
                properties: {{provider: custom-acme, model: large, timeout: 10000, retries: 2}}
                outputs: {{success: {{elementId: e}}}}
              - {{id: e, type: end, outputs: {{}}}}
      - id: staging
        log_management: 20000
    tokens:
      - name: app
        permissions: [run, read]
        gateways: [production]
        models: [openai/gpt-4o]
        addresses: [127.0.0.0/8, "::1"]
        expires_on: 2090-01-01T00:00:00Z
        write_to: app.token
"""
KEYS = {
    "OPENAI_KEY": "sk-first-0123456789",
    "OPENAI_KEY_2": "sk-second-0123456789",
    "ACME_KEY": "acme-0123456789",
    "PRODUCTION_OPENAI_KEY": "sk-first-0123456789",
    "PRODUCTION_OPENAI_KEY_2": "sk-second-0123456789",
    "PRODUCTION_CUSTOM_ACME_B_KEY": "acme-0123456789",
}


class Headrace:
    """The command line beside a stack, and an account of the test's own."""

    def __init__(self, stack: Stack, directory: Path, account: str) -> None:
        self.stack = stack
        self.account = account
        self.path = directory / "headrace.yaml"

    def run(self, *arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command that ends with a status."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env={**self.stack.environment(), **KEYS, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert status == done.returncode, done.stdout + done.stderr
        return done

    def apply(
        self, text: str, *options: str, status: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Apply a text."""
        self.path.write_text(text)
        return self.run("apply", "-f", str(self.path), *options, status=status, **env)

    def audited(self) -> int:
        """Count the changes that the audit log has."""
        done = self.run("audit", "list", "--json", "-n", "1000", "--account", self.account)
        return len(json.loads(done.stdout))


@pytest.fixture
def headrace(stack: Stack, topology: Topology, tmp_path: Path, request: pytest.FixtureRequest) -> Headrace:
    """Give the command line beside the shared stack."""
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")
    return Headrace(stack, tmp_path, f"{name}-{topology}")


def test_applying_twice(headrace: Headrace) -> None:
    """The second time nothing is changed, as the audit log shows; what is another then is changed alone."""
    text = WHOLE.format(account=headrace.account)
    first = headrace.apply(text)
    made = headrace.audited()
    second = headrace.apply(text)

    assert "9 to create" in first.stdout
    assert "Nothing to change." in second.stdout
    assert made == headrace.audited()

    token = (headrace.path.parent / "app.token").read_text().strip()
    verified = headrace.run("token", "verify", "--account", headrace.account, HEADRACE_TOKEN=token)
    assert "is active" in verified.stdout

    # The same last four characters.
    changed = headrace.apply(
        text.replace("cache_ttl: 300", "cache_ttl: 60"), OPENAI_KEY="sk-other-0123456789"
    )
    assert "cache_ttl: 300 → 60" in changed.stdout
    assert "2 to change; 7 as it is to be." in changed.stdout
    assert made + 2 == headrace.audited()
    assert not any(
        key in f"{each.stdout}{each.stderr}" for key in KEYS.values() for each in (first, second, changed)
    )


def test_a_broken_file_changes_nothing(headrace: Headrace) -> None:
    """Whatever else it holds; every mistake is told with its line, whoever it takes to find it."""
    text = WHOLE.format(account=headrace.account)
    headrace.apply(text)
    gone = f"{headrace.account}-gone"
    headrace.run("account", "create", gone)
    headrace.run("account", "delete", gone, "--yes")
    narrow = headrace.run(
        "token", "create", "--name", "narrow", "-p", "read", "-p", "edit", "--gateway", "production",
        "--account", headrace.account,
    )  # fmt: skip
    made = headrace.audited()
    text = text.replace("id: staging", "id: other")
    in_the_file = headrace.apply(
        text.replace("cache_ttl: 300", "cache_ttl: many").replace(
            "log_management: 20000", "log_management: 1"
        ),
        status=2,
    )
    of_the_installation = headrace.apply(
        text.replace("alias: b, secret: {env: ACME_KEY}", "alias: b, ref: vault:a#b")
        .replace("provider: custom-acme", "provider: custom-nobody")
        .replace("name: app", "name: new")
        .replace("2090-01-01", "2020-01-01")
        + f"  - id: {headrace.account}-fresh\n  - id: {gone}\n",
        status=2,
    )
    of_the_token = headrace.apply(text, status=2, HEADRACE_TOKEN=narrow.stdout.strip())

    assert made == headrace.audited()
    assert ["12:20", "40:25"] == [place for place, _ in mistakes(headrace, in_the_file)]
    nobody = f"there is no provider custom-nobody in the account {headrace.account}"
    assert [
        ("29:24", nobody),
        ("29:54", "this installation knows no Vault: the operator sets HEADRACE_AUTH_VAULT_ADDRESS"),
        ("36:40", nobody),
        ("47:21", "the token new: the expiry is in the past"),
        ("50:9", f"the id {gone} was that of an account that is deleted, and is not used again"),
    ] == mistakes(headrace, of_the_installation)
    [(place, told)] = mistakes(headrace, of_the_token)
    assert ("39:13", True) == (place, told.startswith("the gateway other cannot be created: this token may"))


def mistakes(headrace: Headrace, done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """Give what is told of a file, each with its line and column."""
    *lines, last = done.stderr.splitlines()
    assert last.endswith("nothing was changed."), done.stderr
    parts = (line.removeprefix(f"{headrace.path}:").partition(": ") for line in lines)
    return [(place, text) for place, _, text in parts]


def test_the_gateway_that_makes_itself(headrace: Headrace) -> None:
    """Looking at what there is does not make it; it becomes what the file says, and stays so."""
    text = f"""\
version: 1
accounts:
  - id: {headrace.account}
    name: Some
    gateways:
      - id: default
        cache_ttl: 300
        rate_limits: {{enabled: true, rules: [{{limitType: tokens, limit: 10, window: 60}}]}}
        keys: [{{provider: openai, secret: {{env: OPENAI_KEY}}}}]
"""
    headrace.apply(text[: text.index("    gateways:")])
    headrace.apply(text, "--dry-run")
    first, again = headrace.apply(text), headrace.apply(text)

    assert "+ gateway default" in first.stdout
    assert "Nothing to change." in again.stdout


def test_pruning(headrace: Headrace) -> None:
    """What the lists of a file leave out is deleted when that is asked for, and only then."""
    text = WHOLE.format(account=headrace.account)
    headrace.apply(text)
    less = text[: text.index("      - id: staging")] + text[text.index("    tokens:") :]
    less = less[: less.index("    tokens:")]
    less = less.replace("          - {provider: openai, secret: {env: OPENAI_KEY}}\n", "")

    assert "Nothing to change." in headrace.apply(less).stdout
    headrace.apply(less, "--prune", status=2)
    done = headrace.apply(less, "--prune", "--yes")

    assert "2 to delete" in done.stdout
    gateways = json.loads(headrace.run("gateway", "list", "--json", "--account", headrace.account).stdout)
    keys = json.loads(
        headrace.run("key", "list", "-g", "production", "--json", "--account", headrace.account).stdout
    )
    tokens = json.loads(headrace.run("token", "list", "--json", "--account", headrace.account).stdout)
    assert ["production"] == [each["id"] for each in gateways]
    assert [("custom-acme", 1), ("openai", 3)] == sorted(
        (each["provider_slug"], each["weight"]) for each in keys
    )
    assert ["app"] == [each["name"] for each in tokens]


def test_what_is_exported_makes_another_like_it(headrace: Headrace) -> None:
    """An export holds no secret, changes nothing where it came from, and makes another account the same."""
    headrace.apply(WHOLE.format(account=headrace.account))
    exported = headrace.run("export", "--account", headrace.account).stdout
    other = f"{headrace.account}-copy"
    again = headrace.apply(exported, "--prune", "--dry-run", "--exit-code")
    headrace.apply(exported, "--account", other)
    copied = headrace.run("export", "--account", other).stdout

    assert "Nothing to change." in again.stdout
    assert not any(key in exported for key in KEYS.values())
    assert exported.replace(f"id: {headrace.account}\n", f"id: {other}\n") == copied


@pytest.fixture
def watching(upstreams: Upstreams, tmp_path: Path) -> Iterator[tuple[Stack, Path]]:
    """Run a stack that watches a file."""
    path = tmp_path / "headrace.yaml"
    path.write_text("version: 1\naccounts:\n  - gateways:\n      - id: watched\n        cache_ttl: 60\n")
    # The operator's own provider, which every account may name.
    env = {**upstreams.environment(), "HEADRACE_PROVIDER_CUSTOM_OPS_BASE_URL": "https://ops.example/v1"}
    setup = Setup(topology=TOPOLOGIES[1], envoy=False, env=env, files=(path,))
    stack = Stack(setup, tmp_path / "stack")
    try:
        stack.start()
        yield stack, path
    finally:
        stopped = stack.stop()
    stopped.assert_clean()


async def test_up_watches_a_file(watching: tuple[Stack, Path]) -> None:
    """It is applied when ready and when it changes; a broken edit is told, and nothing stops."""
    stack, path = watching

    async def told(line: str) -> None:
        await asyncio.to_thread(stack.wait_for_line, line, timeout_s=30)

    def gateway() -> Any:
        return json.loads(stack.cli("gateway", "get", "watched", "--json"))

    await told("the files are applied: 1 changed")
    assert 60 == gateway()["cache_ttl"]

    path.write_text(path.read_text().replace("cache_ttl: 60", "cache_ttl: soon"))
    await told(f"{path}:5:20: accounts.0.gateways.0.cache_ttl: input should be a valid integer")
    await told("nothing was changed")
    assert 60 == gateway()["cache_ttl"]

    text = path.read_text().replace("cache_ttl: soon", "cache_ttl: 120")
    path.write_text(
        f"{text}    tokens: [{{name: a, providers: [custom-nobody, custom-ops], write_to: a.token}}]\n"
    )
    await told(f"{path}:6:36: there is no provider custom-nobody in the account")
    await told("nothing was changed")
    assert 60 == gateway()["cache_ttl"]

    path.write_text(path.read_text().replace("custom-nobody, ", ""))
    await told("cache_ttl: 60 → 120")
    await told('"event":"gateway changed"')
    assert (120, True) == (gateway()["cache_ttl"], stack.is_ready())
