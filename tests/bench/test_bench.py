"""The frame of bin/bench: what a figure's line says, names, statuses; and what is compared agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench import __main__ as command
from bench import bench_profile, day
from bench.figures import Figure, in_turn, rounded, times_less
from bench.registry import Bench, BenchError, load
from dlms.profile import decode_buffer


def test_figure_line_has_the_median_and_its_spread() -> None:
    figure = Figure("x.us", "us", [3.0, 1.0, 2.0], 5.5, "them", {"rows": 96})
    assert json.loads(figure.line()) == {
        "name": "x.us",
        "value": 2,
        "unit": "us",
        "ratio": 5.5,
        "compared_with": "them",
        "min": 1,
        "max": 3,
        "runs": 3,
        "rows": 96,
    }


def test_figure_without_comparison_has_no_ratio() -> None:
    assert "ratio" not in json.loads(Figure("x", "1/s", [1.0]).line())


def test_rounded_keeps_four_digits() -> None:
    assert (rounded(123456.7), rounded(0.00123456), rounded(7.0)) == (123500, 0.001235, 7)


def test_sides_run_in_turn_after_a_warm_up() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    ours, theirs = in_turn(3, lambda: side("a", 1.0), lambda: side("b", 4.0))
    assert order == ["a", "b"] * 4
    assert (len(ours), times_less(ours, theirs)) == (3, 4.0)


def test_names_listed_and_all_without_the_long_ones() -> None:
    benches = load()
    assert {"dialog", "profile", "path"} <= set(benches)
    assert {one.name for one in command.wanted(["all"], benches)} == {
        name for name, one in benches.items() if not one.is_long
    }
    assert all(one.is_long for one in command.wanted(["long"], benches))
    assert all(name in command.listing(benches) for name in benches)


def test_name_unknown_ends_with_2_and_says_so() -> None:
    ended = subprocess.run([sys.executable, "-m", "bench", "nonsense"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr
    assert ended.stdout == ""


def test_bench_that_fails_ends_with_1_and_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[Figure]:
        yield Figure("first", "ms", [1.0])
        raise BenchError("the sides differ")

    benches = {"broken": Bench("broken", "breaks", False, broken)}
    monkeypatch.setattr(command, "load", lambda: benches)
    assert command.main(["broken"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["name"] == "first"
    assert "the sides differ" in told.err


def test_decoders_that_are_compared_give_the_same_rows() -> None:
    raw = bench_profile.buffer_of(1)
    table, rows = decode_buffer(raw, day.layout()), bench_profile.gurux_decoder(raw)()
    bench_profile.check(table, rows)
    table.values[5, 3] += 1
    with pytest.raises(BenchError):
        bench_profile.check(table, rows)
