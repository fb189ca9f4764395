"""Filters of the ledger against what they mean, one value at a time in Python, on both databases."""

from __future__ import annotations

import operator
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ledger.core.query import Condition, Field, Operator, Query
from services.ledger.core.text import joined
from services.ledger.store_sql import open_store
from tests.contract.test_ledger_store import ROW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kit.database import Location
    from services.ledger.store import EntryStore, Row


@pytest.fixture
async def store(database_location: Location) -> AsyncIterator[EntryStore]:
    async with open_store(database_location, log=structlog.get_logger()) as found:
        yield found


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
    Field.CREATED_AT: "created_us",
    Field.TOKENS: "tokens",
    Field.FEEDBACK: "feedback",
    Field.REQUEST_CONTENT_TYPE: "request_content_type",
    Field.RESPONSE_CONTENT_TYPE: "response_content_type",
    Field.USER_AGENT: "user_agent",
    Field.AUTHENTICATION: "authentication",
    Field.METADATA_KEY: "metadata_keys",
    Field.METADATA_VALUE: "metadata_values",
}
_JOINED = [Field.METADATA_KEY, Field.METADATA_VALUE]
_TEXT_FIELDS = [
    Field.ID, Field.PROVIDER, Field.MODEL, Field.EVENT_ID, Field.REQUEST_CONTENT_TYPE,
    Field.RESPONSE_CONTENT_TYPE, Field.USER_AGENT, *_JOINED,
]  # fmt: skip
_FLAG_FIELDS = [Field.SUCCESS, Field.CACHED, Field.AUTHENTICATION]
_MILLISECONDS = [Field.CREATED_AT, Field.DURATION]
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
    created_us=st.integers(0, 3).map(lambda number: number * 1000 + 7),
    tokens=_unknown,
    feedback=st.none() | st.sampled_from([-1.0, 0.5, 1.0]),
    request_content_type=_words,
    response_content_type=_words,
    user_agent=_words,
    authentication=st.booleans(),
    metadata_keys=st.lists(_words, max_size=3).map(joined),
    metadata_values=st.lists(_words, max_size=3).map(joined),
)


@st.composite
def _condition(draw: st.DrawFn) -> Condition:
    field = draw(st.sampled_from(Field))
    equals = [Operator.EQ, Operator.NEQ]
    if field in _TEXT_FIELDS:
        compare = draw(st.sampled_from([*equals, Operator.CONTAINS]))
        value: st.SearchStrategy[Any] = _words
    elif field in _FLAG_FIELDS:
        return Condition(field=field, operator=draw(st.sampled_from(equals)), values=(draw(st.booleans()),))
    else:
        compare = draw(st.sampled_from([*equals, Operator.LT, Operator.GT]))
        value = _numbers.map(lambda number: number * 1000) if field in _MILLISECONDS else _numbers
    least = 0 if compare in equals else 1
    values = draw(st.lists(value, min_size=least, max_size=3))
    return Condition(field=field, operator=compare, values=tuple(values))


def _satisfies(row: Row, condition: Condition) -> bool:
    """Say what a condition means, one value at a time."""
    found = getattr(row, _COLUMNS[condition.field])
    if condition.field in _JOINED:
        parts = found.split("\x1f")[1:-1]
        single = replace(condition, field=Field.PROVIDER)
        each = [_satisfies(replace(row, provider=part), single) for part in parts]
        return all(each) if condition.operator is Operator.NEQ else any(each)
    if condition.field in _MILLISECONDS and condition.operator in {Operator.EQ, Operator.NEQ}:
        found -= found % 1000
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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_row_strategy, max_size=12), st.lists(st.lists(_condition(), max_size=2), max_size=12))
async def test_filters_mean_what_they_say(
    store: EntryStore, rows: list[Row], filters: list[list[Condition]]
) -> None:
    """For any entries and conditions, exactly the entries that satisfy all of them are listed and counted."""
    account = uuid.uuid4().hex
    rows = [
        replace(row, account_id=account, id=f"{account}{number}", entry=b"%d" % number)
        for number, row in enumerate(rows)
    ]
    await store.add(rows)
    for conditions in filters:
        expected = sorted(row.entry for row in rows if all(_satisfies(row, each) for each in conditions))
        query = Query(account_id=account, limit=100, conditions=tuple(conditions))
        page = await store.list(query)

        assert (expected, len(expected)) == (sorted(page.entries), page.total_count)
