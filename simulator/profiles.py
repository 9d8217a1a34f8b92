"""Profile generic (class 7) of the simulated meters: which rows an access selects, and the buffer of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlms import axdr, clock, obis
from dlms.device import AccessRefusedError
from dlms.enums import DataAccessResult, DataType
from dlms.errors import RemoteProtocolError
from dlms.xdlms.access import BY_ENTRY, BY_RANGE, CaptureObject, Entries, Range, SelectiveAccess
from simulator.rows import Column, encode_rows
from simulator.truth import CAPTURE_PERIOD_S, CHANNELS, DAY_S, interval_ends

if TYPE_CHECKING:
    from simulator.meter import Meter

LOAD_PROFILE_KEPT_S = 40 * DAY_S
LOAD_PROFILE_ENTRIES = LOAD_PROFILE_KEPT_S // CAPTURE_PERIOD_S
EVENT_LOG_ENTRIES = 400

CLOCK = CaptureObject(8, obis.parse("0-0:1.0.0.255"), 2)
AMR_STATUS = CaptureObject(1, obis.parse("0-0:96.10.1.255"), 2)
EVENT_CODE = CaptureObject(1, obis.parse("0-0:96.11.0.255"), 2)

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
            cells, selected = self.rows(meter), list(range(len(self.columns)))
        elif access.selector == BY_RANGE:
            from_s, to_s, selected = self._range(access)
            cells = self.rows(meter, from_s, to_s)
        elif access.selector == BY_ENTRY:
            entries, selected = self._entries(access)
            cells = tuple(column[entries] for column in self.rows(meter))
        else:
            raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        data_types = tuple(self.columns[index].data_type for index in selected)
        return encode_rows(data_types, [cells[index] for index in selected])

    def entries_in_use(self, meter: Meter) -> int:
        return len(self.rows(meter)[0])

    def _range(self, access: SelectiveAccess) -> tuple[int, int, list[int]]:
        try:
            wanted = Range.from_access(access)
        except RemoteProtocolError as error:
            raise AccessRefusedError(DataAccessResult.TYPE_UNMATCHED) from error
        if wanted.restricting_object != CLOCK:
            raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        from_s = -(-_utc_us(wanted.start) // 1_000_000)
        return from_s, _utc_us(wanted.end) // 1_000_000, self._selected(wanted.selected)

    def _selected(self, wanted: tuple[CaptureObject, ...]) -> list[int]:
        """The columns asked for, in the buffer's order; none asked for means all."""
        known = [column.capture_object for column in self.columns]
        if not all(item in known for item in wanted):
            raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        return [index for index, item in enumerate(known) if item in wanted or not wanted]

    def _entries(self, access: SelectiveAccess) -> tuple[slice, list[int]]:
        try:
            wanted = Entries.from_access(access)
        except RemoteProtocolError as error:
            raise AccessRefusedError(DataAccessResult.TYPE_UNMATCHED) from error
        last = min(wanted.to_column or len(self.columns), len(self.columns))
        if wanted.from_entry < 1 or not 1 <= wanted.from_column <= last or wanted.to_entry < 0:
            raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        return slice(wanted.from_entry - 1, wanted.to_entry or None), list(
            range(wanted.from_column - 1, last)
        )


def _utc_us(data: axdr.Data) -> int:
    """Microseconds of a from or to value: date-time, bare or as an octet-string; the meter runs on UTC."""
    if data.type not in (DataType.OCTET_STRING, DataType.DATE_TIME):
        raise AccessRefusedError(DataAccessResult.TYPE_UNMATCHED)
    try:
        moment = clock.parse_datetime(data.value, UTC).utc
    except RemoteProtocolError as error:
        raise AccessRefusedError(DataAccessResult.TYPE_UNMATCHED) from error
    return (moment - _UNIX_EPOCH) // timedelta(microseconds=1)


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
