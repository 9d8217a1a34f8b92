"""A line of one channel over one day as SVG, drawn on the server: no script, nothing loaded from elsewhere.

Floats are good enough here: a pixel is coarser. The exact values stand in the table beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

WIDTH, HEIGHT = 960, 260
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 12, 24


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of the grid and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`lines`: the runs between gaps, each the `points` of a polyline."""

    lines: list[str]
    points: list[Point]
    hours: list[Mark]
    levels: list[Mark]
    unit: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart_of(
    series: Sequence[tuple[datetime, float | None]],
    start: datetime,
    end: datetime,
    *,
    unit: str,
    zone: tzinfo,
    break_s: float,
) -> Chart | None:
    """None where there is nothing to draw. A line breaks at a null, and where more than `break_s` pass."""
    known = [value for _, value in series if value is not None]
    if not known or end <= start:
        return None
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 1, high + 1
    width_s = (end - start).total_seconds()

    def x_of(moment: datetime) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (moment - start).total_seconds() / width_s, 1)

    def y_of(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low), 1)

    lines: list[list[str]] = [[]]
    points: list[Point] = []
    before: datetime | None = None
    for moment, value in series:
        if value is None or (before is not None and (moment - before).total_seconds() > break_s):
            lines.append([])
        if value is None:
            continue
        point = Point(x_of(moment), y_of(value), f"{moment.astimezone(zone):%H:%M}  {value:g} {unit}")
        points.append(point)
        lines[-1].append(f"{point.x},{point.y}")
        before = moment
    return Chart(
        lines=[" ".join(line) for line in lines if len(line) > 1],
        points=points,
        hours=_hours(start, end, zone, x_of),
        levels=[Mark(y_of(level), f"{level:g}") for level in (low, (low + high) / 2, high)],
        unit=unit,
    )


def _hours(start: datetime, end: datetime, zone: tzinfo, x_of) -> list[Mark]:  # type: ignore[no-untyped-def]
    marks = []
    moment = start
    while moment <= end:
        marks.append(Mark(x_of(moment), f"{moment.astimezone(zone):%H:%M}"))
        moment += timedelta(hours=3)
    return marks
