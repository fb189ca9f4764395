"""What every store of the ledger does alike. A store joins by one more parameter of `store`."""

from __future__ import annotations

import asyncio
import operator
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.core.query import Condition, Field, Operator, Query
from services.ledger.store import Row
from services.ledger.store_sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.ledger.store import EntryStore

ROW = Row(
    id="id-0",
    account_id="acme",
    gateway_id="default",
    created_us=1_000_000,
    duration_us=12_500,
    provider="openai",
    model="gpt-x",
    status=200,
    success=True,
    cached=False,
    event_id="event-0",
    tokens_in=10,
    tokens_out=5,
    cost_nano_usd=1_000,
    entry=b"entry 0",
    payload=None,
)


def _rows(count: int) -> list[Row]:
    """Entries whose requests began in the order of their numbers."""
    return [
        replace(ROW, id=f"id-{number}", created_us=1_000_000 + number, entry=b"entry %d" % number)
        for number in range(count)
    ]


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EntryStore]:
    async with open_store(tmp_path / "ledger.db", synchronous="NORMAL", log=structlog.get_logger()) as found:
        yield found


async def _found(store: EntryStore, query: Query) -> tuple[list[bytes], int]:
    page = await store.list(query)
    return list(page.entries), page.total_count


async def test_what_was_added_is_found(store: EntryStore) -> None:
    """An entry and its payload come back as they were, by account and by gateway."""
    assert 1 == await store.add([replace(ROW, payload=b"bodies")])

    for gateway_id in ("default", ""):
        assert b"entry 0" == await store.get("acme", gateway_id, "id-0")
        assert b"bodies" == await store.payload("acme", gateway_id, "id-0")


@pytest.mark.parametrize(
    "owner",
    [("acme", "default", "id-1"), ("other", "default", "id-0"), ("acme", "other", "id-0"), ("", "", "")],
)
async def test_what_is_not_there_or_not_theirs_is_not_found(
    store: EntryStore, owner: tuple[str, str, str]
) -> None:
    """An unknown id, and a known one of somebody else, look the same."""
    await store.add([replace(ROW, payload=b"bodies")])

    assert (None, None) == (await store.get(*owner), await store.payload(*owner))


async def test_an_entry_without_payload_has_none(store: EntryStore) -> None:
    """A payload that was not collected is not found; an empty one is."""
    await store.add([ROW, replace(ROW, id="id-1", payload=b"")])

    assert await store.payload("acme", "", "id-0") is None
    assert b"" == await store.payload("acme", "", "id-1")


async def test_a_known_id_is_left_as_it_is(store: EntryStore) -> None:
    """The first of an id stays, entry and payload, whether it came earlier or in the same batch."""
    await store.add([ROW, replace(ROW, id="id-1", payload=b"first")])
    later = replace(ROW, entry=b"later", payload=b"later")
    batch = [
        later,
        replace(later, id="id-1"),
        replace(ROW, id="id-2", entry=b"one"),
        replace(later, id="id-2"),
    ]

    assert 1 == await store.add(batch)
    assert [b"entry 0", b"entry 0", b"one"] == [await store.get("acme", "", f"id-{n}") for n in range(3)]
    assert [None, b"first", None] == [await store.payload("acme", "", f"id-{n}") for n in range(3)]


async def test_an_empty_batch_is_fine(store: EntryStore) -> None:
    """Nothing is added, nothing fails."""
    assert 0 == await store.add([])


async def test_batches_at_the_same_time_count_each_entry_once(store: EntryStore) -> None:
    """The same entries sent by several at once are new to exactly one of them."""
    new = await asyncio.gather(*(store.add(_rows(50)) for _ in range(5)))

    assert 50 == sum(new)
    assert 50 == (await store.list(Query(account_id="acme"))).total_count


async def test_lists_are_newest_first_in_pages(store: EntryStore) -> None:
    """Pages follow the time at which requests began, whatever the order of recording, and count all."""
    rows = _rows(5)
    await store.add([rows[number] for number in (3, 0, 4, 1, 2)])
    query = Query(account_id="acme", gateway_id="default", limit=2)

    assert ([b"entry 4", b"entry 3"], 5) == await _found(store, query)
    assert ([b"entry 0"], 5) == await _found(store, replace(query, offset=4))
    assert ([b"entry 0", b"entry 1"], 5) == await _found(store, replace(query, ascending=True))
    assert ([], 5) == await _found(store, replace(query, offset=9))


async def test_lists_are_of_one_account_and_gateway(store: EntryStore) -> None:
    """Entries of others are neither listed nor counted."""
    await store.add([
        ROW,
        replace(ROW, id="id-1", gateway_id="other", entry=b"other gateway"),
        replace(ROW, id="id-2", account_id="other", entry=b"other account"),
    ])  # fmt: skip

    assert ([b"entry 0"], 1) == await _found(store, Query(account_id="acme", gateway_id="default"))
    assert ([b"other gateway", b"entry 0"], 2) == await _found(store, Query(account_id="acme"))


async def test_lists_have_bounds_in_time(store: EntryStore) -> None:
    """Both ends are included."""
    await store.add(_rows(5))
    query = Query(account_id="acme", start_us=1_000_001, end_us=1_000_003)

    assert ([b"entry 3", b"entry 2", b"entry 1"], 3) == await _found(store, query)


async def test_the_log_can_be_followed(store: EntryStore) -> None:
    """What is recorded after an entry is found after it, also when its request began long before."""
    rows = _rows(4)
    await store.add([rows[1], rows[3]])
    await store.add([rows[2], rows[0]])
    query = Query(account_id="acme", after_id="id-3", ascending=True)

    assert ([b"entry 2", b"entry 0"], 2) == await _found(store, query)
    assert ([b"entry 0"], 1) == await _found(store, replace(query, after_id="id-2"))
    assert ([], 0) == await _found(store, replace(query, after_id="id-0"))
    # Deleted meanwhile: it was among the oldest, so everything left comes after it.
    assert 4 == (await store.list(replace(query, after_id="gone"))).total_count


async def test_the_oldest_go_when_there_are_too_many(store: EntryStore) -> None:
    """Those recorded first are deleted with their payloads, some at a time, until the number is right."""
    await store.add([replace(row, payload=b"p") for row in _rows(25)])

    assert [10, 5, 0] == [await store.trim(10, chunk=10) for _ in range(3)]
    page = await store.list(Query(account_id="acme", limit=100, ascending=True))
    assert ([b"entry %d" % number for number in range(15, 25)], 10) == (list(page.entries), page.total_count)
    assert (None, b"p") == (
        await store.payload("acme", "", "id-14"),
        await store.payload("acme", "", "id-15"),
    )


async def test_an_empty_store_has_nothing_to_delete(store: EntryStore) -> None:
    """Trimming nothing is no error."""
    assert 0 == await store.trim(1, chunk=10)


async def test_a_store_that_works_passes_its_check(store: EntryStore) -> None:
    """The health check of a working store succeeds."""
    await store.check()


_COLUMNS = {
    Field.ID: "id",
    Field.PROVIDER: "provider",
    Field.MODEL: "model",
    Field.SUCCESS: "success",
    Field.CACHED: "cached",
    Field.EVENT_ID: "event_id",
    Field.COST: "cost_nano_usd",
    Field.TOKENS_IN: "tokens_in",
    Field.TOKENS_OUT: "tokens_out",
    Field.DURATION: "duration_us",
    Field.STATUS_CODE: "status",
}
_TEXT_FIELDS = [Field.ID, Field.PROVIDER, Field.MODEL, Field.EVENT_ID]
_FLAG_FIELDS = [Field.SUCCESS, Field.CACHED]
_words = st.text("ab%_'", max_size=2)
_numbers = st.integers(0, 3)
_unknown = st.none() | _numbers
_row_strategy = st.builds(
    replace,
    st.just(ROW),
    provider=_words,
    model=_words,
    event_id=_words,
    success=st.booleans(),
    cached=st.booleans(),
    cost_nano_usd=_unknown,
    tokens_in=_unknown,
    tokens_out=_unknown,
    duration_us=_numbers,
    status=_numbers,
)


@st.composite
def _condition(draw: st.DrawFn) -> Condition:
    field = draw(st.sampled_from(Field))
    equals = [Operator.EQ, Operator.NEQ]
    if field in _TEXT_FIELDS:
        compare, value = draw(st.sampled_from([*equals, Operator.CONTAINS])), _words
    elif field in _FLAG_FIELDS:
        return Condition(field=field, operator=draw(st.sampled_from(equals)), values=(draw(st.booleans()),))
    else:
        compare, value = draw(st.sampled_from([*equals, Operator.LT, Operator.GT])), _numbers  # type: ignore[assignment]
    least = 0 if compare in equals else 1
    values = draw(st.lists(value, min_size=least, max_size=3))
    return Condition(field=field, operator=compare, values=tuple(values))


def _satisfies(row: Row, condition: Condition) -> bool:
    """Say what a condition means, one value at a time."""
    found = getattr(row, _COLUMNS[condition.field])
    if condition.operator is Operator.NEQ:
        return all(found != value for value in condition.values)
    if found is None:
        return False
    compare: dict[Operator, Callable[[Any, Any], bool]] = {
        Operator.EQ: operator.eq,
        Operator.CONTAINS: operator.contains,
        Operator.LT: operator.lt,
        Operator.GT: operator.gt,
    }
    return any(compare[condition.operator](found, value) for value in condition.values)


@settings(max_examples=40)
@given(st.lists(_row_strategy, max_size=12), st.lists(st.lists(_condition(), max_size=2), max_size=12))
async def test_filters_mean_what_they_say(rows: list[Row], filters: list[list[Condition]]) -> None:
    """For any entries and conditions, exactly the entries that satisfy all of them are listed and counted."""
    rows = [replace(row, id=f"id-{number}", entry=b"%d" % number) for number, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        async with open_store(path, synchronous="NORMAL", log=structlog.get_logger()) as store:
            await store.add(rows)
            for conditions in filters:
                expected = [row.entry for row in rows if all(_satisfies(row, each) for each in conditions)]
                query = Query(account_id="acme", limit=100, ascending=True, conditions=tuple(conditions))

                assert (expected, len(expected)) == await _found(store, query)
