"""From a claim to what is read: ranges by high-water mark, layouts known or learnt. Runs in database
threads."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from django.conf import settings
from django.db.models import Max, Q
from django.utils import timezone

from dlms import obis, profile
from dlms.profile import CaptureObject, Coding, Column
from dlms.profile.layout import Role
from events.models import Event
from meters.models import DueRead, Meter, ReadingPlan, TypeRegister
from readings import layouts
from readings.models import MeterProfile, ProfileLayout
from workers.contexts import MeterContext

#: One request asks for at most this much: long absences come in pieces that each fit a dialog and an entry.
CHUNK = dt.timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to read from a meter; `start` and `end` inclusive, of captured_at."""

    kind: str
    logical_name: bytes
    start: dt.datetime
    end: dt.datetime
    #: it begins with what a read on demand left behind (`DueRead.backfill_from`)
    owed: bool = False

    def chunks(self) -> Iterator[tuple[dt.datetime, dt.datetime]]:
        start = self.start
        while start <= self.end:
            end = min(self.end, start + CHUNK)
            yield start, end
            start = end + dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class KnownProfile:
    layout_id: int
    layout: profile.Layout


@dataclass(frozen=True, slots=True)
class LayoutRequest:
    context: MeterContext
    logical_name: bytes
    captured: Sequence[CaptureObject]
    capture_period_s: int


def items_of(pairs: list[tuple[int, int]], now: dt.datetime) -> list[Item]:
    """One item per (meter id, plan id), from behind the newest stored row to now. A meter without rows is
    read from the start of the day `HES_FIRST_READ_DAYS` ago, one that owes earlier rows from there on."""
    plans = {plan.pk: plan for plan in ReadingPlan.objects.filter(pk__in={plan_id for _, plan_id in pairs})}
    meter_ids = {meter_id for meter_id, _ in pairs}
    marks: dict[tuple[int, str], dt.datetime | None] = {
        (meter_id, name): mark
        for meter_id, name, mark in MeterProfile.objects.filter(meter_id__in=meter_ids).values_list(
            "meter_id", "logical_name", "high_water"
        )
    }
    has_events = any(plan.kind == ReadingPlan.Kind.EVENTS for plan in plans.values())
    newest_events = _newest_events(meter_ids, now) if has_events else {}
    # After the marks: who owes says so before rows are stored that move the mark.
    owing = DueRead.objects.filter(meter_id__in=meter_ids, plan_id__in=list(plans), backfill_from__lt=now)
    owed = {(m, p): start for m, p, start in owing.values_list("meter_id", "plan_id", "backfill_from")}
    first = (now - dt.timedelta(days=settings.HES_FIRST_READ_DAYS)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    items = []
    for meter_id, plan_id in pairs:
        plan = plans[plan_id]
        if plan.kind == ReadingPlan.Kind.PROFILE:
            name, mark = obis.parse(plan.logical_name), marks.get((meter_id, plan.logical_name))
            start = mark + dt.timedelta(seconds=1) if mark else first
        elif plan.kind == ReadingPlan.Kind.EVENTS:
            # From the newest time itself: a second event of that second may have come after the last read.
            name, start = b"", newest_events.get(meter_id, first)
        else:
            items.append(Item(plan.kind, b"", now, now))
            continue
        since = owed.get((meter_id, plan_id))
        items.append(Item(plan.kind, name, min(start, since or start), now, owed=since is not None))
    return items


def _newest_events(meter_ids: set[int], now: dt.datetime) -> dict[int, dt.datetime]:
    """Of those up to now: a clock that was ahead once must not hide what comes before its events."""
    rows = (
        Event.objects.filter(meter_id__in=meter_ids, captured_at__lte=now)
        .order_by()
        .values("meter_id")
        .annotate(newest=Max("captured_at"))
    )
    return {row["meter_id"]: row["newest"] for row in rows}


def owe_below(meter_id: int, kind: str, logical_name: str, start: dt.datetime) -> None:
    """Say before a read on demand from `start` on what the plans have not read below it: its rows move the
    mark, behind which the plans go on."""
    types = Meter.objects.filter(pk=meter_id).values("meter_type")
    plans = ReadingPlan.objects.filter(kind=kind, meter_type__in=types)
    if kind == ReadingPlan.Kind.PROFILE:
        plans = plans.filter(logical_name=logical_name)
    for plan in plans:
        (item,) = items_of([(meter_id, plan.pk)], timezone.now())
        if item.start >= start:
            continue
        DueRead.objects.get_or_create(meter_id=meter_id, plan=plan, defaults={"priority": plan.priority})
        unowed = Q(backfill_from=None) | Q(backfill_from__gt=item.start)
        DueRead.objects.filter(unowed, meter_id=meter_id, plan=plan).update(backfill_from=item.start)


def owe_from(due_id: int, token: uuid.UUID, start: dt.datetime) -> None:
    """A part of what was owed is read: the next try need not begin before `start`."""
    DueRead.objects.filter(pk=due_id, claim_token=token).update(backfill_from=start)


def known_profiles(requests: list[tuple[MeterContext, bytes]]) -> list[KnownProfile | None]:
    """The layouts that the meters were seen to have, in the order of the requests."""
    rows = MeterProfile.objects.filter(
        meter_id__in={context.meter_id for context, _ in requests},
        logical_name__in={obis.to_text(name) for _, name in requests},
    ).values_list("meter_id", "logical_name", "layout_id")
    found = {(meter_id, name): layout_id for meter_id, name, layout_id in rows}
    answers: list[KnownProfile | None] = []
    for context, name in requests:
        layout_id = found.get((context.meter_id, obis.to_text(name)))
        known = None if layout_id is None else _known(layout_id, context)
        fits = known is not None and _repeats_as_told(known.layout, context)
        answers.append(known if fits else None)
    return answers


def find_layout(request: LayoutRequest) -> KnownProfile | None:
    """The newest layout of the meter's type with these capture objects; the meter is noted to have it.

    Scalers, units and types belong to the type: one meter told them, the others are taken to be its like.
    """
    wanted = [(c.class_id, obis.to_text(c.logical_name), c.attribute, c.data_index) for c in request.captured]
    candidates = (
        ProfileLayout.objects.filter(
            meter_type_id=request.context.type.type_id,
            logical_name=obis.to_text(request.logical_name),
            capture_period_s=request.capture_period_s,
        )
        .prefetch_related("columns")
        .order_by("-version")
    )
    for row in candidates:
        held = [(c.class_id, c.logical_name, c.attribute, c.data_index) for c in row.columns.all()]
        if held == wanted and _repeats_as_told(_known(row.pk, request.context).layout, request.context):
            return _note(request, row.pk)
    return None


def _repeats_as_told(layout: profile.Layout, context: MeterContext) -> bool:
    """Whether null-data means in this layout what the type says now; layouts never change."""
    return all(column.null_repeats == context.type.null_data_repeats for column in layout.channels)


def provisional_layout(request: LayoutRequest) -> profile.Layout:
    """A layout to read rows by whose types are not known yet."""
    return profile.Layout(
        logical_name=request.logical_name,
        capture_period_s=request.capture_period_s,
        columns=tuple(
            Column(capture_object=captured, role=cast(Role, spec.role), coding=Coding.INT, null_repeats=False)
            for captured, spec in zip(request.captured, layouts.columns_from(request.captured), strict=True)
        ),
        zone=request.context.zone,
        deviation_inverted=request.context.type.deviation_inverted,
    )


def create_layout(
    request: LayoutRequest, scaler_units: dict[tuple[str, int], tuple[int, int]], codings: dict[int, str]
) -> KnownProfile:
    """Get or create the layout from what the meter told: (logical name, attribute) -> (scaler, unit), and the
    coding per column."""
    row = layouts.layout_for(
        request.context.type.type_id,
        obis.to_text(request.logical_name),
        request.capture_period_s,
        layouts.columns_from(
            request.captured,
            scaler_units,
            codings,
            null_repeats=request.context.type.null_data_repeats,
        ),
    )
    return _note(request, row.pk)


def keep_scaler(type_register_id: int, scaler: int, unit: int) -> None:
    TypeRegister.objects.filter(pk=type_register_id, scaler=None).update(scaler=scaler, unit=unit)


def note_clocks(drifts: list[tuple[int, float]]) -> list[bool]:
    for meter_id, drift_s in drifts:
        Meter.objects.filter(pk=meter_id).update(clock_drift_s=drift_s)
    return [True] * len(drifts)


def _note(request: LayoutRequest, layout_id: int) -> KnownProfile:
    MeterProfile.objects.update_or_create(
        meter_id=request.context.meter_id,
        logical_name=obis.to_text(request.logical_name),
        defaults={"layout_id": layout_id, "verified_at": timezone.now()},
    )
    return _known(layout_id, request.context)


_rows = layouts.LayoutCache()
_layouts: dict[tuple[int, str, bool], profile.Layout] = {}


def _known(layout_id: int, context: MeterContext) -> KnownProfile:
    """Layouts never change, so they are kept for the life of the process."""
    key = (layout_id, context.zone.key, context.type.deviation_inverted)
    if key not in _layouts:
        _layouts[key] = layouts.to_dlms(_rows.get(layout_id), context.zone, context.type.deviation_inverted)
    return KnownProfile(layout_id, _layouts[key])
