"""The bytes of the stream: there and back, and hostile ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readings.entries import (
    Entry,
    EntryError,
    EventEntry,
    EventRecord,
    ProfileEntry,
    RegisterEntry,
    RegisterReading,
    decode,
    encode,
    event_records,
    number_events,
    ordinals,
)
from readings.values import extra_cells

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def profiles(draw: st.DrawFn) -> ProfileEntry:
    rows, channels = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    bools = st.lists(st.booleans(), min_size=rows * channels, max_size=rows * channels)
    numbers = st.lists(INT64, min_size=rows * channels, max_size=rows * channels)
    column = st.lists(INT64, min_size=rows, max_size=rows)
    return ProfileEntry(
        meter_id=draw(INT64),
        layout_id=draw(INT64),
        read_at_us=draw(INT64),
        captured_at=np.array(draw(column), np.int64),
        clock_status=np.frombuffer(draw(st.binary(min_size=rows, max_size=rows)), np.uint8),
        status=np.array(draw(column), np.int64),
        status_valid=np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool),
        values=np.array(draw(numbers), np.int64).reshape(rows, channels),
        valid=np.array(draw(bools), bool).reshape(rows, channels),
        extra=draw(st.none() | st.lists(st.none() | st.binary(max_size=20), min_size=rows, max_size=rows)),
        origin=draw(st.text(max_size=8)),
    )


@given(profiles())
def test_profile_entry_round_trip(entry):
    back = decode(encode(entry))
    for name in ("captured_at", "clock_status", "status", "status_valid", "values", "valid", "ordinal"):
        assert np.array_equal(getattr(back, name), getattr(entry, name)), name
        assert getattr(back, name).shape == getattr(entry, name).shape
    for name in ("meter_id", "layout_id", "read_at_us", "extra", "origin"):
        assert getattr(back, name) == getattr(entry, name), name


def test_other_entries_round_trip():
    entries: list[Entry] = [
        RegisterEntry(
            1,
            2,
            (
                RegisterReading("1-0:1.8.0.255", 2, 3, "u64", -1, -3, 30),
                RegisterReading("x", 2, 3, "extra", None, 0, 255, b"\x09\x00"),
            ),
        ),
        EventEntry(1, "0-0:99.98.0.255", 2, (EventRecord(3, 4, 1, 128, b"\x02\x00"),), "plan"),
    ]
    assert [decode(encode(entry)) for entry in entries] == entries


@given(st.binary(max_size=300))
def test_decode_of_any_bytes_raises_entry_error_only(buf):
    with pytest.raises(EntryError):
        decode(buf)


@given(st.data())
def test_decode_of_a_damaged_entry_is_an_entry_or_an_entry_error(data):
    octets = bytearray(encode(data.draw(profiles())))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    try:
        entry = decode(bytes(octets))
    except EntryError:
        return
    if isinstance(entry, ProfileEntry):
        assert entry.values.shape == entry.valid.shape == (entry.rows, entry.channels)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_ordinals_count_equal_times_in_order(times):
    seen: dict[int, int] = {}
    wanted = []
    for moment in times:
        wanted.append(seen.get(moment, 0))
        seen[moment] = wanted[-1] + 1
    assert ordinals(np.array(times, np.int64)).tolist() == wanted


def test_number_events_by_time_and_code():
    numbered = number_events([EventRecord(1, 5), EventRecord(1, 6), EventRecord(1, 5), EventRecord(2, 5)])
    assert [event.ordinal for event in numbered] == [0, 0, 1, 0]


def test_event_records_of_a_log_with_further_columns():
    from dlms.profile import Table

    table = Table.blank(3, 3)
    table.captured_at[:] = (10, 10, 20)
    table.values[:] = [[1, -5, 7], [1, 6, 0], [9, 0, 0]]
    table.valid[:] = [[True, True, False], [True, False, False], [False, True, True]]
    table.extra[0] = bytes.fromhex("0201 0202 1102 0901ff")
    first, second = event_records(table)
    assert (first.code, first.ordinal, second.ordinal, second.extra) == (1, 0, 1, None)
    assert extra_cells(first.extra) == {
        2: {"type": "octet-string", "value": "ff"},
        1: {"type": "long64", "value": "-5"},
    }
