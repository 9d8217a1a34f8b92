"""What a simulated meter measured, in closed form: any interval of any meter from (seed, number, time) alone.

Nothing is stored: the meters build their buffers from these functions, and checks ask them for what must have
been read. All arithmetic is on integers, so both sides are exact. It must not know DLMS encodings.

Cumulative registers are a whole number of days times the day's sum, plus the sum up to the quarter hour, plus
a jitter that is smaller than the smallest step: so each is O(1) and never falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.identity import derive_octets

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

CAPTURE_PERIOD_S = 900
DAY_S = 86_400
SLOTS = DAY_S // CAPTURE_PERIOD_S
#: Registers count from here; no row is older (2020-01-01T00:00:00Z).
EPOCH_S = 1_577_836_800
#: The eight channels of the load profile, in the order of its capture objects after clock and status.
CHANNELS = (
    "1-0:1.8.0.255",
    "1-0:2.8.0.255",
    "1-0:3.8.0.255",
    "1-0:4.8.0.255",
    "1-0:32.7.0.255",
    "1-0:52.7.0.255",
    "1-0:72.7.0.255",
    "1-0:31.7.0.255",
)
#: Status bit of the intervals in which the meter was without power (PDN of the usual AMR profile status).
STATUS_POWER_DOWN = 0x80
#: Event codes of the standard event log that belong to an outage.
EVENT_POWER_DOWN, EVENT_POWER_UP = 1, 2

_STREAM_INTERVAL = np.uint64(0)
_STREAM_DAY = np.uint64(0xD1B5_4A32_D192_ED03)
_STREAM_SECOND = np.uint64(0xABC9_8388_FB8F_AC03)


def _shape(*, floor: int, peaks: tuple[tuple[float, float, float], ...]) -> Int64:
    """Weights of the day's quarter hours: a floor and bell-shaped peaks (hour, width in hours, height)."""
    hours = (np.arange(SLOTS) + 0.5) * (24 / SLOTS)
    weights = np.full(SLOTS, float(floor))
    for centre, width, height in peaks:
        weights += height * np.exp(-(((hours - centre) / width) ** 2))
    return weights.astype(np.int64)


def _sums(weights: Int64) -> Int64:
    """Sum of the weights before each quarter hour; the last element is the whole day's."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(weights)))


_LOAD = _shape(floor=40, peaks=((7.5, 1.5, 110.0), (19.5, 2.5, 180.0)))
_SUN = _shape(floor=0, peaks=((12.5, 3.0, 160.0),))
_LOAD_SUMS = _sums(_LOAD)
_SUN_SUMS = _sums(_SUN)


def _mix(words: UInt64) -> UInt64:
    """SplitMix64's finisher (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    words = words * np.uint64(0x9E37_79B9_7F4A_7C15)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58_476D_1CE4_E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D0_49BB_1331_11EB)
    words ^= words >> np.uint64(31)
    return words


def _bits(words: UInt64, shift: int, count: int) -> Int64:
    return ((words >> np.uint64(shift)) & np.uint64((1 << count) - 1)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Source:
    """The measured world of one meter. Times are UTC seconds; values are integers in the registers' scale."""

    salt: int
    load: int
    sun: int
    base_wh: int

    def _words(self, numbers: Int64, stream: np.uint64 = _STREAM_INTERVAL) -> UInt64:
        return _mix(numbers.astype(np.uint64) ^ np.uint64(self.salt) ^ stream)

    def interval_values(self, ends_s: Int64) -> Int64:
        """int64[n, 8]: the channels of the intervals that end at these multiples of the capture period."""
        index = (ends_s - EPOCH_S) // CAPTURE_PERIOD_S
        day, slot = np.divmod(index, SLOTS)
        words = self._words(index)
        load_sum = (day * _LOAD_SUMS[SLOTS] + _LOAD_SUMS[slot]) * self.load
        values = np.empty((len(ends_s), len(CHANNELS)), np.int64)
        values[:, 0] = self.base_wh + load_sum // 16 + (_bits(words, 0, 8) * self.load >> 7)
        values[:, 1] = (day * _SUN_SUMS[SLOTS] + _SUN_SUMS[slot]) * self.sun // 16
        values[:, 2] = load_sum // 64 + (_bits(words, 8, 8) * self.load >> 9)
        values[:, 3] = load_sum // 256 + (_bits(words, 16, 8) * self.load >> 11)
        self._put_instantaneous(values[:, 4:], slot, words)
        return values

    def _put_instantaneous(self, values: Int64, slot: Int64, words: UInt64) -> None:
        """Voltages L1..L3 in 0.1 V and current L1 in 0.01 A: sagging with the load, with noise."""
        load = _LOAD[slot % SLOTS]
        for phase in range(3):
            values[:, phase] = 2330 - load // 8 + _bits(words, 24 + 6 * phase, 6)
        values[:, 3] = load * self.load // 16 * 400 // 690 + _bits(words, 42, 5)

    def interval_status(self, ends_s: Int64) -> NDArray[np.uint8]:
        """uint8[n]: the status octet of these intervals."""
        day = (ends_s - CAPTURE_PERIOD_S - EPOCH_S) // DAY_S
        began, ended = self._outage_bounds(day)
        without_power = (began < ended) & (began < ends_s) & (ended > ends_s - CAPTURE_PERIOD_S)
        return np.where(without_power, STATUS_POWER_DOWN, 0).astype(np.uint8)

    def _outage_bounds(self, day: Int64) -> tuple[Int64, Int64]:
        """Begin and end of each day's outage, inside the day; seven days in eight have none: begin = end."""
        words = self._words(day, _STREAM_DAY)
        began = EPOCH_S + day * DAY_S + 60 + _bits(words, 0, 16)
        duration = np.where(_bits(words, 32, 3) == 0, 60 + _bits(words, 16, 12), 0)
        return began, began + duration

    def outages(self, from_s: int, to_s: int) -> list[tuple[int, int]]:
        """(begin, end) in UTC seconds of the outages that began in [from_s, to_s]."""
        days = np.arange((from_s - EPOCH_S) // DAY_S, (to_s - EPOCH_S) // DAY_S + 1, dtype=np.int64)
        began, ended = self._outage_bounds(days)
        wanted = (ended > began) & (began >= from_s) & (began <= to_s)
        return list(zip(began[wanted].tolist(), ended[wanted].tolist(), strict=True))

    def registers_at(self, at_s: int) -> dict[str, int]:
        """The registers at this second: energies lie between those of the intervals around it."""
        start = at_s - at_s % CAPTURE_PERIOD_S
        before, after = self.interval_values(np.array((start, start + CAPTURE_PERIOD_S), np.int64)).tolist()
        passed = at_s - start
        found = {
            name: low + (high - low) * passed // CAPTURE_PERIOD_S
            for name, low, high in zip(CHANNELS[:4], before, after, strict=False)
        }
        noise = int(self._words(np.array((at_s,), np.int64), _STREAM_SECOND)[0])
        current = before[7]
        found |= {name: before[4 + n] + (noise >> 4 * n & 15) - 8 for n, name in enumerate(CHANNELS[4:7])}
        for phase, name in enumerate(("1-0:31.7.0.255", "1-0:51.7.0.255", "1-0:71.7.0.255")):
            found[name] = current + (noise >> (12 + 5 * phase) & 31)
        found["1-0:1.7.0.255"] = (after[0] - before[0]) * 3600 // CAPTURE_PERIOD_S
        found["1-0:13.7.0.255"] = 930 + (noise >> 27 & 63)
        return found


@lru_cache(maxsize=4096)
def source_of(seed: str, number: int) -> Source:
    """The measured world of the meter `number` of the fleet with this seed."""
    octets = derive_octets(seed, number, "values", 12)
    return Source(
        salt=int.from_bytes(octets[:8], "big"),
        load=16 + octets[8] % 48,
        sun=(octets[9] % 40) if octets[9] & 1 else 0,
        base_wh=octets[10] * 1000,
    )


def interval_ends(from_s: int, to_s: int) -> Int64:
    """The interval ends in [from_s, to_s], both inclusive as selective access by range is."""
    first = -(-from_s // CAPTURE_PERIOD_S) * CAPTURE_PERIOD_S
    return np.arange(max(first, EPOCH_S), to_s + 1, CAPTURE_PERIOD_S, dtype=np.int64)


def interval_rows(
    seed: str, number: int, start: datetime, end: datetime
) -> tuple[Int64, Int64, NDArray[np.uint8]]:
    """(timestamps, values, status) of the rows stamped in [start, end], both inclusive.

    Timestamps are int64[n] UTC microseconds, values int64[n, 8] in the order of `CHANNELS`, status uint8[n].
    Rows are stamped at the end of their interval. What a meter no longer or not yet holds is given too.
    """
    ends = interval_ends(_seconds_up(start), _seconds_down(end))
    source = source_of(seed, number)
    return ends * 1_000_000, source.interval_values(ends), source.interval_status(ends)


def _seconds_down(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a truth is asked for with an aware datetime")
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1)


def _seconds_up(moment: datetime) -> int:
    return _seconds_down(moment) + (1 if moment.microsecond else 0)
