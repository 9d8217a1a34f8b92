"""Rows that the tables cannot take, kept with the code of the cause so that nothing is lost.

| code | cause |
|---|---|
| ROW_WITHOUT_TIME | the meter's clock column could not be read |
| ROW_TOO_OLD | captured before the oldest partition: beyond the retention, or a clock that lost its time |
| ROW_IN_FUTURE | captured more than a day ahead: the meter's clock is wrong |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dlms.profile import NO_TIME
from readings.entries import EventEntry, EventRecord, RegisterEntry, RegisterReading
from readings.models import RejectedRow
from readings.rows import Block

ROW_WITHOUT_TIME: Final = "ROW_WITHOUT_TIME"
ROW_TOO_OLD: Final = "ROW_TOO_OLD"
ROW_IN_FUTURE: Final = "ROW_IN_FUTURE"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def keep_rows(block: Block, low_us: int) -> int:
    """Keep rows outside the partitions; those before `low_us` are too old, the others ahead of time."""
    return _keep(
        _row(
            meter_id=int(block.meter_id[place]),
            layout_id=int(block.layout_id[place]),
            captured_at_us=int(block.captured_at[place]),
            code=_code(int(block.captured_at[place]), low_us),
            facts={
                "ordinal": int(block.ordinal[place]),
                "clock_status": int(block.clock_status[place]),
                "status": int(block.status[place]) if block.status_valid[place] else None,
                "values": [
                    int(value) if valid else None
                    for value, valid in zip(block.values[place], block.valid[place], strict=True)
                ],
                "extra": _hex(None if block.extra is None else block.extra[place]),
            },
        )
        for place in range(len(block))
    )


def _code(captured_at_us: int, low_us: int) -> str:
    if captured_at_us == NO_TIME:
        return ROW_WITHOUT_TIME
    return ROW_TOO_OLD if captured_at_us < low_us else ROW_IN_FUTURE


def keep_registers(late: Sequence[tuple[RegisterEntry, RegisterReading]]) -> int:
    return _keep(
        _row(
            meter_id=entry.meter_id,
            layout_id=None,
            captured_at_us=value.captured_at_us,
            code=ROW_IN_FUTURE,
            facts={
                "logical_name": value.logical_name,
                "attribute": value.attribute,
                "coding": value.coding,
                "value": value.value,
                "scaler": value.scaler,
                "unit": value.unit,
                "extra": _hex(value.extra),
            },
        )
        for entry, value in late
    )


def keep_events(late: Sequence[tuple[EventEntry, EventRecord]]) -> int:
    return _keep(
        _row(
            meter_id=entry.meter_id,
            layout_id=None,
            captured_at_us=event.captured_at_us,
            code=ROW_IN_FUTURE,
            facts={
                "log": entry.log,
                "code": event.code,
                "ordinal": event.ordinal,
                "clock_status": event.clock_status,
                "extra": _hex(event.extra),
            },
        )
        for entry, event in late
    )


def _row(
    *, meter_id: int, layout_id: int | None, captured_at_us: int, code: str, facts: dict[str, Any]
) -> RejectedRow:
    row = {"captured_at_us": captured_at_us, **facts}
    digest = hashlib.blake2s(json.dumps(row, sort_keys=True).encode(), digest_size=16).hexdigest()
    try:
        captured_at = _EPOCH + timedelta(microseconds=captured_at_us)
    except OverflowError:
        captured_at = None
    return RejectedRow(
        meter_id=meter_id, layout_id=layout_id, captured_at=captured_at, code=code, row=row, digest=digest
    )


def _keep(rows: Any) -> int:
    """The same row is kept once, however often the meter tells it."""
    found = list(rows)
    RejectedRow.objects.bulk_create(found, ignore_conflicts=True, batch_size=1000)
    return len(found)


def _hex(octets: bytes | None) -> str | None:
    return octets.hex() if octets else None
