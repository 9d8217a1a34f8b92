from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django_celery_beat.models import PeriodicTask

from hes import tasknames
from meters.models import Association, MeterType, ReadingPlan, TypeRegister
from meters.models.type import Purpose


def test_seed_demo_twice_is_the_same_as_once(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HES_OPERATOR_PASSWORD", "correct horse battery")
    counts = []
    for _ in range(2):
        call_command("seed_demo")
        models = (MeterType, Association, TypeRegister, ReadingPlan, PeriodicTask, Group, User)
        counts.append([model.objects.count() for model in models])
    assert counts[0] == counts[1]
    assert User.objects.get(username="operator").check_password("correct horse battery")


def test_seed_demo_leaves_what_was_edited(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HES_OPERATOR_PASSWORD", "correct horse battery")
    call_command("seed_demo")
    MeterType.objects.update(response_timeout_s=7)
    TypeRegister.objects.filter(logical_name="1-0:13.7.0.255").delete()
    PeriodicTask.objects.filter(task=tasknames.READS_COLLECT).update(enabled=False)
    ReadingPlan.objects.filter(kind="events").update(enabled=False)
    Group.objects.get(name="viewer").permissions.clear()
    monkeypatch.setenv("HES_OPERATOR_PASSWORD", "another password")
    call_command("seed_demo")
    assert MeterType.objects.get().response_timeout_s == 7
    assert TypeRegister.objects.count() == 8
    assert not PeriodicTask.objects.get(task=tasknames.READS_COLLECT).enabled
    assert not ReadingPlan.objects.get(kind="events").enabled
    assert not Group.objects.get(name="viewer").permissions.exists()
    assert User.objects.get(username="operator").check_password("correct horse battery")


def test_seed_demo_without_a_password_makes_no_user(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HES_OPERATOR_PASSWORD", raising=False)
    call_command("seed_demo")
    assert not User.objects.exists()


def test_seed_demo_each_plan_has_a_task_that_names_it(db: None) -> None:
    call_command("seed_demo")
    plans = ReadingPlan.objects.select_related("schedule")
    assert {plan.kind for plan in plans} == {"profile", "registers", "events"}
    for plan in plans:
        assert plan.schedule is not None
        assert plan.schedule.task == tasknames.READS_MAKE_DUE
        assert json.loads(plan.schedule.args) == [plan.pk]
        assert plan.schedule.enabled


def test_seed_demo_reads_are_first_tried_by_management(db: None) -> None:
    call_command("seed_demo")
    fitting = [a.name for a in Association.objects.all() if Purpose.READ in a.purposes]
    assert fitting == ["management", "reader"]


def test_setup_system_makes_roles_and_tasks_and_no_meter_type(db: None) -> None:
    call_command("setup_system")
    assert set(Group.objects.values_list("name", flat=True)) == {
        "viewer",
        "operator",
        "engineer",
        "integrator",
        "administrator",
    }
    tasks = set(PeriodicTask.objects.values_list("task", flat=True))
    assert {tasknames.READS_COLLECT, tasknames.COMMANDS_SWEEP, tasknames.READINGS_MAINTAIN} <= tasks
    assert not MeterType.objects.exists()


@pytest.mark.parametrize(
    ("role", "has", "lacks"),
    [
        ("viewer", "meters.view_meter", "meters.read_meter_now"),
        ("operator", "meters.disconnect_meter", "meters.change_meter"),
        ("engineer", "meters.change_metertype", "meters.disconnect_meter"),
        ("integrator", "meters.read_meter_now", "meters.change_meter"),
        ("administrator", "auth.add_user", ""),
    ],
)
def test_roles_have_what_they_need_and_no_more(db: None, role: str, has: str, lacks: str) -> None:
    call_command("setup_system")
    user = User.objects.create_user("someone")
    user.groups.add(Group.objects.get(name=role))
    assert user.has_perm(has)
    assert not lacks or not user.has_perm(lacks)
