"""The closed form: exact, rising, the same for every way of asking."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from simulator import truth
from simulator.truth import CAPTURE_PERIOD_S, DAY_S, STATUS_POWER_DOWN, interval_rows, source_of

DAY = datetime(2026, 3, 29, tzinfo=UTC)
CUMULATIVE = slice(0, 4)


@pytest.mark.parametrize("number", range(1, 40))
def test_energies_over_forty_days_never_fall(number: int) -> None:
    _, values, _ = interval_rows("seed", number, DAY - timedelta(days=40), DAY)
    assert (np.diff(values[:, CUMULATIVE], axis=0) >= 0).all()
    assert (np.diff(values[:, 0]) > 0).all()


@pytest.mark.parametrize("number", range(1, 40))
def test_values_fit_the_types_of_their_columns(number: int) -> None:
    _, values, _ = interval_rows("seed", number, DAY, DAY + timedelta(days=40))
    assert values.min() >= 0
    assert values[:, CUMULATIVE].max() < 2**32
    assert values[:, 4:].max() < 2**16


def test_a_row_alone_is_the_row_of_its_range() -> None:
    stamps, values, status = interval_rows("seed", 7, DAY, DAY + timedelta(days=1))
    for index in (0, 1, 47, 96):
        moment = DAY + timedelta(seconds=index * CAPTURE_PERIOD_S)
        alone = interval_rows("seed", 7, moment, moment)
        assert alone[0].tolist() == [stamps[index]]
        assert alone[1].tolist() == [values[index].tolist()]
        assert alone[2].tolist() == [status[index]]


def test_range_takes_in_both_ends_and_only_whole_periods() -> None:
    stamps, _, _ = interval_rows("seed", 1, DAY, DAY + timedelta(days=1))
    assert len(stamps) == 97
    assert stamps[0] == DAY.timestamp() * 1_000_000
    inside = interval_rows("seed", 1, DAY + timedelta(microseconds=1), DAY + timedelta(minutes=29))
    assert inside[0].tolist() == [int((DAY + timedelta(minutes=15)).timestamp()) * 1_000_000]


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        interval_rows("seed", 1, datetime(2026, 1, 1), DAY)  # noqa: DTZ001


def test_meters_and_seeds_differ() -> None:
    rows = [
        interval_rows(seed, number, DAY, DAY)[1].tolist() for seed, number in (("a", 1), ("a", 2), ("b", 1))
    ]
    assert len({str(row) for row in rows}) == 3


def test_registers_lie_between_the_rows_around_them() -> None:
    source = source_of("seed", 3)
    start = int(DAY.timestamp())
    before, after = source.interval_values(np.array((start, start + CAPTURE_PERIOD_S), np.int64))
    previous = before[0]
    for second in range(0, CAPTURE_PERIOD_S, 60):
        registers = source.registers_at(start + second)
        assert previous <= registers["1-0:1.8.0.255"] <= after[0]
        previous = registers["1-0:1.8.0.255"]
    assert source.registers_at(start)["1-0:1.8.0.255"] == before[0]


def test_status_shows_the_outages_of_the_event_log() -> None:
    source = source_of("seed", 5)
    from_s = int(DAY.timestamp())
    ends = truth.interval_ends(from_s + CAPTURE_PERIOD_S, from_s + 60 * DAY_S)
    expected = {
        end
        for began, ended in source.outages(from_s, from_s + 60 * DAY_S)
        for end in ends.tolist()
        if began < end and ended > end - CAPTURE_PERIOD_S
    }
    assert expected
    assert set(ends[source.interval_status(ends) == STATUS_POWER_DOWN].tolist()) == expected
