"""Layouts: which columns a profile has, as rows that meters of a type share.

A layout is found by the fingerprint of its period and columns and never changed; a meter that captures
other columns than its type's newest layout gets another version. Knows how a capture object becomes a
column and how a layout row becomes what `dlms.profile` decodes by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from dlms import obis
from readings.latest import Channel
from readings.models import LayoutColumn, ProfileLayout

if TYPE_CHECKING:
    from dlms.profile import Layout

#: attempts at the next version number while others take theirs
VERSION_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column as the meter captures it; `logical_name` in text form."""

    role: str
    class_id: int
    logical_name: str
    attribute: int
    data_index: int = 0
    scaler: int = 0
    unit: int = 255
    coding: str = "int"
    null_repeats: bool = False


def columns_from(
    capture_objects: Iterable[Any],
    scaler_units: Mapping[tuple[str, int], tuple[int, int]] | None = None,
    codings: Mapping[int, str] | None = None,
    *,
    null_repeats: bool = False,
) -> tuple[ColumnSpec, ...]:
    """Specs for capture objects (class_id, logical_name octets, attribute, data_index) in their order.

    The first clock's time is the clock column, the first AMR profile status (0-b:96.10.x) the status
    column, all else channels. `scaler_units` by (logical name, attribute); `codings` by the column's place.
    """
    specs: list[ColumnSpec] = []
    for place, captured in enumerate(capture_objects):
        name = obis.to_text(captured.logical_name)
        scaler, unit = (scaler_units or {}).get((name, captured.attribute), (0, 255))
        role = _role(captured, [spec.role for spec in specs])
        specs.append(
            ColumnSpec(
                role=role,
                class_id=captured.class_id,
                logical_name=name,
                attribute=captured.attribute,
                data_index=captured.data_index,
                scaler=scaler,
                unit=unit,
                coding=(codings or {}).get(place, "int"),
                null_repeats=null_repeats and role == LayoutColumn.Role.CHANNEL,
            )
        )
    return tuple(specs)


def _role(captured: Any, taken: Sequence[str]) -> str:
    if captured.class_id == 8 and LayoutColumn.Role.CLOCK not in taken:
        return LayoutColumn.Role.CLOCK
    is_status = captured.logical_name[0] == 0 and captured.logical_name[2:4] == bytes((96, 10))
    if is_status and captured.attribute == 2 and LayoutColumn.Role.STATUS not in taken:
        return LayoutColumn.Role.STATUS
    return LayoutColumn.Role.CHANNEL


def fingerprint(capture_period_s: int, columns: Sequence[ColumnSpec]) -> str:
    plain = [capture_period_s, *(list(asdict(column).values()) for column in columns)]
    return hashlib.sha256(json.dumps(plain, separators=(",", ":")).encode()).hexdigest()


def layout_for(
    meter_type_id: int, logical_name: str, capture_period_s: int, columns: Sequence[ColumnSpec]
) -> ProfileLayout:
    """The type's layout with these columns, made if it is new; safe against others who make it too."""
    mark = fingerprint(capture_period_s, columns)
    wanted = ProfileLayout.objects.filter(
        meter_type_id=meter_type_id, logical_name=logical_name, fingerprint=mark
    )
    for attempt in range(VERSION_ATTEMPTS):
        layout = wanted.prefetch_related("columns").first()
        if layout is not None:
            return layout
        try:
            return _create(meter_type_id, logical_name, capture_period_s, columns, mark)
        except IntegrityError:
            if attempt == VERSION_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _create(
    meter_type_id: int, logical_name: str, capture_period_s: int, columns: Sequence[ColumnSpec], mark: str
) -> ProfileLayout:
    with transaction.atomic():
        same = ProfileLayout.objects.filter(meter_type_id=meter_type_id, logical_name=logical_name)
        newest = same.aggregate(newest=Max("version"))["newest"] or 0
        layout = ProfileLayout.objects.create(
            meter_type_id=meter_type_id,
            logical_name=logical_name,
            version=newest + 1,
            capture_period_s=capture_period_s,
            fingerprint=mark,
        )
        LayoutColumn.objects.bulk_create(
            LayoutColumn(layout=layout, position=position, **asdict(column))
            for position, column in enumerate(columns)
        )
    return layout


def channel_columns(layout: ProfileLayout) -> list[LayoutColumn]:
    """The channels in the order of a row's values."""
    return [column for column in layout.columns.all() if column.role == LayoutColumn.Role.CHANNEL]


def channels(layout: ProfileLayout) -> tuple[Channel, ...]:
    """The channels as the latest-value cache names them."""
    return tuple(
        Channel(column.logical_name, column.attribute, column.coding, column.scaler, column.unit)
        for column in channel_columns(layout)
    )


class LayoutCache:
    """Layouts by id for a process that meets the same few for ever; they never change, so nothing expires."""

    def __init__(self, load: Callable[[int], ProfileLayout] | None = None) -> None:
        self.get = lru_cache(maxsize=4096)(load or _load)


def _load(layout_id: int) -> ProfileLayout:
    return ProfileLayout.objects.prefetch_related("columns").get(pk=layout_id)


def to_dlms(layout: ProfileLayout, zone: tzinfo, inverted: bool = False) -> Layout:
    """What `dlms.profile` decodes the buffer by, for a meter with this zone and sign of the deviation."""
    from dlms.profile import CaptureObject, Coding, Column, Layout

    return Layout(
        logical_name=obis.parse(layout.logical_name),
        capture_period_s=layout.capture_period_s,
        columns=tuple(
            Column(
                capture_object=CaptureObject(
                    class_id=column.class_id,
                    logical_name=obis.parse(column.logical_name),
                    attribute=column.attribute,
                    data_index=column.data_index,
                ),
                role=column.role,
                coding=Coding(column.coding),
                null_repeats=column.null_repeats,
            )
            for column in layout.columns.all()
        ),
        zone=zone,
        deviation_inverted=inverted,
    )
