"""The local engine with the real model: llama.cpp, its process and its HTTP address."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import psutil
import pytest

from kit.errors import GatewayError
from services.providers.local.config import LocalConfig
from services.providers.local.engine import LocalEngine
from services.providers.local.models import PACKAGED, packaged_file
from tests.fakes.background import Background

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SLOTS = 2
CONFIG: dict[str, Any] = {"slots": SLOTS, "context_tokens": 512, "batch_tokens": 256}
HELLO = [{"role": "user", "content": "Say hello."}]
LONG = [{"role": "user", "content": "hi " * 600}]


@asynccontextmanager
async def running(run_dir: Path, **settings: Any) -> AsyncIterator[LocalEngine]:
    """Run an engine whose first model is loaded."""
    engine = LocalEngine(LocalConfig(**{**CONFIG, **settings}), run_dir=run_dir)
    try:
        await engine.start()
        await engine.ready()
        yield engine
    finally:
        await engine.stop()


@asynccontextmanager
async def client_of(engine: LocalEngine) -> AsyncIterator[aiohttp.ClientSession]:
    """Speak to an engine as its adapter does."""
    headers = {"Authorization": f"Bearer {engine.api_key.reveal()}"}
    base = aiohttp.ClientSession(base_url=engine.base_url / "", headers=headers)
    async with base as session:
        yield session


async def post(session: aiohttp.ClientSession, path: str, **body: Any) -> tuple[int, Any]:
    """Post a request and return the answer's status and document."""
    async with session.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def slots_of(engine: LocalEngine, model: str = PACKAGED) -> list[dict[str, Any]]:
    """What llama.cpp says of its slots."""
    child = engine.child(model)
    assert child is not None
    connector = aiohttp.UnixConnector(child.socket, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://llama/slots") as answer,
    ):
        return list(await answer.json())


async def busy_slots(engine: LocalEngine, model: str = PACKAGED) -> int:
    """How many of llama.cpp's slots are at work."""
    return sum(slot["is_processing"] for slot in await slots_of(engine, model))


async def until_slots(engine: LocalEngine, *, busy: bool) -> None:
    """Wait until a slot is at work, or none is."""
    async with asyncio.timeout(40):
        while bool(await busy_slots(engine)) is not busy:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)


async def longest_text(engine: LocalEngine, *, after: int) -> int:
    """How many tokens the longest text has, question and answer, of the tasks after one."""
    found = [slot for slot in await slots_of(engine) if slot.get("id_task", -1) > after]
    return max(int(slot["n_prompt_tokens"]) for slot in found)


async def last_task(engine: LocalEngine) -> int:
    """Number of the newest task that a slot has had."""
    return max(int(slot.get("id_task", -1)) for slot in await slots_of(engine))


def names(directory: Path) -> list[str]:
    """Return what a directory holds."""
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    """A loop that outlives a test."""
    with Background() as background:
        yield background


@pytest.fixture(scope="module")
def engine(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """One engine for all tests that do not end it."""
    with background.entered(running(tmp_path_factory.mktemp("run"))) as engine:
        yield engine


@pytest.fixture
async def session(engine: LocalEngine) -> AsyncIterator[aiohttp.ClientSession]:
    """Speaks to that engine."""
    async with client_of(engine) as session:
        yield session


async def test_chat_answers(session: aiohttp.ClientSession) -> None:
    """A chat gets text, a finish reason and token counts."""
    status, answer = await post(
        session, "chat/completions", model=PACKAGED, messages=HELLO, max_tokens=8, temperature=0
    )

    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == PACKAGED
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["choices"][0]["finish_reason"] in {"stop", "length"}
    assert 0 < answer["usage"]["completion_tokens"] <= 8
    assert answer["usage"]["total_tokens"] == (
        answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    )


async def test_chat_streams(session: aiohttp.ClientSession) -> None:
    """A stream has one event for each token, a finish reason, usage when asked for, and an end."""
    body = {
        "model": PACKAGED,
        "messages": HELLO,
        "max_tokens": 6,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    reads = []
    async with session.post("chat/completions", json=body) as answer:
        content_type = answer.content_type
        while data := await answer.content.readany():
            reads.append(data)
    events = b"".join(reads).decode().removesuffix("\n\n").split("\n\n")
    chunks = [orjson.loads(event.removeprefix("data: ")) for event in events[:-1]]

    assert content_type == "text/event-stream"
    assert len(reads) > 3
    assert events[-1] == "data: [DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert "length" in [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert chunks[-1]["usage"]["completion_tokens"] == 6


async def test_whole_answer_is_the_stream_folded(session: aiohttp.ClientSession) -> None:
    """Without chance, a whole answer has the text of the stream."""
    body = {"model": PACKAGED, "messages": HELLO, "max_tokens": 12, "temperature": 0, "cache_prompt": False}
    _, whole = await post(session, "chat/completions", **body)
    async with session.post("chat/completions", json={**body, "stream": True}) as answer:
        events = (await answer.text()).removesuffix("data: [DONE]\n\n").split("\n\n")
    deltas = [orjson.loads(event[6:])["choices"][0]["delta"] for event in events if event]

    assert whole["choices"][0]["message"]["content"] == "".join(d.get("content") or "" for d in deltas)


async def test_text_completion_answers(session: aiohttp.ClientSession) -> None:
    """The older text completions work, whole and streamed, and no stream begins with an empty event."""
    body = {"model": PACKAGED, "prompt": "The sky is", "max_tokens": 3}
    status, answer = await post(session, "completions", **body)
    async with session.post("completions", json={**body, "stream": True}) as streamed:
        text = await streamed.text()

    assert status == 200
    assert answer["choices"][0]["text"]
    assert text.startswith('data: {"choices"')
    assert text.endswith("data: [DONE]\n\n")


async def test_embeddings_have_one_length(session: aiohttp.ClientSession) -> None:
    """Each text gets a vector; all have the model's width, and different texts differ."""
    status, answer = await post(session, "embeddings", model=PACKAGED, input=["hello", "a dog runs home"])
    first, second = (row["embedding"] for row in answer["data"])

    assert status == 200
    assert [576, 576] == [len(first), len(second)]
    assert first != second
    assert answer["usage"]["prompt_tokens"] > 0


async def test_models_are_listed(session: aiohttp.ClientSession, engine: LocalEngine) -> None:
    """The list of models holds all names, loaded or not."""
    async with session.get("models") as answer:
        document = await answer.json()

    assert (PACKAGED,) == engine.models()
    assert [PACKAGED] == [row["id"] for row in document["data"]]


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"model": "gpt-9", "messages": HELLO}, 404, "model_not_found", PACKAGED),
        ({"model": 7, "messages": HELLO}, 400, None, "`model` must be a string"),
        ({"messages": "hi"}, 400, None, "messages"),
        ({"messages": LONG}, 400, "context_length_exceeded", "512"),
        ({"messages": LONG, "stream": True}, 400, "context_length_exceeded", "512"),
    ],
    ids=["unknown model", "no name", "no messages", "too long", "too long, streamed"],
)  # fmt: skip
async def test_wrong_request_is_refused(
    session: aiohttp.ClientSession, body: dict[str, Any], status: int, code: str | None, words: str
) -> None:
    """What cannot be answered is refused in OpenAI's shape, with a status and a code that say why."""
    got, answer = await post(session, "chat/completions", **body)

    assert (status, code) == (got, answer["error"]["code"])
    assert words in answer["error"]["message"]


async def test_too_long_text_to_embed_is_the_callers_fault(session: aiohttp.ClientSession) -> None:
    """A text longer than one batch is refused as too long, not as a failure of the server."""
    status, answer = await post(session, "embeddings", input="hi " * 300)

    assert (400, "context_length_exceeded") == (status, answer["error"]["code"])


async def test_key_is_asked_for(engine: LocalEngine) -> None:
    """Without the engine's key, other users of the machine get nothing, not even the list of models."""
    async with aiohttp.ClientSession() as session:
        async with session.get(engine.base_url / "models") as answer:
            listed = answer.status
        wrong = {"Authorization": "Bearer wrong"}
        async with session.post(
            engine.base_url / "chat/completions", json={"messages": HELLO}, headers=wrong
        ) as answer:
            chatted = answer.status

    assert (401, 401) == (listed, chatted)


@pytest.mark.parametrize("path", ["slots", "props", "lora-adapters", "v1/stream/x", "tokenize"])
async def test_other_endpoints_of_llama_are_closed(engine: LocalEngine, path: str) -> None:
    """What shows or changes the state that all requests share is not to be reached."""
    headers = {"Authorization": f"Bearer {engine.api_key.reveal()}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(engine.base_url.with_path(f"/{path}"), json={}, headers=headers) as answer,
    ):
        assert answer.status == 404


@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_goes_frees_the_slot(engine: LocalEngine, *, stream: bool) -> None:
    """A generation stops at once when its client goes, whether it was streamed or not."""
    body = {"messages": HELLO, "max_tokens": 450, "ignore_eos": True, "stream": stream}
    headers = {"X-Conversation-Id": "keeps-llama-going"}
    before = await last_task(engine)
    async with client_of(engine) as session:
        request = asyncio.create_task(_read(session, body, headers))
        await until_slots(engine, busy=True)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    await until_slots(engine, busy=False)

    assert await longest_text(engine, after=before) < 450


async def _read(session: aiohttp.ClientSession, body: dict[str, Any], headers: dict[str, str]) -> None:
    async with session.post("chat/completions", json=body, headers=headers) as answer:
        await answer.read()


async def test_more_requests_than_slots_wait(session: aiohttp.ClientSession) -> None:
    """Requests beyond the slots are answered in turn; none fails."""
    body = {"messages": HELLO, "max_tokens": 2}
    answers = await asyncio.gather(*(post(session, "chat/completions", **body) for _ in range(6 * SLOTS)))

    assert [200] * 6 * SLOTS == [status for status, _ in answers]


async def test_waiting_client_that_goes_is_forgotten(engine: LocalEngine) -> None:
    """A client that goes while it waits for a slot leaves nothing to compute, and its place to the next."""
    long = {"messages": HELLO, "max_tokens": 450, "ignore_eos": True, "stream": True}
    before = await last_task(engine)
    async with client_of(engine) as session:
        requests = [asyncio.create_task(_read(session, long, {})) for _ in range(3 * SLOTS)]
        await until_slots(engine, busy=True)
        await asyncio.sleep(0.3)  # for the others to wait in line
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        await until_slots(engine, busy=False)
        longest = await longest_text(engine, after=before)
        status, _ = await post(session, "chat/completions", messages=HELLO, max_tokens=1)

    assert longest < 450
    assert status == 200


async def test_run_directory_is_closed_to_others(engine: LocalEngine) -> None:
    """The directory of llama.cpp's socket can be entered by its owner alone, and holds no more than that."""
    (path,) = engine._run_dir.iterdir()

    assert stat.S_IMODE(engine._run_dir.stat().st_mode) == 0o700
    assert path.is_socket()


async def test_more_than_the_bound_is_refused(tmp_path: Path) -> None:
    """Above the bound on requests a request is refused with 503, so that its caller can go elsewhere."""
    async with running(tmp_path, max_requests=1) as engine, client_of(engine) as session:
        long = {"messages": HELLO, "max_tokens": 100, "ignore_eos": True, "stream": True}
        async with session.post("chat/completions", json=long) as first:
            await first.content.readany()
            status, answer = await post(session, "chat/completions", messages=HELLO)

    assert (503, "overloaded") == (status, answer["error"]["code"])


async def test_damaged_model_is_told(tmp_path: Path) -> None:
    """A file that only llama.cpp finds damaged makes `ready`, `check` and requests say so."""
    path = tmp_path / "half.gguf"
    path.write_bytes(packaged_file().read_bytes()[:4_000_000])
    engine = LocalEngine(LocalConfig(models=(str(path),)), run_dir=tmp_path / "run")
    try:
        await engine.start()
        with pytest.raises(GatewayError, match=r"'half' cannot be loaded: .*corrupted or incomplete"):
            await engine.ready()
        with pytest.raises(GatewayError, match="cannot be loaded"):
            await engine.check()
        async with client_of(engine) as session:
            status, answer = await post(session, "chat/completions", messages=HELLO)
    finally:
        await engine.stop()

    assert status == 503
    assert "'half' cannot be loaded" in answer["error"]["message"]
    assert str(tmp_path) not in answer["error"]["message"]


async def test_progress_is_told_and_the_loop_stays_free(tmp_path: Path) -> None:
    """While a model loads the event loop goes on, and what happens is told in words."""
    states: list[str] = []
    engine = LocalEngine(LocalConfig(**CONFIG), run_dir=tmp_path)
    ticks = 0
    try:
        await engine.start(states.append)
        await asyncio.sleep(0.05)
        with pytest.raises(GatewayError, match="is loading"):
            await engine.check()
        ready = asyncio.create_task(engine.ready())
        while not ready.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await ready
        await engine.check()
    finally:
        await engine.stop()

    assert states == [f"loading {PACKAGED}", "ready", "stopped"]
    assert ticks > 5
    assert names(tmp_path) == []


async def test_one_model_makes_room_for_another(tmp_path: Path) -> None:
    """Models are loaded on first use, once for all who wait, and the unused one goes when room is needed."""
    (tmp_path / "other.gguf").symlink_to(packaged_file())
    models = (PACKAGED, str(tmp_path / "other.gguf"))
    async with running(tmp_path / "run", models=models, max_loaded=1) as engine, client_of(engine) as session:
        before = engine.child(PACKAGED)
        body = {"model": "other", "messages": HELLO, "max_tokens": 1}
        answers = await asyncio.gather(*(post(session, "chat/completions", **body) for _ in range(3)))
        sockets = names(tmp_path / "run")

        assert ["other"] * 3 == [answer["model"] for _, answer in answers]
        assert before is not None
        assert not before.alive
        assert engine.child(PACKAGED) is None
        assert len(sockets) == 1


async def test_running_answer_is_finished_before_its_model_goes(tmp_path: Path) -> None:
    """A model that makes room first ends the streams that it has begun."""
    (tmp_path / "other.gguf").symlink_to(packaged_file())
    models = (PACKAGED, str(tmp_path / "other.gguf"))
    async with running(tmp_path / "run", models=models, max_loaded=1) as engine, client_of(engine) as session:
        long = {"model": PACKAGED, "messages": HELLO, "max_tokens": 60, "ignore_eos": True, "stream": True}
        async with session.post("chat/completions", json=long) as first:
            await first.content.readany()
            other = asyncio.create_task(
                post(session, "chat/completions", model="other", messages=HELLO, max_tokens=1)
            )
            rest = await first.read()
        status, answer = await other

    assert rest.endswith(b"data: [DONE]\n\n")
    assert (200, "other") == (status, answer["model"])


async def test_killed_worker_cuts_the_stream_and_is_started_again(tmp_path: Path) -> None:
    """A stream whose worker dies is cut, never ended; the next request has the model loaded again."""
    async with running(tmp_path) as engine, client_of(engine) as session:
        long = {"messages": HELLO, "max_tokens": 400, "ignore_eos": True, "stream": True}
        child = engine.child(PACKAGED)
        assert child is not None
        async with session.post("chat/completions", json=long) as answer:
            await answer.content.readany()
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        status, _ = await post(session, "chat/completions", messages=HELLO, max_tokens=1)

    assert status == 200


async def test_check_starts_a_dead_worker_again(tmp_path: Path) -> None:
    """A worker that has died while nobody asked is found by the check and comes back."""
    async with running(tmp_path) as engine:
        child = engine.child(PACKAGED)
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                if not child.alive:
                    break
                await asyncio.sleep(0.01)
        with pytest.raises(GatewayError):
            await engine.check()
        await engine.ready()
        await engine.check()


async def test_stop_while_loading_leaves_nothing(tmp_path: Path) -> None:
    """An engine that is stopped while a model loads ends at once, and leaves no socket."""
    engine = LocalEngine(LocalConfig(**CONFIG), run_dir=tmp_path)
    await engine.start()
    await asyncio.sleep(0.15)
    began = time.monotonic()
    await engine.stop()

    assert time.monotonic() - began < 1
    assert names(tmp_path) == []


PARENT = """
import asyncio, sys
from pathlib import Path
from services.providers.local.config import LocalConfig
from services.providers.local.engine import LocalEngine

async def main():
    engine = LocalEngine(LocalConfig(slots=1, context_tokens=256), run_dir=Path(sys.argv[1]))
    await engine.start()
    if sys.argv[2] == "ready":
        await engine.ready()
    else:
        await asyncio.sleep(0.15)
    print("go", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["ready", "loading"])
async def test_killed_parent_takes_its_worker_along(tmp_path: Path, moment: str) -> None:
    """When the process that runs the engine is killed, the worker ends too, even while it loads."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), moment, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    await parent.stdout.readline()
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    await parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)

    assert len(workers) == 1
    assert alive == []


async def test_sockets_of_killed_workers_are_removed(tmp_path: Path) -> None:
    """A socket that nobody answers on is removed at the next start."""
    stale = tmp_path / "llama-1-1.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    async with running(tmp_path):
        found = names(tmp_path)

    assert stale.name not in found
    assert len(found) == 1
