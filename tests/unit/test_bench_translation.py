from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from bench import translation
from bench.load import PROMPT
from bench.pairs import SAME, pairs
from bench.targets import TARGETS
from bench.translation import Effort
from services.providers.dialects.neutral.translate import Translation

if TYPE_CHECKING:
    from bench.pairs import Pair

CLIENTS = ("chat", "responses", "messages", "gemini")
PAIRS = {(pair.client, pair.target): pair for pair in pairs()}


def test_every_pair_is_there() -> None:
    """Each client's dialect is handed on, and translated to that of every provider."""
    expected = [(client, target) for client in CLIENTS for target in (SAME, *TARGETS)]
    assert expected == list(PAIRS)


def test_measures_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair has figures of its own, and the table tells them."""
    # It is for figures that are right: before each pair it would look through all that earlier tests left.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    effort = Effort(rounds=1, requests=1, streams=1, tokens=20)
    costs = translation.measure(effort)
    assert list(PAIRS) == [(cost.client, cost.target) for cost in costs]
    assert [] == [cost for cost in costs if cost.request_us <= 0 or cost.answer_us <= 0]
    assert len(PAIRS) == translation.table(costs).row_count


@pytest.mark.parametrize("pair", PAIRS.values(), ids=map("-".join, PAIRS))
def test_pair_is_real(pair: Pair) -> None:
    """The provider gets the whole question, and the client every word of the answer, in a stream as well."""
    made = pair.request()
    if isinstance(made, Translation):
        assert PROMPT.encode() in made.written.body
        assert made.notes in {(), ("dropped=store",)}
    assert b" w19" in pair.answer(pair.spoken.whole(20)).body
    stream = pair.stream()
    out = b"".join(stream.feed(event) for event in pair.spoken.events(20)) + stream.finish()
    # The last word alone may come again, in the whole text that some dialects end with.
    assert [1] * 19 == [out.count(b'w%d"' % number) for number in range(19)]
    assert b'w19"' in out
    assert stream.failure is None
