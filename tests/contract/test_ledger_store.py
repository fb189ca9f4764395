"""What every store of the ledger does alike. A store joins by one more parameter of `store`."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import structlog

from services.ledger.core.query import Condition, Deletion, Field, Operator, Query
from services.ledger.store import Ranges, Remarks, Row
from services.ledger.store_sql import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.database import Location
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
    tokens=15,
    cost_nano_usd=1_000,
    feedback=None,
    request_content_type="application/json",
    response_content_type="text/event-stream",
    user_agent="client/1",
    authentication=True,
    metadata_keys="",
    metadata_values="",
    searched="",
    entry=b"entry 0",
    payload=None,
)


def _rows(count: int) -> list[Row]:
    """Entries whose requests began in the order of their numbers."""
    return [
        replace(ROW, id=f"id-{number}", created_us=1_000_000 + number, entry=b"entry %d" % number)
        for number in range(count)
    ]


@pytest.fixture
async def store(database_location: Location) -> AsyncIterator[EntryStore]:
    async with open_store(database_location, log=structlog.get_logger()) as found:
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
    # Deleted meanwhile: what came before it cannot be told, so everything is given rather than too little.
    assert 4 == (await store.list(replace(query, after_id="gone"))).total_count


async def test_the_oldest_go_when_there_are_too_many(store: EntryStore) -> None:
    """Those recorded first are deleted with their payloads, some at a time, until the number is right."""
    await store.add([replace(row, payload=b"p") for row in _rows(25)])

    assert 15 == await store.excess(10)
    assert [10, 5] == [await store.trim(count) for count in (10, 5)]
    assert 0 == await store.excess(10)
    page = await store.list(Query(account_id="acme", limit=100, ascending=True))
    assert ([b"entry %d" % number for number in range(15, 25)], 10) == (list(page.entries), page.total_count)
    assert (None, b"p") == (
        await store.payload("acme", "", "id-14"),
        await store.payload("acme", "", "id-15"),
    )


async def test_an_empty_store_has_nothing_to_delete(store: EntryStore) -> None:
    """Trimming nothing is no error."""
    assert (0, 0) == (await store.excess(1), await store.trim(10))


async def test_a_store_that_works_passes_its_check(store: EntryStore) -> None:
    """The health check of a working store succeeds."""
    await store.check()


async def test_lists_are_sorted_by_what_is_asked_for(store: EntryStore) -> None:
    """What is alike follows time, and what is not known comes last whichever way."""
    costs = [5, None, 1, 5]
    await store.add([replace(row, cost_nano_usd=cost) for row, cost in zip(_rows(4), costs, strict=True)])
    query = Query(account_id="acme", order_by=Field.COST)

    down, up = await store.list(query), await store.list(replace(query, ascending=True))
    assert [b"entry 3", b"entry 0", b"entry 2", b"entry 1"] == list(down.entries)
    assert [b"entry 2", b"entry 0", b"entry 3", b"entry 1"] == list(up.entries)


async def test_text_is_sorted_by_its_bytes(store: EntryStore) -> None:
    """Capitals come before small letters, in each database alike."""
    names = ["b", "B", "a", "\u00e4", "_"]
    rows = [replace(row, provider=name) for row, name in zip(_rows(5), names, strict=True)]
    await store.add([replace(row, entry=row.provider.encode()) for row in rows])
    page = await store.list(Query(account_id="acme", order_by=Field.PROVIDER, ascending=True))

    assert sorted(names) == [entry.decode() for entry in page.entries]


async def test_ranges_are_of_everything_found(store: EntryStore) -> None:
    """Ranges do not depend on the page; what no entry has, has no range."""
    rows = [replace(row, tokens_in=number, cost_nano_usd=None) for number, row in enumerate(_rows(5))]
    await store.add(rows)
    page = await store.list(Query(account_id="acme", limit=1, start_us=1_000_001, ranges=True))

    expected = Ranges((None, None), (12_500, 12_500), (1, 4), (5, 5), (15, 15))
    assert (expected, 4) == (page.ranges, page.total_count)


async def test_what_is_searched_for_is_taken_as_it_is(store: EntryStore) -> None:
    """Signs that mean something to a database mean themselves."""
    texts = ["50%", "50x", "a_b", "axb", "it's", "back\\slash"]
    await store.add([replace(row, searched=text) for row, text in zip(_rows(6), texts, strict=True)])
    query = Query(account_id="acme", ascending=True)

    for number, search in ((0, "0%"), (2, "a_"), (4, "t's"), (5, "k\\s")):
        assert ([b"entry %d" % number], 1) == await _found(store, replace(query, search=search))


async def test_what_is_said_of_an_entry_is_kept(store: EntryStore) -> None:
    """A change sees the entry as it is, and is found by its new values; a stranger changes nothing."""
    await store.add([replace(ROW, payload=b"bodies")])

    def change(entry: bytes) -> Remarks:
        return Remarks(
            feedback=0.5, metadata_keys="\x1fk\x1f", metadata_values="", searched="new", entry=entry + b"!"
        )

    assert b"entry 0!" == await store.update("acme", "default", "id-0", change)
    assert [None] * 3 == [
        await store.update("other", "default", "id-0", change),
        await store.update("acme", "other", "id-0", change),
        await store.update("acme", "default", "id-1", change),
    ]
    said = Condition(field=Field.FEEDBACK, operator=Operator.GT, values=(0.4,))
    keyed = Condition(field=Field.METADATA_KEY, operator=Operator.EQ, values=("k",))
    query = Query(account_id="acme", search="new", conditions=(said, keyed))
    assert ([b"entry 0!"], 1) == await _found(store, query)
    assert b"bodies" == await store.payload("acme", "default", "id-0")


async def test_entries_are_deleted_with_their_payloads(store: EntryStore) -> None:
    """The first in the order go, of the gateway and of those that satisfy, and no more than the limit."""
    rows = [replace(row, payload=b"p", status=200 + n % 2) for n, row in enumerate(_rows(10))]
    other = replace(ROW, id="other", gateway_id="other", status=201)
    await store.add([*rows, other])
    odd = Condition(field=Field.STATUS_CODE, operator=Operator.EQ, values=(201,))
    deletion = Deletion(account_id="acme", gateway_id="default", limit=2, conditions=(odd,))

    assert 2 == await store.delete(deletion)
    assert 2 == await store.delete(replace(deletion, ascending=False))
    assert (None, b"p") == (await store.payload("acme", "", "id-1"), await store.payload("acme", "", "id-5"))
    page = await store.list(Query(account_id="acme", gateway_id="default", ascending=True))
    assert [b"entry %d" % number for number in (0, 2, 4, 5, 6, 8)] == list(page.entries)
    assert 6 == await store.delete(replace(deletion, limit=10_000, conditions=()))
    assert 1 == (await store.list(Query(account_id="acme"))).total_count


async def test_more_entries_than_one_transaction_deletes_go(store: EntryStore) -> None:
    """A deletion goes on until its limit or its end."""
    await store.add(_rows(1300))
    deletion = Deletion(account_id="acme", gateway_id="default", limit=1100)

    assert [1100, 200, 0] == [await store.delete(deletion) for _ in range(3)]


async def test_only_what_is_there_counts_as_too_many(store: EntryStore) -> None:
    """Entries that were deleted from the middle do not push out others."""
    await store.add(_rows(30))
    middle = Deletion(account_id="acme", gateway_id="default", limit=20, order_by=Field.CREATED_AT)
    first, last = replace(ROW, id="first", created_us=9_000_000), replace(ROW, id="last")
    await store.add([first, last])
    await store.delete(middle)

    assert [0, 2] == [await store.excess(most) for most in (12, 10)]


async def test_a_deleted_entry_can_be_recorded_again(store: EntryStore) -> None:
    """An id that is gone is not known; who sends it again finds its payload too."""
    await store.add([replace(ROW, payload=b"one")])
    await store.delete(Deletion(account_id="acme", gateway_id="default", limit=1))

    assert 1 == await store.add([replace(ROW, payload=b"two")])
    assert b"two" == await store.payload("acme", "", "id-0")


async def test_many_at_the_same_time_lose_nothing(store: EntryStore) -> None:
    """Whatever is added, read, changed and deleted at once, what should be there is there as it should be."""
    chance = random.Random(4)
    doomed = [replace(row, id=f"x{row.id}", gateway_id="doomed", payload=b"p") for row in _rows(100)]
    await store.add([*_rows(100), *doomed])
    fresh = [replace(row, id=f"f{row.id}", payload=b"p") for row in _rows(500)]

    def change(entry: bytes) -> Remarks:
        return Remarks(feedback=1.0, metadata_keys="", metadata_values="", searched="", entry=entry + b"!")

    one = Deletion(account_id="acme", gateway_id="doomed", limit=1)
    work = [
        *(store.add([row]) for row in fresh),
        *(store.update("acme", "default", f"id-{number % 100}", change) for number in range(200)),
        *(store.delete(one) for _ in range(100)),
        *(store.get("acme", "", f"id-{number % 100}") for number in range(200)),
    ]
    chance.shuffle(work)
    await asyncio.gather(*work)

    page = await store.list(Query(account_id="acme", limit=1000))
    kept = [b"entry %d!!" % number for number in range(100)] + [row.entry for row in fresh]
    assert (sorted(kept), 600) == (sorted(page.entries), page.total_count)
    assert [b"p"] * 500 == [await store.payload("acme", "", row.id) for row in fresh]


async def test_who_follows_the_log_misses_nothing(database_location: Location) -> None:
    """With several processes that record at once, each entry is found after those found before."""
    log = structlog.get_logger()
    async with open_store(database_location, log=log) as one, open_store(database_location, log=log) as two:
        await one.add([replace(ROW, id="first")])
        recording = asyncio.gather(
            *(
                (one, two)[number % 2].add([replace(ROW, id=f"n{number}", entry=b"n%d" % number)])
                for number in range(200)
            )
        )
        seen: list[bytes] = []
        query = Query(account_id="acme", after_id="first", ascending=True, limit=7)
        done = False
        while True:
            found = (await two.list(query)).entries
            seen.extend(found)
            if found:
                query = replace(query, after_id=found[-1].decode())
            elif done:
                break
            done = recording.done()
            await asyncio.sleep(0)
        await recording

    assert sorted(b"n%d" % number for number in range(200)) == sorted(seen)
