"""The load and the bookkeeping themselves, against a whole Headrace on this machine, without a rehearsal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import aiohttp
import orjson
import pytest

from tests.fakes.stack import ROOT, Setup, Stack
from tests.fakes.valkey_server import Server
from tests.rehearsal.asking import Question
from tests.rehearsal.bookkeeping import Books, Management, balance
from tests.rehearsal.outcome import Got, judge, read_outcomes
from tests.rehearsal.upstream import Served, UpstreamServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

QUESTION = Question(marker="m-1", words=3, pace_ms=0)
LOGGED = {"cf-aig-log-id": "id-1"}
CLEAR = {"message": "Nobody is there.", "type": "api_error", "code": "service_unavailable"}


@pytest.mark.parametrize(
    ("got", "kind"),
    [
        (Got(status=200, headers=LOGGED, text="m-1.0 m-1.1 m-1.2", ended=True), "whole"),
        (Got(status=200, headers={}, text="m-1.0 m-1.1 m-1.2", ended=True), "wrong"),
        (Got(status=200, headers=LOGGED, text="m-1.0 m-1.2", ended=True), "wrong"),
        (Got(status=200, headers=LOGGED, text="m-1.0 m-1.1", ended=False), "wrong"),
        (Got(status=200, headers=LOGGED, text="m-1.0", error=CLEAR), "told"),
        (Got(status=200, headers=LOGGED, text="m-1.0", error=CLEAR, ended=True), "wrong"),
        (Got(status=200, headers=LOGGED, text="m-1.0", broke="reset"), "cut"),
        (Got(headers={}, broke="refused"), "cut"),
        (Got(status=503, headers={}, error=CLEAR), "refused"),
        (Got(status="UNAVAILABLE", headers={}, error=CLEAR), "refused"),
        (Got(status=503, headers={}, error={"unreadable": "upstream connect error"}), "wrong"),
        (Got(status=503, headers={}), "wrong"),
    ],
)
def test_an_answer_is_judged_by_what_the_client_can_know(got: Got, kind: str) -> None:
    """Whole, told, refused, cut or wrong, by status, end and error body."""
    assert kind == judge(QUESTION, got, client="c", gateway="g", begin_s=0, end_s=1).kind


def books_of(entries: list[dict[str, object]], counters: tuple[int, int] = (60_000, 0)) -> Books:
    """Balance one whole answer against some entries."""
    got = Got(status=200, headers=LOGGED, text=QUESTION.answer(), ended=True)
    outcome = judge(QUESTION, got, client="c", gateway="g", begin_s=0, end_s=1)
    served = Served(marker="m-1", streamed=True, words_asked=3, words_sent=3, finished=True)
    return balance("g", [outcome], entries, [served], counters)


def test_books_that_are_right_have_no_faults() -> None:
    """One answer, one entry, one price."""
    books = books_of([{"event_id": "m-1", "id": "id-1", "cost": 0.00006}])

    assert [] == books.faults()
    assert 60_000 == books.logged_nano_usd == books.served_nano_usd == books.whole_nano_usd


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([], "missing"),
        ([{"event_id": "m-1", "id": "id-1", "cost": 0.00006}] * 2, "doubled"),
        ([{"event_id": "m-1", "id": "id-2", "cost": 0.00006}], "misnamed"),
        ([{"event_id": "m-1", "id": "id-1", "cost": 0.00007}], "mispriced"),
        ([{"event_id": "m-1", "id": "id-1", "cost": None}], "mispriced"),
        ([{"event_id": "m-2", "id": "id-1", "cost": None}], "strange"),
    ],
)
def test_every_fault_of_the_books_is_found(entries: list[dict[str, object]], fault: str) -> None:
    """A check that finds nothing would prove nothing."""
    assert any(found.startswith(fault) for found in books_of(entries).faults())


@pytest.fixture
def valkey() -> Iterator[Server]:
    server = Server()
    yield server
    server.remove()


async def run_to_its_end(*arguments: str) -> str:
    """Run a program of the rehearsal, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen")))},
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@pytest.mark.whole
async def test_the_books_are_right_after_a_load(valkey: Server, tmp_path: Path) -> None:
    """Streams and plain requests over HTTP and gRPC come whole, are logged once, and cost what they cost."""
    url = valkey.new_url().reveal()
    async with UpstreamServer() as upstream:
        env = {
            "HEADRACE_PROVIDER_OPENAI_BASE_URL": f"{upstream.url}/v1",
            "HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-rehearsal",
            "HEADRACE_ROUTER_VALKEY_URL": url,
            # A machine that is busy with other tests is no Valkey that is away.
            "HEADRACE_VALKEY_TIMEOUT_S": "5",
        }
        stack = Stack(Setup(topology="split", env=env), tmp_path)
        try:
            await asyncio.to_thread(stack.start)
            async with aiohttp.ClientSession() as session:
                management = Management(session, stack.base_url, stack.token)
                await management.make_gateway("steady")
            records = tmp_path / "records.jsonl"
            token_file = str(stack.data_dir / "token")
            clients = ("http:stream:2", "http:plain:1", "grpc:stream:1", "grpc:plain:1")
            printed = await run_to_its_end(
                "tests.rehearsal.load", *(part for each in clients for part in ("--clients", each)),
                "--http", stack.base_url, "--grpc", stack.grpc_target, "--token-file", token_file,
                "--gateway", "steady", "--records", str(records), "--most", "25", "--words", "10",
                "--pace-ms", "10", "--every-s", "0.05",
            )  # fmt: skip
            await run_to_its_end(
                "tests.rehearsal.bookkeeping", "--url", stack.base_url, "--token-file", token_file,
                "--gateway", "steady", "--records", str(records), "--journal", f"{upstream.url}/journal",
                "--valkey", url, "--report", str(tmp_path / "report.json"), "--patience-s", "20",
            )  # fmt: skip
        finally:
            await asyncio.to_thread(stack.stop, signal.SIGTERM)
    [books] = [Books(**row) for row in orjson.loads((tmp_path / "report.json").read_bytes())]
    outcomes = read_outcomes(records)

    assert "whole=25" in printed.splitlines()[-1], [one for one in outcomes if one.kind != "whole"]
    assert (25, 25) == (books.whole, books.entries)
    assert [] == books.faults()
    assert books.whole_nano_usd == books.served_nano_usd == books.logged_nano_usd == books.counted_nano_usd
