"""What a system begins with. `ensure_system` is needed everywhere; `seed_demo` fits the simulated fleet.

All of it is idempotent and only adds: what exists, edited or not, is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from hes import tasknames
from meters.models import Association, MeterType, ReadingPlan, TypeRegister
from meters.models.type import Authentication, Purpose
from meters.roles import ensure_roles

DEMO_TYPE = "SIM-1"
LOAD_PROFILE = "1-0:99.1.0.255"
EVENT_LOG = "0-0:99.98.0.255"

#: task, every so many seconds, queue expiry: a tick that nobody took before the next one is worth nothing
SYSTEM_TASKS: tuple[tuple[str, str, int], ...] = (
    ("Collect due reads", tasknames.READS_COLLECT, 2),
    ("Sweep commands", tasknames.COMMANDS_SWEEP, 5),
)
MAINTAIN_TASK = ("Maintain partitions", tasknames.READINGS_MAINTAIN)

_None, _Encrypted = Association.Ciphering.NONE, Association.Ciphering.AUTHENTICATED_ENCRYPTION
#: management is first for READ, so that scheduled reads are ciphered; the reader stands by
ASSOCIATIONS: tuple[dict[str, Any], ...] = (
    {
        "name": "management",
        "position": 1,
        "client_address": 1,
        "authentication": Authentication.HLS_GMAC,
        "ciphering": _Encrypted,
        "purposes": [Purpose.READ, Purpose.COMMAND],
    },
    {
        "name": "reader",
        "position": 2,
        "client_address": 32,
        "authentication": Authentication.LLS,
        "ciphering": _None,
        "purposes": [Purpose.READ],
    },
    {
        "name": "public",
        "position": 3,
        "client_address": 16,
        "authentication": Authentication.LOWEST,
        "ciphering": _None,
        "purposes": [Purpose.PUBLIC],
    },
)
REGISTERS: Sequence[str] = (
    "1-0:1.8.0.255",
    "1-0:2.8.0.255",
    "1-0:32.7.0.255",
    "1-0:52.7.0.255",
    "1-0:72.7.0.255",
    "1-0:31.7.0.255",
    "1-0:51.7.0.255",
    "1-0:71.7.0.255",
    "1-0:13.7.0.255",
)


def ensure_system() -> list[str]:
    """Roles and the periodic tasks that the head-end itself lives by; returns what was made."""
    with transaction.atomic():
        made = [f"role {name}" for name in ensure_roles()]
        for name, task, every_s in SYSTEM_TASKS:
            schedule = _every(every_s, IntervalSchedule.SECONDS)
            if _task(name, task, interval=schedule, expire_seconds=max(10, 2 * every_s)):
                made.append(f"periodic task {name}")
        name, task = MAINTAIN_TASK
        daily = CrontabSchedule.objects.filter(minute="20", hour="0", timezone="UTC").first()
        daily = daily or CrontabSchedule.objects.create(minute="20", hour="0", timezone="UTC")
        if _task(name, task, crontab=daily):
            made.append(f"periodic task {name}")
    return made


def seed_demo(operator_password: str | None) -> list[str]:
    """The simulated fleet's meter type, its plans, and the operator; returns what was made."""
    made = ensure_system()
    with transaction.atomic():
        meter_type, created = MeterType.objects.get_or_create(
            name=DEMO_TYPE,
            defaults={
                "manufacturer": "Simulator",
                "description": "The simulated meter: three associations, load profile of 15 minutes, relay.",
            },
        )
        if created:
            made.append(f"meter type {DEMO_TYPE}")
            _fill_type(meter_type)
        made += _ensure_plans(meter_type)
    if operator_password is not None and _ensure_operator(operator_password):
        made.append("user operator")
    return made


def _fill_type(meter_type: MeterType) -> None:
    Association.objects.bulk_create(Association(meter_type=meter_type, **facts) for facts in ASSOCIATIONS)
    TypeRegister.objects.bulk_create(
        TypeRegister(meter_type=meter_type, position=position, logical_name=name)
        for position, name in enumerate(REGISTERS, 1)
    )


def _ensure_plans(meter_type: MeterType) -> list[str]:
    Kind = ReadingPlan.Kind  # noqa: N806 a class
    plans = (
        (f"{meter_type} load profile", Kind.PROFILE, LOAD_PROFILE, 5, 15),
        (f"{meter_type} registers", Kind.REGISTERS, "", 6, 15),
        (f"{meter_type} event log", Kind.EVENTS, EVENT_LOG, 7, 60),
    )
    return [
        f"reading plan {name}"
        for name, kind, logical_name, priority, minutes in plans
        if _ensure_plan(name, meter_type, kind, logical_name, priority, minutes)
    ]


def _ensure_plan(
    name: str, meter_type: MeterType, kind: str, logical_name: str, priority: int, minutes: int
) -> bool:
    plan, created = ReadingPlan.objects.get_or_create(
        name=name,
        defaults={
            "meter_type": meter_type,
            "kind": kind,
            "logical_name": logical_name,
            "priority": priority,
            "spread_s": 60,
        },
    )
    if created:
        task_name = f"Plan: {name}"
        crontab, _ = CrontabSchedule.objects.get_or_create(
            minute="1" if minutes == 60 else f"1-59/{minutes}",
            hour="*",
            day_of_week="*",
            day_of_month="*",
            month_of_year="*",
            timezone="UTC",
        )
        _task(
            task_name,
            tasknames.READS_MAKE_DUE,
            crontab=crontab,
            args=json.dumps([plan.pk]),
            expire_seconds=600,
        )
        plan.schedule = PeriodicTask.objects.get(name=task_name)
        plan.save(update_fields=["schedule"])
    return created


def _ensure_operator(password: str) -> bool:
    users = get_user_model().objects
    if users.filter(username="operator").exists():
        return False
    users.create_superuser(username="operator", password=password)
    return True


def _every(count: int, period: str) -> IntervalSchedule:
    schedule, _ = IntervalSchedule.objects.get_or_create(every=count, period=period)
    return schedule


def _task(name: str, task: str, **facts: Any) -> bool:
    _, created = PeriodicTask.objects.get_or_create(name=name, defaults={"task": task, **facts})
    return created
