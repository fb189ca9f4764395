"""
Every SDK at every provider: chats, streams and tools, with nothing changed but base URL, key and model.

What works is the table in `docs/compatibility.md`; UPDATE_COMPATIBILITY=1 rewrites it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.e2e.compatibility import DOCUMENT, OWN, Outcomes, written
from tests.e2e.matrix import CLIENTS, NATIVE_CLIENTS, TARGETS, Row
from tests.e2e.sdks.client import ToolCall, Turn
from tests.fakes.background import Background

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from tests.e2e.sdks.client import Client
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack, Topology

# Google's SDK inherits from what aiohttp would not have inherited from.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

# What the stand-ins answer stands in tests/node/fixtures.
QUESTION = "What turns the stone?"
ANSWER = "The river turns the wheel, the wheel turns the stone, and the stone grinds the corn."
ANSWER_TOKENS = (13, 19)
WEATHER = "What is the weather in Paris?"
CALL = ToolCall(name="get_weather", arguments={"city": "Paris", "unit": "celsius"})
CALL_TOKENS = (41, 9)
FORECAST = "It is 21 degrees in Paris."
FORECAST_TOKENS = (63, 8)

each_cell = pytest.mark.parametrize(
    ("name", "target"),
    [pytest.param(name, target, id=f"{name} at {target}") for name in CLIENTS for target in TARGETS],
)
each_own = pytest.mark.parametrize("name", NATIVE_CLIENTS)


class Sdks:
    """The clients of one system, each made on first use and kept, in a loop of their own."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._background = Background()
        self._made: dict[int, Client] = {}

    def __enter__(self) -> Self:
        """Start their loop."""
        self._background.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them all."""
        for client in self._made.values():
            self._background.run(client.close())
        self._background.__exit__(None, None, None)

    def get(self, row: Row) -> Client:
        """Give a client."""
        if id(row) not in self._made:
            self._made[id(row)] = row.make(self._stack)
        return self._made[id(row)]

    def run(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Ask one of them."""
        return self._background.run(asking)


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[Topology, Sdks]]:
    """Keep the clients of each system."""
    kept: dict[Topology, Sdks] = {}
    yield kept
    for sdks in kept.values():
        sdks.__exit__()


@pytest.fixture
def sdks(topology: Topology, stack: Stack, kept: dict[Topology, Sdks]) -> Sdks:
    """Give the clients of the shared system."""
    if topology not in kept:
        kept[topology] = Sdks(stack).__enter__()
    return kept[topology]


@pytest.fixture(scope="module")
def all_outcomes() -> dict[Topology, Outcomes]:
    """Keep what was found, by topology."""
    return {}


@pytest.fixture
def outcomes(topology: Topology, all_outcomes: dict[Topology, Outcomes]) -> Outcomes:
    """Collect what is found."""
    return all_outcomes.setdefault(topology, Outcomes())


class Asked:
    """
    One client at one provider.

    Args:
        name: Of the client.
        target: Of the provider; `own`: the client's own, on its own path.
        sdks: The clients.
        upstreams: Where requests arrive.
    """

    def __init__(self, name: str, target: str, sdks: Sdks, upstreams: Upstreams) -> None:
        own = target == OWN
        self.row = NATIVE_CLIENTS[name] if own else CLIENTS[name]
        self.client = sdks.get(self.row)
        self.model = self.row.model if own else TARGETS[target].model
        # Mistral's own SDK learns and reads at Mistral what it does not elsewhere.
        at_home = own or target == "mistral"
        self.streams_usage = self.row.streams_usage or at_home
        self.streams_calls = self.row.streams_calls or at_home
        self._place = ".*" if own else TARGETS[target].place(self.row.asks_by)
        self._sdks = sdks
        self._journal = upstreams.front.journal
        self._before = len(self._journal)

    def run(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Ask, and see that all requests arrived where they should."""
        told = self._sdks.run(asking)
        paths = [one.path for one in self._journal[self._before :] if one.path != "/token"]
        assert paths
        assert [path for path in paths if not re.fullmatch(self._place, path.replace("%40", "@"))] == []
        return told


def check_chat(asked: Asked) -> None:
    """Ask a question."""
    turn = asked.run(asked.client.ask(asked.model, QUESTION))

    assert turn == Turn(text=ANSWER, finish=asked.row.finishes[0], tokens=ANSWER_TOKENS)


def check_stream(asked: Asked) -> None:
    """Ask for a stream."""
    turn = asked.run(asked.client.stream(asked.model, QUESTION))

    assert (turn.text, turn.calls, turn.finish) == (ANSWER, (), asked.row.finishes[0])
    assert turn.tokens == (ANSWER_TOKENS if asked.streams_usage else None)
    assert turn.pieces > 2


def check_tools(asked: Asked) -> None:
    """Let a tool be called, and give its result."""
    calling, answered = asked.run(asked.client.use_tool(asked.model, WEATHER))

    assert (calling.calls, calling.finish, calling.tokens) == ((CALL,), asked.row.finishes[1], CALL_TOKENS)
    assert (answered.text, answered.calls) == (FORECAST, ())
    assert (answered.finish, answered.tokens) == (asked.row.finishes[0], FORECAST_TOKENS)


def check_streamed_tools(asked: Asked) -> None:
    """Let a tool be called in a stream."""
    turn = asked.run(asked.client.stream_tool(asked.model, WEATHER))

    assert (turn.text, turn.calls, turn.finish) == ("", (CALL,), asked.row.finishes[1])
    assert turn.tokens == (CALL_TOKENS if asked.streams_usage else None)


@each_cell
def test_chat(name: str, target: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """A question is answered, with finish reason and usage in the client's words."""
    with outcomes.judging(name, target, "chat"):
        check_chat(Asked(name, target, sdks, upstreams))


@each_cell
def test_stream(name: str, target: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """A stream comes in pieces, with finish reason and usage."""
    with outcomes.judging(name, target, "stream"):
        check_stream(Asked(name, target, sdks, upstreams))


@each_cell
def test_tools(name: str, target: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """A tool is called with the right arguments, and its result is answered with."""
    with outcomes.judging(name, target, "tools"):
        check_tools(Asked(name, target, sdks, upstreams))


@each_cell
def test_streamed_tools(name: str, target: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """A call of a tool that comes in a stream is the same call."""
    asked = Asked(name, target, sdks, upstreams)
    if not asked.streams_calls:
        # It refuses the very events that OpenAI's dialect has, so that there is nothing to be seen to.
        outcomes.never(name, target, "streamed tools")
        return
    with outcomes.judging(name, target, "streamed tools"):
        check_streamed_tools(asked)


@each_own
def test_chat_at_its_own(name: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """On its provider's own path an SDK gets its answer."""
    with outcomes.judging(name, OWN, "chat"):
        check_chat(Asked(name, OWN, sdks, upstreams))


@each_own
def test_stream_at_its_own(name: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """On its provider's own path an SDK gets its stream."""
    with outcomes.judging(name, OWN, "stream"):
        check_stream(Asked(name, OWN, sdks, upstreams))


@each_own
def test_tools_at_its_own(name: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """On its provider's own path an SDK makes the round trip of a tool."""
    with outcomes.judging(name, OWN, "tools"):
        check_tools(Asked(name, OWN, sdks, upstreams))


@each_own
def test_streamed_tools_at_its_own(name: str, sdks: Sdks, upstreams: Upstreams, outcomes: Outcomes) -> None:
    """On its provider's own path an SDK gets a call in a stream."""
    with outcomes.judging(name, OWN, "streamed tools"):
        check_streamed_tools(Asked(name, OWN, sdks, upstreams))


def test_the_table_is_what_was_found(outcomes: Outcomes) -> None:
    """The committed table says of each cell that was tried what came out. It runs after all others."""
    document = DOCUMENT.read_text()
    found = written(document, outcomes.tables(document))
    if os.environ.get("UPDATE_COMPATIBILITY") == "1":
        assert outcomes.complete, "a table is written of all cells, or not at all"
        DOCUMENT.write_text(found)
        return

    assert document == found
