"""The memory store against a model of it: bounded, never late, the longest unasked goes first."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from services.cache.core.key import scope_of, unpack
from services.cache.store import Answer, Wanted
from services.cache.store_memory import ENTRY_OVERHEAD_BYTES, MemoryAnswerStore
from tests.fakes.cache_stores import key_of, purge_of
from tests.fakes.stopped_clock import StoppedClock

MAX_BYTES = 3 * (ENTRY_OVERHEAD_BYTES + 100)

_keys = st.sampled_from([bytes([number]) for number in range(6)])
_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), _keys, st.binary(max_size=3).map(lambda b: b * 700), st.sampled_from([60, 90])
        ),
        st.tuples(st.just("get"), _keys, st.just(b""), st.just(0)),
        st.tuples(st.just("wait"), st.just(b""), st.just(b""), st.sampled_from([1, 40, 60])),
        st.tuples(st.just("sweep"), st.just(b""), st.just(b""), st.sampled_from([1, 100])),
    ),
    max_size=60,
)


class _Model:
    """The same store written to be obvious: every step looks at everything."""

    def __init__(self) -> None:
        self.now = 0
        self.kept: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        self._expire()
        if key not in self.kept:
            return None
        self.kept.move_to_end(key)
        return self.kept[key][0]

    def put(self, key: bytes, value: bytes, ttl_s: int) -> bool:
        self._expire()
        self.kept.pop(key, None)
        if self._size(value) > MAX_BYTES:
            return False
        self.kept[key] = (value, self.now + ttl_s)
        while sum(self._size(kept) for kept, _ in self.kept.values()) > MAX_BYTES:
            self.kept.popitem(last=False)
        return True

    def _expire(self) -> None:
        for key in [key for key, (_, until) in self.kept.items() if until <= self.now]:
            del self.kept[key]

    @staticmethod
    def _size(value: bytes) -> int:
        return 32 + len(value) + ENTRY_OVERHEAD_BYTES


async def _put(store: MemoryAnswerStore, body: bytes, value: bytes, ttl_s: float) -> bool:
    begun = await store.find(key_of(body), Wanted(read=False))
    key = unpack(key_of(body).pack(begun.born))
    assert key is not None
    return await store.put(key, Answer(value=value, provider=scope_of("openai"), ttl_s=ttl_s))


@settings(max_examples=300)
@given(_steps)
async def test_the_store_does_what_its_model_does(steps: list[tuple[str, bytes, bytes, int]]) -> None:
    """Any sequence of stores, lookups and sweeps: same answers as the model, never above the bound."""
    clock = StoppedClock(0.0)
    model = _Model()
    store = MemoryAnswerStore(max_bytes=MAX_BYTES, claim_s=120.0, clock=clock)
    for what, key, value, number in steps:
        if what == "put":
            assert model.put(key, value, number) == await _put(store, key, value, number)
        elif what == "get":
            assert model.get(key) == (await store.find(key_of(key), Wanted())).value
        elif what == "wait":
            model.now += number
            clock.advance(number)
        else:
            store.sweep(number)

        assert MAX_BYTES >= store.size_bytes
        assert store.size_bytes == sum(kept.size for kept in store._kept.values())
        assert 2 * len(store) + 64 >= len(store._expiries)


async def test_sweeping_frees_what_is_past_its_time() -> None:
    """A sweep empties the store of old answers, so many at a time, and leaves the others."""
    clock = StoppedClock()
    store = MemoryAnswerStore(max_bytes=10**6, claim_s=120.0, clock=clock)
    for number in range(10):
        await _put(store, bytes([number]), b"x", 60 + (number % 2) * 60)
    clock.advance(61)

    assert store.sweep(limit=3)
    assert 7 == len(store)
    assert not store.sweep()
    assert (5, 5) == (len(store), store.expired_count)


async def test_replacing_an_entry_leaves_no_marks_behind() -> None:
    """One key stored again and again takes the room of one."""
    store = MemoryAnswerStore(max_bytes=10**6, claim_s=120.0, clock=StoppedClock())
    for _ in range(1000):
        await _put(store, b"k", b"x", 60)

    assert 1 == len(store)
    assert 66 >= len(store._expiries)


async def test_claims_that_are_over_leave_nothing() -> None:
    """Claims of those who never came back are forgotten by the next sweep."""
    clock = StoppedClock()
    store = MemoryAnswerStore(max_bytes=10**6, claim_s=10.0, clock=clock)
    for number in range(100):
        await store.find(key_of(bytes([number])), Wanted(claims=True))
    before = store.claim_count
    clock.advance(10)
    store.sweep()

    assert (100, 0) == (before, store.claim_count)


async def test_what_was_purged_frees_its_room_when_it_is_asked_for() -> None:
    """A purge touches no answer; one that is met afterwards is thrown away."""
    store = MemoryAnswerStore(max_bytes=10**6, claim_s=10.0, clock=StoppedClock())
    await _put(store, b"k", b"x", 60)
    await store.purge(purge_of())
    kept = len(store)
    await store.find(key_of(b"k"), Wanted())

    assert (1, 0, 0, 1) == (kept, len(store), store.size_bytes, store.purged_count)
