"""A meter type, meters, users by role; made fresh for each test that asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from meters import seed
from meters.models import Meter, MeterType, ReadingPlan
from meters.registration import create_meter
from meters.roles import ensure_roles


@pytest.fixture
def meter_type(db: None) -> MeterType:
    """The demo's meter type without plans."""
    made = MeterType.objects.create(name="SIM-1")
    seed._fill_type(made)
    return made


@pytest.fixture
def plan(meter_type: MeterType) -> ReadingPlan:
    return ReadingPlan.objects.create(
        name="load profile", meter_type=meter_type, kind="profile", logical_name="1-0:99.1.0.255"
    )


@pytest.fixture
def make_meter(meter_type: MeterType) -> Callable[..., Meter]:
    """Registers meters M1, M2 ...; keyword arguments override the fields."""
    count = 0

    def make(**fields: Any) -> Meter:
        nonlocal count
        count += 1
        given = {"serial": f"M{count}", "meter_type": meter_type} | fields
        return create_meter(user=None, **given)

    return make


@pytest.fixture
def meter(make_meter: Callable[..., Meter]) -> Meter:
    return make_meter(system_title="53494d0000000001")


@pytest.fixture
def user_as(db: None) -> Callable[[str], User]:
    """A staff user with a role."""

    def make(role: str) -> User:
        ensure_roles()
        user = User.objects.create_user(role, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return user

    return make


@pytest.fixture
def operator(user_as: Callable[[str], User]) -> User:
    return user_as("operator")


@pytest.fixture
def api_as(user_as: Callable[[str], User]) -> Callable[[str], APIClient]:
    """An API client logged in as a user with a role."""

    def make(role: str) -> APIClient:
        client = APIClient()
        client.force_authenticate(User.objects.filter(username=role).first() or user_as(role))
        return client

    return make
