"""Invocation counters: blocks never overlap, hints never lower, the end is an error before use."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from meters import counters
from meters.counters import COUNTER_END, JUMP_MAX, Reservation
from meters.models import Credential, InvocationCounter, Meter, MeterType

TITLE = "4845530000000001"


@pytest.fixture
def credential(add_meter: Callable[..., Meter]) -> Credential:
    return Credential.objects.create(meter=add_meter("M"), kind="guek", sealed=b"x")


def take(credential: Credential, count: int = 10, key: str = "k") -> counters.Block:
    (block,) = counters.reserve(TITLE, [Reservation(key, credential.pk, count)])
    assert block is not None
    return block


def test_reserve_gives_blocks_that_do_not_overlap(credential: Credential) -> None:
    first, second = take(credential), take(credential)
    assert (first.start, first.count, first.first_contact) == (0, 10, True)
    assert (second.start, second.first_contact) == (10, False)


def test_reserve_two_meters_with_one_key_share_its_counter(credential: Credential) -> None:
    blocks = counters.reserve(
        TITLE,
        [
            Reservation("k", credential.pk, 5),
            Reservation("k", credential.pk, 5),
            Reservation("other", credential.pk, 5),
        ],
    )
    assert [(b.start, b.count) for b in blocks if b] == [(0, 5), (5, 5), (0, 5)]


def test_reserve_at_the_end_is_none_for_that_key_alone(credential: Credential) -> None:
    take(credential)
    InvocationCounter.objects.update(next_value=COUNTER_END - 5)
    used_up, other = counters.reserve(
        TITLE, [Reservation("k", credential.pk, 6), Reservation("b", credential.pk, 6)]
    )
    assert used_up is None
    assert other is not None
    assert take(credential, 5).start == COUNTER_END - 5


def test_raise_to_lifts_and_never_lowers(credential: Credential) -> None:
    take(credential)
    assert counters.raise_to(TITLE, "k", 5000, "first contact")
    assert not counters.raise_to(TITLE, "k", 4000, "late hint")
    assert take(credential).start == 5000
    row = InvocationCounter.objects.get()
    assert (row.last_jump, row.last_jump_cause) == (4990, "first contact")


def test_raise_to_caps_the_jump(credential: Credential) -> None:
    take(credential)
    assert not counters.raise_to(TITLE, "k", COUNTER_END - 1, "hostile")
    assert counters.raise_to(TITLE, "k", COUNTER_END - JUMP_MAX, "first contact of an old meter")
    take(credential)
    assert not counters.raise_to(TITLE, "k", COUNTER_END - 1, "hostile")


@pytest.mark.django_db
def test_note_received_keeps_the_highest() -> None:
    counters.note_received({("k", TITLE): 7})
    counters.note_received({("k", TITLE): 3, ("k2", TITLE): 1})
    assert counters.highest_received([("k", TITLE), ("k2", TITLE), ("k3", TITLE)]) == {
        ("k", TITLE): 7,
        ("k2", TITLE): 1,
    }


@pytest.mark.django_db(transaction=True)
def test_reserve_by_many_at_once_never_repeats_a_counter() -> None:
    meter = Meter.objects.create(serial="C", meter_type=MeterType.objects.create(name="T3"))
    credential = Credential.objects.create(meter=meter, kind="guek", sealed=b"x")
    seen: list[int] = []

    def reserve() -> None:
        try:
            for n in range(20):
                keys = ["a", "b"] if n % 2 else ["b", "a"]
                for block in counters.reserve(TITLE, [Reservation(k, credential.pk, 3) for k in keys]):
                    assert block is not None
                    seen.extend(range(block.start, block.start + block.count))
        finally:
            connection.close()

    threads = [threading.Thread(target=reserve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == sorted(list(range(240)) * 2)
