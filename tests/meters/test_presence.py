from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.utils import timezone

from gateway import wire
from meters import link_rows, presence
from meters.models import DueRead, Link, Meter, ReadingPlan, UnknownPeer

T0_MS = 1_780_000_000_000


def report(client: redis.Redis, state: str, identity: str, **facts: Any) -> None:
    """What a gateway node appends."""
    fields = {
        "state": state,
        "identity": identity,
        "inc": "inc-a",
        "conn": 1,
        "node": "gw.1",
        "peer": "10.0.0.1:5000",
        "server_address": 1,
        "at_ms": T0_MS,
        "reason": "",
    }
    client.xadd(wire.PRESENCE_STREAM, fields | facts)


def announce(client: redis.Redis, identity: str, *, inc: str = "inc-a", conn: int = 1) -> None:
    """A live node and the link entry it holds."""
    client.set(wire.node_key(inc), "{}", ex=60)
    link = wire.Link(identity, inc, conn, 1, "gw.1", "10.0.0.1:5000")
    client.set(wire.link_key(identity), wire.encode_link(link))


def project_all(client: redis.Redis) -> int:
    return sum(iter(lambda: presence.project_once(client, block_ms=1), 0))


@pytest.fixture
def stream(live_redis: redis.Redis) -> redis.Redis:
    presence.project_once(live_redis, block_ms=1)
    return live_redis


def test_project_up_then_down_ends_absent_with_the_reason(stream: redis.Redis, meter: Meter) -> None:
    report(stream, "up", "M1")
    project_all(stream)
    link = Link.objects.get(meter=meter)
    assert (link.state, link.node, link.incarnation, link.connection) == ("present", "gw.1", "inc-a", 1)
    assert link.since == dt.datetime.fromtimestamp(T0_MS / 1000, dt.UTC)
    report(stream, "down", "M1", reason="peer_closed", at_ms=T0_MS + 1000)
    project_all(stream)
    link.refresh_from_db()
    assert (link.state, link.reason) == ("absent", "peer_closed")
    assert link.since == link.last_seen == dt.datetime.fromtimestamp(T0_MS / 1000 + 1, dt.UTC)


def test_project_down_of_an_earlier_connection_changes_nothing(stream: redis.Redis, meter: Meter) -> None:
    report(stream, "up", "M1", conn=1)
    report(stream, "up", "M1", conn=2, inc="inc-b")
    report(stream, "down", "M1", conn=1, reason="peer_closed")
    project_all(stream)
    link = Link.objects.get(meter=meter)
    assert (link.state, link.incarnation, link.connection) == ("present", "inc-b", 2)


def test_project_the_same_entries_twice_changes_nothing(stream: redis.Redis, meter: Meter) -> None:
    report(stream, "up", "M1")
    project_all(stream)
    before = Link.objects.values().get()
    report(stream, "up", "M1", at_ms=T0_MS + 5000)
    project_all(stream)
    assert Link.objects.values().get() == before


def test_project_clash_is_counted_and_keeps_the_link(stream: redis.Redis, meter: Meter) -> None:
    report(stream, "up", "M1")
    report(stream, "clash", "M1", conn=9)
    project_all(stream)
    link = Link.objects.get(meter=meter)
    assert (link.state, link.connection, link.clashes) == ("present", 1, 1)
    assert link.last_clash_at is not None


def test_project_acknowledges_and_removes_what_it_stored(stream: redis.Redis, meter: Meter) -> None:
    for number in range(5):
        report(stream, "up", "M1", conn=number)
    assert project_all(stream) == 5
    assert stream.xlen(wire.PRESENCE_STREAM) == 0
    assert stream.xpending(wire.PRESENCE_STREAM, presence.GROUP)["pending"] == 0


@pytest.mark.django_db(transaction=True)
def test_project_failing_in_the_database_leaves_the_entries_for_the_next_try(
    stream: redis.Redis, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(stream, "up", "M1")
    with monkeypatch.context() as broken:
        broken.setattr(presence, "apply", lambda transitions: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            presence.project_once(stream, block_ms=1)
    assert project_all(stream) == 1
    assert Link.objects.get().state == Link.State.PRESENT


def test_project_of_a_stream_that_is_gone_starts_anew(live_redis: redis.Redis, meter: Meter) -> None:
    assert presence.project_once(live_redis, block_ms=1) == 0
    live_redis.delete(wire.PRESENCE_STREAM)
    report(live_redis, "up", "M1")
    assert project_all(live_redis) == 1
    assert Link.objects.get().state == Link.State.PRESENT


def test_project_entries_that_are_none_are_taken_and_the_rest_goes_on(
    stream: redis.Redis, meter: Meter
) -> None:
    stream.xadd(wire.PRESENCE_STREAM, {"state": "up"})
    stream.xadd(wire.PRESENCE_STREAM, {"state": b"\xff", "identity": "M1", "at_ms": "x"})
    report(stream, "up", "M1", at_ms=10**30)
    report(stream, "up", "M1", conn="seven")
    report(stream, "up", "M1")
    assert project_all(stream) == 5
    assert Link.objects.get().state == Link.State.PRESENT


def test_project_unknown_identities_are_kept_and_bounded(
    stream: redis.Redis, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_rows, "UNKNOWN_PEERS_MAX", 3)
    for number in range(6):
        report(stream, "up", f"X{number}", at_ms=T0_MS + number)
    report(stream, "up", "X5", at_ms=T0_MS + 9)
    project_all(stream)
    assert list(UnknownPeer.objects.values_list("identity", "logins")) == [("X5", 2), ("X4", 1), ("X3", 1)]
    assert not Link.objects.exists()


def test_project_a_thousand_links_takes_few_queries(
    stream: redis.Redis, make_meter: Callable[..., Meter], meter_type, django_assert_max_num_queries
) -> None:
    Meter.objects.bulk_create(Meter(serial=f"Q{n}", meter_type=meter_type) for n in range(1000))
    with stream.pipeline(transaction=False) as pipe:
        for number in range(1000):
            report(pipe, "up", f"Q{number}", conn=number)
        pipe.execute()
    with django_assert_max_num_queries(8):
        assert presence.project_once(stream, block_ms=1) == 1000
    assert Link.objects.filter(state="present").count() == 1000


@pytest.mark.parametrize(
    ("error", "attempts", "at_once"),
    [
        ("METER_OFFLINE", 9, True),
        ("GATEWAY_LOST", 9, True),
        ("LINK_LOST", 1, True),
        ("LINK_LOST", 3, False),
        ("SECURITY_ERROR", 1, False),
    ],
)
def test_project_up_makes_reads_that_waited_for_the_link_due(
    stream: redis.Redis, plan: ReadingPlan, meter: Meter, error: str, attempts: int, at_once: bool
) -> None:
    later = timezone.now() + dt.timedelta(hours=1)
    DueRead.objects.update(next_due_at=later, last_error=error, attempts=attempts)
    report(stream, "up", "M1")
    project_all(stream)
    due = DueRead.objects.get(meter=meter)
    assert (due.next_due_at <= timezone.now()) is at_once


def test_drop_dead_nodes_makes_only_their_links_absent(
    stream: redis.Redis, make_meter: Callable[..., Meter]
) -> None:
    for serial, inc in (("M1", "dead-1"), ("M2", "live"), ("M3", "dead-2")):
        make_meter(serial=serial)
        report(stream, "up", serial, inc=inc)
    stream.set(wire.node_key("live"), "{}")
    project_all(stream)
    assert presence.drop_dead_nodes(stream) == 2
    assert dict(Link.objects.values_list("meter__serial", "reason")) == {
        "M1": "node_lost",
        "M2": "",
        "M3": "node_lost",
    }
    assert presence.drop_dead_nodes(stream) == 0


def test_reconcile_mends_what_the_stream_lost(stream: redis.Redis, make_meter: Callable[..., Meter]) -> None:
    for serial in ("M1", "M2", "M3", "M4"):
        make_meter(serial=serial)
    report(stream, "up", "M1")
    report(stream, "up", "M2")
    report(stream, "up", "M4", conn=4)
    project_all(stream)
    announce(stream, "M1", conn=7)
    announce(stream, "M3")
    announce(stream, "M4", conn=4)
    assert presence.reconcile(stream) == 3
    rows = Link.objects.values_list("meter__serial", "state", "connection", "reason")
    assert sorted(rows) == [
        ("M1", "present", 7, ""),
        ("M2", "absent", 1, "reconciled"),
        ("M3", "present", 1, ""),
        ("M4", "present", 4, ""),
    ]
    assert presence.reconcile(stream) == 0


def test_reconcile_link_entry_of_a_dead_node_counts_for_nothing(stream: redis.Redis, meter: Meter) -> None:
    announce(stream, "M1")
    stream.delete(wire.node_key("inc-a"))
    assert presence.reconcile(stream) == 0
    stream.set(wire.link_key("M1"), b"junk")
    assert presence.reconcile(stream) == 0


def test_adopt_registered_finds_the_link_of_a_meter_that_came_first(
    stream: redis.Redis, make_meter: Callable[..., Meter]
) -> None:
    announce(stream, "M1")
    report(stream, "up", "M1")
    project_all(stream)
    assert UnknownPeer.objects.get().identity == "M1"
    make_meter(serial="M1")
    assert presence.adopt_registered(stream) == 1
    assert Link.objects.get().state == Link.State.PRESENT
    assert not UnknownPeer.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_run_twice_one_projects_and_the_other_takes_over_when_it_stops(
    live_redis: redis.Redis, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "WATCH_S", 0.1)
    monkeypatch.setattr(presence, "BLOCK_MS", 20)
    announce(live_redis, "M1")
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=presence.run, args=(stop, live_redis)) for stop in stops]
    for thread in threads:
        thread.start()
    try:
        for number in range(2):
            report(live_redis, "up", "M1", conn=100 + number)
            _wait_for(lambda n=number: Link.objects.filter(connection=100 + n).exists())
            stops[number].set()
            threads[number].join(5)
            assert not threads[number].is_alive()
    finally:
        for stop in stops:
            stop.set()
        for thread in threads:
            thread.join(5)
    assert live_redis.get(presence.LOCK_KEY) is None


def _wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
