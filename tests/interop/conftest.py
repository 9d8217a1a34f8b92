"""A meter that is not ours on a real gateway: its type as rows, its link, and what the API tells of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from django.contrib.auth import get_user_model
from django.db import connection
from rest_framework.test import APIClient

from events import storing
from hes import redis as hes_redis
from meters import credentials
from meters.models import Association, Credential, Meter, MeterType, TypeRegister
from meters.models.type import Authentication, Purpose
from readings.ingest import Ingest
from tests.conftest import GatewayNode
from tests.flow.conftest import active_runner, carry, wait_until_present
from tests.interop import foreign_meter
from tests.interop.foreign_meter import DialIn, ForeignMeter, Manner

__all__ = ["active_runner", "carry"]

SERIAL = "FRN-000.77"


@pytest.fixture
def foreign_type(transactional_db: None) -> MeterType:
    """The meter's kind, as an operator would enter it."""
    kind = MeterType.objects.create(
        name="FRN-7",
        manufacturer="somebody else",
        time_zone="Europe/Berlin",
        max_pdu_bytes=160,
        response_timeout_s=5.0,
        event_log=foreign_meter.EVENT_LOG,
        disconnect_control=foreign_meter.RELAY,
        invocation_counter=foreign_meter.COUNTER,
    )
    none, encrypted = Association.Ciphering.NONE, Association.Ciphering.AUTHENTICATED_ENCRYPTION
    for position, (name, client, mechanism, ciphering, purposes) in enumerate(
        (
            ("public", foreign_meter.PUBLIC, Authentication.LOWEST, none, [Purpose.PUBLIC]),
            ("reader", foreign_meter.READER, Authentication.LLS, none, []),
            (
                "management",
                foreign_meter.MANAGEMENT,
                Authentication.HLS_GMAC,
                encrypted,
                [Purpose.READ, Purpose.COMMAND],
            ),
        )
    ):
        Association.objects.create(
            meter_type=kind,
            position=position,
            name=name,
            client_address=client,
            authentication=mechanism,
            ciphering=ciphering,
            purposes=purposes,
        )
    for position, name in enumerate(("1-1:1.8.1.255", "1-1:16.7.0.255", "1-1:13.7.0.255")):
        TypeRegister.objects.create(meter_type=kind, position=position, logical_name=name)
    return kind


@pytest.fixture
def foreign_row(foreign_type: MeterType) -> Meter:
    """The meter's row with its credentials."""
    meter = Meter.objects.create(
        serial=SERIAL, meter_type=foreign_type, system_title=foreign_meter.TITLE.hex()
    )
    for kind, secret in (
        (Credential.Kind.GUEK, foreign_meter.GUEK),
        (Credential.Kind.GAK, foreign_meter.GAK),
        (Credential.Kind.LLS_PASSWORD, foreign_meter.PASSWORD),
    ):
        credentials.set_credential(meter, kind, secret, None)
    return meter


@pytest.fixture
def dial_in(
    foreign_row: Meter, active_runner: Any, live_redis: redis.Redis, gateway_node: GatewayNode
) -> Iterator[Callable[..., DialIn]]:
    """dial_in(meter, manner=...) -> its link, logged in and present."""
    with ExitStack() as exits:

        def start(meter: ForeignMeter, *, manner: Manner | None = None, **more: Any) -> DialIn:
            link = exits.enter_context(DialIn(gateway_node.port, SERIAL, meter.answer, manner=manner, **more))
            wait_until_present(live_redis, 1)
            return link

        yield start


@pytest.fixture
def read_api(transactional_db: None, live_redis: redis.Redis) -> Callable[..., dict[str, Any]]:
    """read_api(path, **query): what the API answers, after one batch of ingest."""
    ingest = Ingest(
        bus=live_redis,
        cache=hes_redis.cache(),
        connection=connection,
        store_events=storing.store,
        consumer="test",
        batch=100,
        claim_s=60,
        latest_ttl_s=60,
    )
    ingest.stream.ensure_group()
    api = APIClient()
    api.force_authenticate(get_user_model().objects.create(username="root", is_superuser=True))

    def read(path: str, **query: str) -> dict[str, Any]:
        ingest.run_once(block_ms=100)
        answer = api.get(path, {"meter": SERIAL} | query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    return read


def day(days_ago: int = 2) -> dt.datetime:
    """A midnight of UTC that is past."""
    now = dt.datetime.now(dt.UTC)
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=days_ago)
