"""Names and severities of event codes: rows of `EventCode`, those of a meter's type before those of none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import Q

from events.models import EventCode


class Meaning(NamedTuple):
    name: str
    severity: str


#: a code that no table names is kept and shown as it came
UNKNOWN = Meaning("", EventCode.Severity.INFO)


class Meanings:
    """The codes of some logs, looked up with one query."""

    def __init__(self, type_ids: Iterable[int], logs: Iterable[str], codes: Iterable[int]) -> None:
        rows = EventCode.objects.filter(
            Q(meter_type_id__in=set(type_ids)) | Q(meter_type=None), log__in=set(logs), code__in=set(codes)
        )
        self._rows = {(row.meter_type_id, row.log, row.code): Meaning(row.name, row.severity) for row in rows}

    def of(self, type_id: int, log: str, code: int) -> Meaning:
        return self._rows.get((type_id, log, code)) or self._rows.get((None, log, code)) or UNKNOWN
