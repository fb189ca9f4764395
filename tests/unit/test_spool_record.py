"""
The framing of spool records: what was written is read, whatever happened to the file.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.edge.spool.record import Kind, Record, encode, scan

_records = st.lists(
    st.builds(
        Record,
        st.sampled_from(Kind),
        st.text("0123456789abcdef-", min_size=1, max_size=36),
        st.binary(max_size=300),
    ),
    max_size=8,
)


def _file(records: list[Record], salt: int) -> bytes:
    return b"".join(encode(record.kind, record.log_id, record.payload, salt=salt) for record in records)


@given(_records, st.integers(0, 2**32 - 1))
def test_what_was_written_is_read(records: list[Record], salt: int) -> None:
    """A file that nothing happened to gives back its records."""
    found = scan(_file(records, salt), salt=salt)

    assert (tuple(records), 0, 0) == (found.records, found.corrupt_count, found.torn_bytes)


@given(_records.filter(bool), st.data())
def test_a_cut_file_gives_its_whole_records(records: list[Record], data: st.DataObject) -> None:
    """A file cut anywhere gives every record before the cut and calls the rest torn, not damaged."""
    content = _file(records, 7)
    cut = data.draw(st.integers(0, len(content)))
    ends = [len(_file(records[: count + 1], 7)) for count in range(len(records))]
    whole = sum(end <= cut for end in ends)

    found = scan(content[:cut], salt=7)

    assert tuple(records[:whole]) == found.records
    assert 0 == found.corrupt_count
    assert cut - ([0, *ends][whole]) == found.torn_bytes


@given(_records.filter(lambda records: len(records) > 1), st.data())
def test_damage_costs_one_record(records: list[Record], data: st.DataObject) -> None:
    """A changed byte loses the record it is in and none of the others."""
    content = bytearray(_file(records, 7))
    index = data.draw(st.integers(0, len(content) - 1))
    content[index] ^= data.draw(st.integers(1, 255))
    starts = [len(_file(records[:count], 7)) for count in range(len(records))]
    hit = max(count for count, start in enumerate(starts) if start <= index)

    found = scan(bytes(content), salt=7)

    assert tuple(records[:hit] + records[hit + 1 :]) == found.records
    if hit < len(records) - 1:
        assert 1 == found.corrupt_count
    else:
        assert 1 == found.corrupt_count + (found.torn_bytes > 0)


def test_a_record_inside_a_payload_is_not_found() -> None:
    """Somebody who puts a record into a prompt does not get it read when the record around it is damaged."""
    forged = encode(Kind.FINAL, "forged", b"x", salt=1)
    content = bytearray(encode(Kind.FINAL, "real", b"a" + forged + b"b", salt=2))
    content[5] ^= 1

    assert () == scan(bytes(content), salt=2).records


@given(st.binary(max_size=400))
def test_any_bytes_can_be_scanned(data: bytes) -> None:
    """A file of anything at all never raises."""
    found = scan(data, salt=0)

    assert len(data) >= found.torn_bytes
