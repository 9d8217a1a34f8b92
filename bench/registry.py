"""The list of benches: a decorated generator of figures is all that a new one takes.

A bench yields its figures; it raises BenchError, with the reason, where it cannot measure or where the sides
that it compares do not give the same answer.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import bench
from bench.figures import Figure

Measure = Callable[[], Iterable[Figure]]


class BenchError(Exception):
    """A bench could not be carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class Bench:
    name: str
    about: str
    is_long: bool
    measure: Measure


BENCHES: dict[str, Bench] = {}


def register(name: str, *, is_long: bool = False) -> Callable[[Measure], Measure]:
    """Decorates a generator of figures; its docstring's first line tells what it measures."""

    def enter(measure: Measure) -> Measure:
        about = (measure.__doc__ or "").strip().partition("\n")[0]
        BENCHES[name] = Bench(name, about, is_long, measure)
        return measure

    return enter


def load() -> dict[str, Bench]:
    """All benches, by name: those of every module `bench.bench_*`."""
    for module in pkgutil.iter_modules(bench.__path__, "bench."):
        if module.name.startswith("bench.bench_"):
            importlib.import_module(module.name)
    return BENCHES
