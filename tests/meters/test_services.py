from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable

import pytest
import redis
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from hes.tasknames import COMMANDS_RUN
from meters.errors import IdempotencyConflict, Invalid, MeterNotOperated, NotAllowed
from meters.models import AuditEntry, Command, Meter
from meters.services import order_command, order_commands

BROKER_DATABASE = 1


def queued_tasks(live_redis: redis.Redis) -> list[bytes]:
    from django.conf import settings

    with redis.Redis.from_url(settings.HES_BROKER_URL) as broker:
        return broker.lrange("commands", 0, -1)


@pytest.mark.django_db(transaction=True)
def test_order_command_writes_row_and_audit_then_sends_the_id(
    live_redis: redis.Redis, meter: Meter, operator: User
) -> None:
    command, created = order_command(meter=meter, kind="clock_read", user=operator, reason=" look ")
    assert created
    stored = Command.objects.get()
    assert (stored.pk, stored.state, stored.reason, stored.requested_by) == (
        command.pk,
        Command.State.QUEUED,
        "look",
        operator,
    )
    entry = AuditEntry.objects.get(action="command.order")
    assert (entry.subject, entry.actor, entry.facts["kind"]) == (str(command.pk), operator, "clock_read")
    (task,) = queued_tasks(live_redis)
    assert COMMANDS_RUN.encode() in task


@pytest.mark.django_db(transaction=True)
def test_order_command_rolled_back_sends_nothing(
    live_redis: redis.Redis, meter: Meter, operator: User
) -> None:
    from django.db import transaction

    with transaction.atomic():
        order_command(meter=meter, kind="clock_read", user=operator)
        transaction.set_rollback(True)
    assert not Command.objects.exists()
    assert queued_tasks(live_redis) == []


@pytest.mark.django_db(transaction=True)
def test_order_command_without_a_broker_keeps_the_row(
    meter: Meter, operator: User, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import Celery

    import hes.celery

    app = Celery("away", broker=f"redis://127.0.0.1:{free_port}/1")
    app.conf.broker_transport_options = hes.celery.app.conf.broker_transport_options
    monkeypatch.setattr(hes.celery, "app", app)
    began = time.monotonic()
    command, _ = order_command(meter=meter, kind="clock_read", user=operator)
    assert time.monotonic() - began < 5
    assert Command.objects.get().pk == command.pk


def test_order_command_profile_range_is_stored_in_one_form(meter: Meter, operator: User) -> None:
    command, _ = order_command(
        meter=meter,
        kind="profile_read",
        parameters={
            "logical_name": "1-0:99.1.0*255",
            "from": "2026-01-01T01:00:00+01:00",
            "to": "2026-01-02T00:00:00Z",
        },
        user=operator,
    )
    assert command.parameters == {
        "logical_name": "1-0:99.1.0.255",
        "from": "2026-01-01T00:00:00+00:00",
        "to": "2026-01-02T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("kind", "parameters", "field", "code"),
    [
        ("fly", {}, "kind", "UNKNOWN_KIND"),
        ("clock_read", {"x": 1}, "parameters.x", "UNKNOWN_PARAMETER"),
        ("clock_read", [1], "parameters", "NOT_AN_OBJECT"),
        ("profile_read", {}, "parameters.logical_name", "REQUIRED"),
        (
            "profile_read",
            {"logical_name": "x", "from": 1, "to": 2},
            "parameters.logical_name",
            "OBIS_INVALID",
        ),
        ("events_read", {"from": "2026-01-01T00:00:00Z"}, "parameters.to", "REQUIRED"),
        (
            "events_read",
            {"from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00Z"},
            "parameters.from",
            "TIME_WITHOUT_OFFSET",
        ),
        ("events_read", {"from": [], "to": {}}, "parameters.from", "TIME_INVALID"),
        (
            "events_read",
            {"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
            "parameters.to",
            "RANGE_EMPTY",
        ),
        (
            "events_read",
            {"from": "2025-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
            "parameters.to",
            "RANGE_TOO_LONG",
        ),
        (
            "registers_read",
            {"logical_names": ["1-0:99.99.9"]},
            "parameters.logical_names",
            "REGISTER_UNKNOWN",
        ),
        ("registers_read", {"logical_names": []}, "parameters.logical_names", "EMPTY"),
        ("relay_disconnect", {}, "reason", "REQUIRED"),
    ],
)
def test_order_command_malformed_is_refused_naming_the_field(
    meter: Meter, operator: User, kind: str, parameters: dict, field: str, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        order_command(meter=meter, kind=kind, parameters=parameters, user=operator)
    assert [(p.field, p.code) for p in caught.value.problems] == [(field, code)]
    assert not Command.objects.exists()


@pytest.mark.parametrize("distance", [dt.timedelta(seconds=-1), dt.timedelta(days=8)])
def test_order_command_not_after_out_of_range_is_refused(
    meter: Meter, operator: User, distance: dt.timedelta
) -> None:
    with pytest.raises(Invalid, match="not_after"):
        order_command(meter=meter, kind="clock_read", user=operator, not_after=timezone.now() + distance)


@pytest.mark.parametrize("state", [Meter.State.PLANNED, Meter.State.SUSPENDED, Meter.State.REMOVED])
def test_order_command_for_a_meter_not_operated_is_refused(
    make_meter: Callable[..., Meter], operator: User, state: str
) -> None:
    with pytest.raises(MeterNotOperated):
        order_command(meter=make_meter(state=state), kind="clock_read", user=operator)


@pytest.mark.parametrize(
    ("role", "kind", "allowed"),
    [
        ("viewer", "clock_read", False),
        ("viewer", "relay_disconnect", False),
        ("engineer", "association_test", True),
        ("engineer", "relay_disconnect", False),
        ("operator", "relay_disconnect", True),
        ("integrator", "relay_reconnect", True),
        ("integrator", "association_test", False),
    ],
)
def test_order_command_by_role_needs_the_permission_of_its_kind(
    meter: Meter, user_as: Callable[[str], User], role: str, kind: str, allowed: bool
) -> None:
    user = user_as(role)
    if allowed:
        assert order_command(meter=meter, kind=kind, user=user, reason="because")[1]
    else:
        with pytest.raises(NotAllowed):
            order_command(meter=meter, kind=kind, user=user, reason="because")


def test_order_command_same_key_same_order_is_the_same_command(meter: Meter, operator: User) -> None:
    first, created = order_command(meter=meter, kind="clock_read", user=operator, idempotency_key="k")
    again, created_again = order_command(meter=meter, kind="clock_read", user=operator, idempotency_key="k")
    assert (created, created_again) == (True, False)
    assert first == again
    assert AuditEntry.objects.filter(action="command.order").count() == 1


def test_order_command_same_key_after_the_meter_was_suspended_is_still_the_same_command(
    meter: Meter, operator: User
) -> None:
    first, _ = order_command(meter=meter, kind="clock_read", user=operator, idempotency_key="k")
    Meter.objects.update(state=Meter.State.SUSPENDED)
    meter.refresh_from_db()
    assert order_command(meter=meter, kind="clock_read", user=operator, idempotency_key="k") == (first, False)


def test_order_command_same_key_other_order_is_a_conflict(
    make_meter: Callable[..., Meter], meter: Meter, operator: User
) -> None:
    order_command(meter=meter, kind="clock_read", user=operator, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        order_command(meter=meter, kind="association_test", user=operator, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        order_command(meter=make_meter(), kind="clock_read", user=operator, idempotency_key="k")


def test_order_command_same_key_of_two_users_are_two_commands(
    meter: Meter, user_as: Callable[[str], User]
) -> None:
    for role in ("operator", "engineer"):
        assert order_command(meter=meter, kind="clock_read", user=user_as(role), idempotency_key="k")[1]


@pytest.mark.django_db(transaction=True)
def test_order_command_same_key_at_once_from_many_threads_is_one_command(
    live_redis: redis.Redis, meter: Meter, operator: User
) -> None:
    answers: list[tuple[Command, bool]] = []

    def order() -> None:
        try:
            answers.append(order_command(meter=meter, kind="clock_read", user=operator, idempotency_key="k"))
        finally:
            connection.close()

    threads = [threading.Thread(target=order) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({command.pk for command, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert Command.objects.count() == 1


def test_order_commands_one_meter_not_operated_orders_none(
    make_meter: Callable[..., Meter], operator: User
) -> None:
    meters = [make_meter(), make_meter(state=Meter.State.REMOVED)]
    with pytest.raises(MeterNotOperated):
        order_commands(meters=meters, kind="clock_read", user=operator, reason="all")
    assert not Command.objects.exists()


def test_order_commands_of_many_meters_takes_few_queries(
    make_meter: Callable[..., Meter], operator: User, django_assert_max_num_queries
) -> None:
    meters = [make_meter() for _ in range(20)]
    operator.get_all_permissions()
    with django_assert_max_num_queries(6):
        commands = order_commands(meters=meters, kind="clock_read", user=operator, reason="all")
    assert len(commands) == Command.objects.count() == 20
