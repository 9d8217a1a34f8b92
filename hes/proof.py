"""Is a day's load profile of every meter stored and equal to what the simulated meters hold?

Asks both sides over HTTP, `GET /api/profile/read` and the simulator's truth, so the API is proved too. A row
counts as equal when its time, status and every value are the same, under the same scalers and units.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import httpx

PROFILE: Final = "1-0:99.1.0.255"
CAPTURE_PERIOD: Final = dt.timedelta(minutes=15)
#: a request keeps a thread of the web process busy: few at a time are the fastest
PARALLEL: Final = 4
PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day; its intervals are stamped at their ends, so the last row bears the next day's 00:00."""

    date: dt.date

    @classmethod
    def last_full(cls) -> Day:
        return cls(dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1))

    @property
    def first_row(self) -> dt.datetime:
        return dt.datetime.combine(self.date, dt.time(), dt.UTC) + CAPTURE_PERIOD

    @property
    def last_row(self) -> dt.datetime:
        return dt.datetime.combine(self.date, dt.time(), dt.UTC) + dt.timedelta(days=1)

    @property
    def intervals(self) -> int:
        return (self.last_row - self.first_row) // CAPTURE_PERIOD + 1


@dataclass(slots=True)
class Comparison:
    """One meter's day: rows that the meter holds, that are stored, that are equal; the first difference."""

    serial: str
    held: int
    stored: int = 0
    equal: int = 0
    difference: str = ""

    @property
    def complete(self) -> bool:
        return self.stored >= self.held

    @property
    def proved(self) -> bool:
        return self.equal == self.stored == self.held


@dataclass(slots=True)
class Outcome:
    """What was found of a fleet."""

    wanted: int
    comparisons: list[Comparison] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def proved(self) -> bool:
        return len(self.comparisons) == self.wanted and all(one.proved for one in self.comparisons)


Row = tuple[dt.datetime, int | None, tuple[Decimal | None, ...]]


def truth_rows(answer: dict[str, Any]) -> dict[dt.datetime, Row]:
    """Rows of the simulator's answer; integers scaled, so that both sides are exact decimals."""
    scalers = [scaler for scaler, _ in answer["scaler_units"]]
    rows: dict[dt.datetime, Row] = {}
    for stamp, status, *integers in answer["rows"]:
        at = dt.datetime.fromisoformat(stamp)
        rows[at] = (at, status, tuple(Decimal(n).scaleb(s) for n, s in zip(integers, scalers, strict=True)))
    return rows


def api_rows(answer: dict[str, Any]) -> list[Row]:
    """Rows of the API's answer."""
    return [
        (
            dt.datetime.fromisoformat(stamp),
            status,
            tuple(None if text is None else Decimal(text) for text in values),
        )
        for stamp, status, *values in answer["rows"]
    ]


class DayProof:
    """Compares one day of a fleet, meter by meter."""

    def __init__(self, api_url: str, token: str, truth_url: str, day: Day) -> None:
        limits = httpx.Limits(max_connections=PARALLEL)
        self.day = day
        self._api = httpx.Client(
            base_url=api_url, headers={"Authorization": f"Token {token}"}, timeout=60, limits=limits
        )
        self._truth = httpx.Client(base_url=truth_url, timeout=60, limits=limits)

    def close(self) -> None:
        self._api.close()
        self._truth.close()

    def compare(self, serial: str) -> Comparison:
        """httpx.HTTPError when a side does not answer as it should."""
        first, last = self.day.first_row, self.day.last_row
        stored_answer = self._get(
            self._api,
            "/api/profile/read",
            {"meter": serial, "profile": PROFILE, "from": iso(first), "to": iso(last + CAPTURE_PERIOD)},
        )
        result = Comparison(serial, self.day.intervals)
        if stored_answer is None:
            return result
        stored = [row for row in api_rows(stored_answer) if first <= row[0] <= last]
        result.stored = len(stored)
        if not result.complete:
            return result
        truth_answer = self._get(
            self._truth, "/truth", {"serial": serial, "from": iso(first), "to": iso(last)}
        )
        assert truth_answer is not None
        header = [[one["obis"], one["scaler"], one["unit_code"]] for one in stored_answer["channels"]]
        held_header = [
            [obis, *scaler_unit]
            for obis, scaler_unit in zip(truth_answer["columns"], truth_answer["scaler_units"], strict=True)
        ]
        if header != held_header:
            result.difference = f"stored channels {header}, the meter has {held_header}"
            return result
        held = truth_rows(truth_answer)
        result.held = len(held)
        for row in stored:
            if held.get(row[0]) == row:
                result.equal += 1
            elif not result.difference:
                result.difference = f"stored {row}, the meter holds {held.get(row[0])}"
        return result

    @staticmethod
    def _get(client: httpx.Client, path: str, params: dict[str, str]) -> dict[str, Any] | None:
        """The answer; None while there is nothing to be found."""
        answer = client.get(path, params=params)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def wait(self, serials: Sequence[str], timeout_s: float, tick: Callable[[int], None]) -> Outcome:
        """Ask until each meter's day is complete or the time is over; `tick` gets how many are complete.

        A round ends at its first batch without a complete meter: asking is not to slow down the reading.
        """
        started = time.monotonic()
        done: dict[str, Comparison] = {}
        last: dict[str, Comparison] = {}
        with ThreadPoolExecutor(PARALLEL) as pool:
            while True:
                pending = [serial for serial in serials if serial not in done]
                for start in range(0, len(pending), PARALLEL):
                    batch = list(pool.map(self.compare, pending[start : start + PARALLEL]))
                    last |= {one.serial: one for one in batch}
                    complete = {one.serial: one for one in batch if one.complete}
                    done |= complete
                    if not complete:
                        break
                tick(len(done))
                over = time.monotonic() - started > timeout_s
                if len(done) == len(serials) or over:
                    break
                time.sleep(PAUSE_S)
            if len(done) < len(serials):
                missing = [serial for serial in serials if serial not in done]
                last |= {one.serial: one for one in pool.map(self.compare, missing)}
        comparisons = [last[serial] for serial in serials]
        return Outcome(len(serials), comparisons, time.monotonic() - started)


def iso(at: dt.datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
