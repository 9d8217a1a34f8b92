"""Decoding of a profile's buffer: raw A-XDR to columns (ours) or to rows of Python values (gurux-dlms)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from gurux_dlms import GXByteBuffer
from gurux_dlms.secure import GXDLMSSecureClient

from bench import day, gurux_client
from bench.figures import Figure, in_turn, times_less
from bench.registry import BenchError, register
from dlms.profile import Layout, Table, decode_buffer
from simulator import truth
from simulator.profiles import LOAD_PROFILE
from simulator.rows import encode_rows

DAYS = {"day": 1, "month": 31}
RUNS = 9
#: Buffers decoded in one run: the run's figure is their mean.
OWN_BUFFERS = {"day": 400, "month": 40}
GURUX_BUFFERS = {"day": 5, "month": 1}
COMPARED = "gurux-dlms 1.0.203, GXDLMSClient.getValue and updateValue on the same octets: its CPU time / ours"


def buffer_of(days: int, seed: str = "bench", number: int = 1) -> bytes:
    """The octets of so many days of the simulated load profile: 96 x 10 each."""
    end = int(datetime.now(UTC).timestamp()) // truth.DAY_S * truth.DAY_S
    stamps = np.arange(end - days * truth.DAY_S + 900, end + 1, 900, dtype=np.int64)
    source = truth.source_of(seed, number)
    values = source.interval_values(stamps)
    cells = [stamps, source.interval_status(stamps), *(values[:, n] for n in range(values.shape[1]))]
    return encode_rows(tuple(column.data_type for column in LOAD_PROFILE.columns), cells)


def microseconds(work: Callable[[], Any], times: int) -> Callable[[], float]:
    def run() -> float:
        began = time.thread_time()
        for _ in range(times):
            work()
        return (time.thread_time() - began) / times * 1e6

    return run


def gurux_decoder(raw: bytes) -> Callable[[], list[list[Any]]]:
    client = GXDLMSSecureClient(True)
    profile = gurux_client.Objects().profile

    def decode() -> list[list[Any]]:
        profile.buffer = []
        client.updateValue(profile, 2, client.getValue(GXByteBuffer(raw), False))
        rows: list[list[Any]] = profile.buffer
        return rows

    return decode


def check(table: Table, rows: list[list[Any]]) -> None:
    """Both must hold the same rows; BenchError."""
    stamps = [int(row[0].value.astimezone(UTC).timestamp()) * 1_000_000 for row in rows]
    values = [[int(cell) for cell in row[2:]] for row in rows]
    if table.captured_at.tolist() != stamps or table.values.tolist() != values or not table.valid.all():
        raise BenchError("the two decoders do not give the same rows")
    if table.status.tolist() != [int(row[1]) for row in rows]:
        raise BenchError("the two decoders do not give the same status")


def measure(name: str, raw: bytes, layout: Layout) -> Iterator[Figure]:
    decode_gurux = gurux_decoder(raw)
    check(decode_buffer(raw, layout), decode_gurux())
    ours, theirs = in_turn(
        RUNS,
        microseconds(lambda: decode_buffer(raw, layout), OWN_BUFFERS[name]),
        microseconds(decode_gurux, GURUX_BUFFERS[name]),
    )
    facts = {"rows": DAYS[name] * day.ROWS, "columns": 10, "octets": len(raw)}
    yield Figure(f"profile.{name}_us", "us", ours, times_less(ours, theirs), COMPARED, facts)
    yield Figure(f"profile.{name}_us.gurux", "us", theirs, facts=facts)


@register("profile")
def profile() -> Iterator[Figure]:
    """decoding a day (96 x 10) and a month of a load profile, against gurux-dlms"""
    layout = day.layout()
    for name, days in DAYS.items():
        yield from measure(name, buffer_of(days), layout)
    raw = buffer_of(1)
    (cold,) = in_turn(RUNS, microseconds(lambda: decode_buffer(raw, day.layout()), 100))
    yield Figure("profile.day_first_us", "us", cold, facts={"rows": day.ROWS, "note": "layout and shape new"})
