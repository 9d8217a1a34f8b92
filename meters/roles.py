"""Roles as Django groups. Owns the permissions each is born with; an administrator may change them later."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission

SCHEDULES = ("periodictask", "crontabschedule", "intervalschedule", "solarschedule", "clockedschedule")
_READ_NOW = ("meters.read_meter_now", "meters.associate_meter")
_SWITCH = ("meters.disconnect_meter", "meters.reconnect_meter")
_VIEW = ("meters.view_", "readings.view_", "events.view_")
_ENGINEER = (
    "meters.add_meter",
    "meters.change_meter",
    "meters.add_credential",
    "meters.change_credential",
    *(
        f"meters.{verb}_{model}"
        for model in ("metertype", "association", "typeregister", "readingplan")
        for verb in ("add", "change", "delete")
    ),
    *(f"events.{verb}_eventcode" for verb in ("add", "change", "delete")),
    *(f"django_celery_beat.{verb}_{m}" for m in SCHEDULES for verb in ("view", "add", "change", "delete")),
)

#: role -> permissions; one that ends in _ stands for all that begin so
ROLES: dict[str, tuple[str, ...]] = {
    "viewer": _VIEW,
    "operator": (*_VIEW, *_READ_NOW, *_SWITCH),
    "engineer": (*_VIEW, *_READ_NOW, *_ENGINEER),
    "integrator": (*_VIEW, "meters.read_meter_now", *_SWITCH),
    "administrator": ("",),
}


def ensure_roles() -> list[str]:
    """Make the groups that are missing, leave those that exist as they were edited. Returns the new ones."""
    made = []
    for name, wanted in ROLES.items():
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set(_permissions(wanted))
            made.append(name)
    return made


def _permissions(wanted: Iterable[str]) -> list[Permission]:
    every = Permission.objects.select_related("content_type")
    exact = {name for name in wanted if name and not name.endswith("_")}
    starts = tuple(name for name in wanted if not name or name.endswith("_"))
    named = [(f"{p.content_type.app_label}.{p.codename}", p) for p in every]
    return [p for name, p in named if name in exact or (starts and name.startswith(starts))]
