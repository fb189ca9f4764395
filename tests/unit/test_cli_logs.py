"""`headrace logs`: what it shows of the management API's logs, and how it follows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli import log_tail
from cli.__main__ import app
from cli.api import Api
from cli.log_tail import LogTail
from kit.secret import Secret
from tests.fakes.management import FakeManagement, running_management
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "hr_ownownownown_" + "s" * 43


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeManagement]:
    """A management API that the command line finds, with two gateways of one account."""
    with running_management() as running:
        monkeypatch.setenv("HEADRACE_URL", running.url)
        monkeypatch.setenv("HEADRACE_TOKEN", TOKEN)
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.delenv("HEADRACE_ACCOUNT", raising=False)
        add_gateway(running, "local", "default")
        add_gateway(running, "local", "search")
        yield running


def add_gateway(management: FakeManagement, account: str, gateway: str) -> None:
    """Make a gateway with an empty log."""
    management.things.setdefault(f"accounts/{account}/ai-gateway/gateways", []).append({"id": gateway})


def record(
    management: FakeManagement, *numbers: int, gateway: str = "default", account: str = "local", **other: Any
) -> None:
    """Record entries, which began in the order of their numbers, in the order that they are given in."""
    kept = management.things.setdefault(f"accounts/{account}/ai-gateway/gateways/{gateway}/logs", [])
    kept += [
        {
            "id": f"id-{number}", "created_at": f"2026-01-01T00:00:{number // 10:02}.{number % 10}00Z",
            "status_code": 200, "requested_model": "openai/gpt", "path": "/v1", "cached": False,
            "error_reason": "", "tokens_in": number, "tokens_out": None, "cost": None, "duration": 12,
            **other,
        }
        for number in numbers
    ]  # fmt: skip


def tail(*arguments: str) -> list[str]:
    """Run the command, which must succeed; give its lines."""
    result = CliRunner().invoke(app, ["logs", "tail", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.stdout).splitlines()


def opened(management: FakeManagement, *accounts: str, gateway: str = "", **options: Any) -> LogTail:
    """Give a tail of the logs."""
    return LogTail(Api(management.url, Secret(TOKEN)), accounts, gateway, **options)


def ids(entries: list[dict[str, Any]]) -> list[int]:
    """Give the numbers of entries."""
    return [int(entry["id"].removeprefix("id-")) for entry in entries]


def test_the_latest_of_all_gateways_come_oldest_first(management: FakeManagement) -> None:
    """Entries of several gateways are one list, and each tells its gateway."""
    record(management, 0, 2, 4)
    record(management, 1, 3, 5, gateway="search")
    heading, *lines = tail("-n", "3")

    assert [["search", "id-3"], ["default", "id-4"], ["search", "id-5"]] == [
        line.split()[-2:] for line in lines
    ]
    assert ["time", "status", "model", "tokens", "cost", "ms", "gateway", "id"] == heading.split()
    assert "2026-01-01 00:00:00.500  200    openai/gpt " in lines[-1]
    assert " 5+? " in lines[-1]


def test_one_gateway(management: FakeManagement) -> None:
    """With a gateway its own entries are shown, without its name; what went wrong stands at the end."""
    record(management, 0)
    record(
        management, 1, gateway="search", cost=0.25, tokens_out=7, cached=True, requested_model="",
        error_reason="UPSTREAM_TIMEOUT", status_code=0,
    )  # fmt: skip
    heading, line = tail("--gateway", "search")

    assert "gateway" not in heading
    assert ["-", "/v1", "1+7", "$0.250000", "12", "id-1", "cached", "UPSTREAM_TIMEOUT"] == line.split()[2:]
    assert not [path for _, path, _ in management.requests if path.endswith("gateways")]


def test_json(management: FakeManagement) -> None:
    """For machines each entry is a line of JSON, as the management API gives it, and says whose it is."""
    record(management, 1)
    [line] = tail("--json")
    entry = json.loads(line)

    assert ("local", "default", "openai/gpt", 1) == tuple(
        entry[name] for name in ("account_id", "gateway_id", "requested_model", "tokens_in")
    )


def test_nothing_recorded_nothing_shown(management: FakeManagement) -> None:
    """An empty log is no error, and -n 0 shows nothing."""
    assert [] == tail("--json")
    record(management, 1)
    assert [] == tail("--json", "-n", "0")


def test_more_than_a_page(management: FakeManagement) -> None:
    """As many as were asked for are shown, whatever the API's page."""
    record(management, *range(130))

    assert [f"id-{number}" for number in range(10, 130)] == [
        json.loads(line)["id"] for line in tail("--json", "-n", "120")
    ]


def test_which_accounts(management: FakeManagement) -> None:
    """Several accounts, or all that the token may see, are one list, and each entry tells whose it is."""
    management.things["accounts"].append({**management.things["accounts"][0], "id": "acme"})
    add_gateway(management, "acme", "default")
    record(management, 1)
    record(management, 2, account="acme")
    expected = ["local/default", "acme/default"]

    assert expected == [line.split()[-2] for line in tail("--all-accounts")[1:]]
    assert expected == [line.split()[-2] for line in tail("--account", "local", "--account", "acme")[1:]]
    assert ["acme"] == [line.split()[-2] for line in tail("--all-accounts", "--gateway", "default")[2:]]
    assert ["id-2"] == [line.split()[-1] for line in tail("--account", "acme")[1:]]


def test_one_account_or_all(management: FakeManagement) -> None:
    """Both at once make no sense."""
    result = CliRunner().invoke(app, ["logs", "tail", "--account", "a", "--all-accounts"])

    assert (2, []) == (result.exit_code, management.requests)


def test_a_gateway_that_is_not_there(management: FakeManagement) -> None:
    """A misspelt gateway is an error, not an empty log."""
    result = CliRunner().invoke(app, ["logs", "tail", "--gateway", "defualt"])

    assert (1, "headrace: Not Found\n") == (result.exit_code, result.stderr)


def test_not_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an installation the answer says how to start one."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEADRACE_PORT", str(free_port()))
    (tmp_path / "token").write_text(TOKEN)
    result = CliRunner().invoke(app, ["logs", "tail"])

    assert result.exit_code == 1
    assert "headrace up" in result.stderr


class TestFollowing:
    """What is recorded after the latest."""

    def test_late_ones_are_not_missed(self, management: FakeManagement) -> None:
        """An entry that is recorded late, of a request that began before others, is shown; each once."""
        record(management, 1, 5)
        log = opened(management, "local")
        shown = [ids(log.latest(10)), ids(log.newer()[0])]
        record(management, 3)
        record(management, 0, 6, gateway="search")
        shown += [ids(log.newer()[0]), ids(log.newer()[0])]

        assert [[1, 5], [], [0, 3, 6], []] == shown

    def test_from_now_on(self, management: FakeManagement) -> None:
        """Where none of the latest is wanted, what follows begins after them all the same."""
        record(management, 1, 2)
        log = opened(management, "local", gateway="default")
        latest = log.latest(0)
        record(management, 3)

        assert ([], [3]) == (latest, ids(log.newer()[0]))
        assert ["1"] == management.queries[0]["per_page"]

    def test_a_log_that_was_empty(self, management: FakeManagement) -> None:
        """The first page of a log is in the order of recording too: its end is where to go on from."""
        log = opened(management, "local", gateway="default")
        assert [] == log.latest(10)
        record(management, *range(60, 120), *range(60))
        first, more = log.newer()
        second, still_more = log.newer()
        third, no_more = log.newer()

        assert sorted([*ids(first), *ids(second), *ids(third)]) == [*range(120)]
        assert (True, True, False) == (more, still_more, no_more)

    def test_the_last_one_is_deleted(self, management: FakeManagement) -> None:
        """When the place is lost the log is read anew, and what was shown is not shown again."""
        record(management, 1, 2, 3)
        log = opened(management, "local")
        assert [1, 2, 3] == ids(log.latest(10))
        kept = management.things["accounts/local/ai-gateway/gateways/default/logs"]
        del kept[-1]
        record(management, 4)

        assert [4] == ids(log.newer()[0])

    def test_what_is_known_is_bounded(
        self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A command that runs for weeks does not remember every entry."""
        monkeypatch.setattr(log_tail, "_MOST_KNOWN", 10)
        log = opened(management, "local")
        record(management, *range(45))
        log.newer()

        assert [f"id-{number}" for number in range(35, 45)] == [*log._known]

    def test_an_edge_that_cannot_follow(
        self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the page stays the same, nothing is shown twice and nobody is asked without a pause."""
        record(management, *range(60))
        log = opened(management, "local", gateway="default")
        log.latest(1)
        page = management.kept("local/ai-gateway/gateways/default/logs")[:50]
        monkeypatch.setattr(management, "listed_log", lambda *_: (200, page))
        log.newer()

        assert ([], False) == log.newer()

    def test_gateways_come_and_go(self, management: FakeManagement) -> None:
        """A new gateway is found after a while, with all its entries; one that is deleted is let go."""
        now = [100.0]
        log = opened(management, "local", clock=lambda: now[0])
        log.latest(10)
        management.things["accounts/local/ai-gateway/gateways"].pop()
        add_gateway(management, "local", "new")
        record(management, 1, gateway="new")
        before = ids(log.newer()[0])
        now[0] += 10

        assert ([], [1]) == (before, ids(log.newer()[0]))

    def test_the_first_gateway_is_found_at_once(self, management: FakeManagement) -> None:
        """A new installation has no gateway until its first request, which is shown without a wait."""
        management.things["accounts/local/ai-gateway/gateways"].clear()
        log = opened(management, "local", clock=lambda: 100.0)
        assert [] == log.latest(10)
        add_gateway(management, "local", "default")
        record(management, 1)

        assert [1] == ids(log.newer()[0])

    def test_the_command_goes_on_until_it_is_stopped(
        self, management: FakeManagement, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Entries are printed as they come; Ctrl-C ends it with the status that shells expect."""
        record(management, 1)
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                raise KeyboardInterrupt
            record(management, len(waits) + 1)

        monkeypatch.setattr("cli.logs_command.time.sleep", sleep)
        result = CliRunner().invoke(app, ["logs", "tail", "-f", "--json"])

        assert 130 == result.exit_code
        assert ["id-1", "id-2", "id-3"] == [json.loads(line)["id"] for line in result.stdout.splitlines()]
