"""A measured figure and how it is told: a JSON line with the median of several runs and their spread."""

from __future__ import annotations

import gc
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Digits that the spread of runs leaves meaningful.
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is the median of `runs`. `ratio`: how many times better it is than `compared_with` says."""

    name: str
    unit: str
    runs: Sequence[float]
    ratio: float | None = None
    compared_with: str = ""
    #: more to know of how it came about
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    def line(self) -> str:
        told: dict[str, Any] = {"name": self.name, "value": rounded(self.value), "unit": self.unit}
        if self.ratio is not None:
            told |= {"ratio": rounded(self.ratio), "compared_with": self.compared_with}
        told |= {
            "min": rounded(min(self.runs)),
            "max": rounded(max(self.runs)),
            "runs": len(self.runs),
            **self.facts,
        }
        return json.dumps(told)


def rounded(number: float) -> float | int:
    """To the digits that mean something; whole numbers without a point."""
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def times_less(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times more the others take, median by median."""
    return statistics.median(theirs) / statistics.median(ours)


def in_turn(runs: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Each side once to warm up, then `runs` rounds of all sides in turn; the samples of each side.

    In turn, so that whatever else the machine does meets all of them alike. What lives already is frozen out
    of the garbage collector's sight: its full passes would charge one side for the modules of the other.
    """
    for side in sides:
        side()
    gc.collect()
    gc.freeze()
    try:
        rounds = [[side() for side in sides] for _ in range(runs)]
    finally:
        gc.unfreeze()
    return [list(samples) for samples in zip(*rounds, strict=True)]
