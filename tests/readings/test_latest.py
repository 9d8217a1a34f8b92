"""The cache of latest values: whatever the order of the writers, the newest stays."""

from __future__ import annotations

import itertools

import pytest

from readings import latest
from readings.latest import Channel, Latest


def value(number, captured=0, read=0, stored=False, name="1-0:1.8.0.255"):
    return Latest(name, 2, captured, read, "int", number, -1, 30, stored=stored)


def held(client):
    return latest.read(client, 7)[0]


def test_write_any_order_keeps_the_newest(live_redis):
    versions = [value(1, captured=1), value(2, captured=2), value(3, captured=2, read=1)]
    for order in itertools.permutations(versions):
        live_redis.delete(latest.key(7))
        for version in order:
            latest.write(live_redis, {7: [version]}, ttl_s=60)
        assert held(live_redis) == [versions[2]]


def test_write_stored_marks_the_same_value_and_nothing_unmarks_it(live_redis):
    latest.write(live_redis, {7: [value(1, captured=1)]}, ttl_s=60)
    latest.write(live_redis, {7: [value(1, captured=1, stored=True)]}, ttl_s=60)
    latest.write(live_redis, {7: [value(1, captured=1)]}, ttl_s=60)
    assert held(live_redis) == [value(1, captured=1, stored=True)]


def test_write_keeps_times_apart_to_the_microsecond(live_redis):
    newer, older = 1_790_000_000_000_001, 1_790_000_000_000_000
    latest.write(live_redis, {7: [value(1, captured=newer)]}, ttl_s=60)
    latest.write(live_redis, {7: [value(2, captured=older)]}, ttl_s=60)
    assert held(live_redis) == [value(1, captured=newer)]


def test_hash_lives_from_its_creation_or_refill_not_from_the_last_write(live_redis):
    latest.write(live_redis, {7: [value(1)]}, ttl_s=60)
    latest.write(live_redis, {7: [value(2, captured=1)]}, ttl_s=1000)
    assert live_redis.ttl(latest.key(7)) <= 60
    latest.write(live_redis, {7: []}, ttl_s=1000, full=True)
    assert live_redis.ttl(latest.key(7)) > 60
    assert latest.read(live_redis, 7) == ([value(2, captured=1)], True)


def test_read_of_bytes_of_another_version_counts_as_a_miss(live_redis):
    latest.write(live_redis, {7: [value(1)]}, ttl_s=60, full=True)
    live_redis.hset(latest.key(7), "1-0:2.8.0.255:2", b"?")
    assert latest.read(live_redis, 7) == ([value(1)], False)


@pytest.mark.parametrize("extra", [None, b"\x09\x01\x02"])
def test_pack_and_unpack_are_inverse(extra):
    one = Latest("1-0:1.8.0.255", -2, -5, 2**62, "u64", -(2**63), 3, 255, extra, stored=True)
    assert latest.unpack(one.field, latest.pack(one)) == one


def test_from_profile_takes_the_newest_row_and_leaves_out_nulls():
    import numpy as np

    from readings.entries import ProfileEntry

    entry = ProfileEntry(
        meter_id=7,
        layout_id=1,
        read_at_us=9,
        captured_at=np.array([3, 5, 4]),
        clock_status=np.zeros(3, np.uint8),
        status=np.zeros(3, np.int64),
        status_valid=np.ones(3, bool),
        values=np.arange(6).reshape(3, 2),
        valid=np.array([[True, True], [True, False], [True, True]]),
    )
    channels = (Channel("1-0:1.8.0.255", 2, "int", -1, 30), Channel("1-0:2.8.0.255", 2, "int", 0, 30))
    [found] = latest.from_profile(entry, channels)
    assert (found.captured_at_us, found.value, found.logical_name) == (5, 2, "1-0:1.8.0.255")
