"""Profile generic (class 7) of the simulated meters: which rows a selective access means, and the buffer for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlms import axdr, clock, obis
from dlms.enums import DataAccessResult, DataType
from dlms.errors import DlmsError
from dlms.server import AccessRefused, SelectiveAccess
from simulator.rows import CaptureObject, Column, encode_rows
from simulator.truth import CAPTURE_PERIOD_S, CHANNELS, DAY_S, interval_ends

if TYPE_CHECKING:
    from simulator.meter import Meter

BY_RANGE, BY_ENTRY = 1, 2
LOAD_PROFILE_KEPT_S = 40 * DAY_S
LOAD_PROFILE_ENTRIES = LOAD_PROFILE_KEPT_S // CAPTURE_PERIOD_S
EVENT_LOG_ENTRIES = 400

CLOCK = CaptureObject(8, obis.parse("0-0:1.0.0.255"), 2)
AMR_STATUS = CaptureObject(1, obis.parse("0-0:96.10.1.255"), 2)
EVENT_CODE = CaptureObject(1, obis.parse("0-0:96.11.0.255"), 2)

Rows = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: its columns, and what gives the cells of the rows stamped in [from, to] (UTC seconds)."""

    logical_name: bytes
    columns: tuple[Column, ...]
    capture_period_s: int
    profile_entries: int
    rows_between: Callable[[Meter, int, int], Rows]
    kept_s: int = LOAD_PROFILE_KEPT_S

    def rows(self, meter: Meter, from_s: int | None = None, to_s: int | None = None) -> Rows:
        """The cells by column of the rows held now, cut to [from, to]."""
        now_s = int(meter.now_s())
        oldest_s, newest_s = now_s - self.kept_s + 1, now_s
        return self.rows_between(
            meter,
            oldest_s if from_s is None else max(from_s, oldest_s),
            newest_s if to_s is None else min(to_s, newest_s),
        )

    def buffer(self, meter: Meter, access: SelectiveAccess | None) -> bytes:
        """The A-XDR of the buffer attribute as this access selects it."""
        if access is None:
            cells, selected = self.rows(meter), range(len(self.columns))
        elif access.selector == BY_RANGE:
            from_s, to_s, selected = self._range(access.parameters)
            cells = self.rows(meter, from_s, to_s)
        elif access.selector == BY_ENTRY:
            entries, selected = self._entries(access.parameters)
            cells = tuple(column[entries] for column in self.rows(meter))
        else:
            raise AccessRefused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        data_types = tuple(self.columns[index].data_type for index in selected)
        return encode_rows(data_types, [cells[index] for index in selected])

    def entries_in_use(self, meter: Meter) -> int:
        return len(self.rows(meter)[0])

    def _range(self, parameters: axdr.Data) -> tuple[int, int, list[int]]:
        """range_descriptor: restricting_object, from_value, to_value, selected_values."""
        restricting, start, end, selected = _members(parameters, 4)
        if _capture_object(restricting) != CLOCK:
            raise AccessRefused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        return -(-_utc_us(start) // 1_000_000), _utc_us(end) // 1_000_000, self._selected(selected)

    def _selected(self, selected: axdr.Data) -> list[int]:
        if selected.type is not DataType.ARRAY:
            raise AccessRefused(DataAccessResult.TYPE_UNMATCHED)
        if not selected.value:
            return list(range(len(self.columns)))
        known = [column.capture_object for column in self.columns]
        wanted = [_capture_object(item) for item in selected.value]
        if not all(item in known for item in wanted):
            raise AccessRefused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        return [index for index, item in enumerate(known) if item in wanted]

    def _entries(self, parameters: axdr.Data) -> tuple[slice, list[int]]:
        """entry_descriptor: from and to entry, from and to column, each counted from 1; 0 means the last."""
        from_entry, to_entry, from_column, to_column = (_unsigned(item) for item in _members(parameters, 4))
        if from_entry == 0 or from_column == 0 or from_column > len(self.columns):
            raise AccessRefused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        last_column = min(to_column or len(self.columns), len(self.columns))
        return slice(from_entry - 1, to_entry or None), list(range(from_column - 1, last_column))


def _members(data: axdr.Data, count: int) -> tuple[axdr.Data, ...]:
    if data.type is not DataType.STRUCTURE or len(data.value) != count:
        raise AccessRefused(DataAccessResult.TYPE_UNMATCHED)
    members: tuple[axdr.Data, ...] = data.value
    return members


def _unsigned(data: axdr.Data) -> int:
    if data.type not in (DataType.UNSIGNED, DataType.LONG_UNSIGNED, DataType.DOUBLE_LONG_UNSIGNED):
        raise AccessRefused(DataAccessResult.TYPE_UNMATCHED)
    return int(data.value)


def _capture_object(data: axdr.Data) -> CaptureObject:
    class_id, logical_name, attribute, data_index = _members(data, 4)
    if class_id.type is not DataType.LONG_UNSIGNED or logical_name.type is not DataType.OCTET_STRING:
        raise AccessRefused(DataAccessResult.TYPE_UNMATCHED)
    if attribute.type is not DataType.INTEGER or data_index.type is not DataType.LONG_UNSIGNED:
        raise AccessRefused(DataAccessResult.TYPE_UNMATCHED)
    return CaptureObject(class_id.value, logical_name.value, attribute.value, data_index.value)


def _utc_us(data: axdr.Data) -> int:
    """Microseconds of a from or to value: date-time, bare or as an octet-string; the meter runs on UTC."""
    if data.type not in (DataType.OCTET_STRING, DataType.DATE_TIME):
        raise AccessRefused(DataAccessResult.TYPE_UNMATCHED)
    try:
        moment = clock.parse_datetime(data.value, UTC).utc
    except DlmsError as error:
        raise AccessRefused(DataAccessResult.TYPE_UNMATCHED) from error
    return (
        round(moment.timestamp()) * 1_000_000
        if not moment.microsecond
        else int(moment.timestamp() * 1_000_000)
    )


def _load_profile_rows(meter: Meter, from_s: int, to_s: int) -> Rows:
    ends = interval_ends(from_s, to_s)
    values = meter.source.interval_values(ends)
    return (ends, meter.source.interval_status(ends), *(values[:, n] for n in range(values.shape[1])))


def _event_log_rows(meter: Meter, from_s: int, to_s: int) -> Rows:
    rows = [row for row in meter.events.rows(meter.now_s()) if from_s <= row[0] <= to_s]
    return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.uint8)


def _channel(number: int, name: str) -> Column:
    energy = number < 4
    return Column(
        CaptureObject(3, obis.parse(name), 2),
        DataType.DOUBLE_LONG_UNSIGNED if energy else DataType.LONG_UNSIGNED,
    )


LOAD_PROFILE = Profile(
    logical_name=obis.parse("1-0:99.1.0.255"),
    columns=(
        Column(CLOCK, DataType.OCTET_STRING),
        Column(AMR_STATUS, DataType.UNSIGNED),
        *(_channel(number, name) for number, name in enumerate(CHANNELS)),
    ),
    capture_period_s=CAPTURE_PERIOD_S,
    profile_entries=LOAD_PROFILE_ENTRIES,
    rows_between=_load_profile_rows,
)
EVENT_LOG = Profile(
    logical_name=obis.parse("0-0:99.98.0.255"),
    columns=(Column(CLOCK, DataType.OCTET_STRING), Column(EVENT_CODE, DataType.UNSIGNED)),
    capture_period_s=0,
    profile_entries=EVENT_LOG_ENTRIES,
    rows_between=_event_log_rows,
)
