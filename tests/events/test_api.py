"""Events in the API: names, severities, ranges, cursors, orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

from events.models import Event, EventCode
from meters.models import Command, Meter, MeterType

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standard_event_codes")]

LOG = "0-0:99.98.0.255"
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def client(db):
    made = APIClient()
    made.force_authenticate(get_user_model().objects.create(username="root", is_superuser=True))
    return made


@pytest.fixture
def meters(db):
    meter_type = MeterType.objects.create(name="T-1")
    return [Meter.objects.create(serial=f"M{n}", meter_type=meter_type) for n in (1, 2)]


def add(meter, minutes, code, **facts):
    at = START + timedelta(minutes=minutes)
    return Event.objects.create(meter=meter, log=LOG, captured_at=at, code=code, read_at=at, **facts)


def test_event_list_names_codes_and_severities_newest_first(client, meters):
    add(meters[0], 0, 1)
    add(meters[0], 1, 44, clock_status=128, extra=b"\x02\x00")
    add(meters[0], 2, 9999)
    add(meters[1], 3, 2)
    results = client.get("/api/event", {"meter": "M1"}).json()["results"]
    assert [(event["code"], event["name"], event["severity"]) for event in results] == [
        (9999, "", "info"),
        (44, "Meter cover removed", "alarm"),
        (1, "Power down", "warning"),
    ]
    assert results[1] == {
        "meter": "M1",
        "log": LOG,
        "timestamp": "2026-03-01T00:01:00Z",
        "code": 44,
        "name": "Meter cover removed",
        "severity": "alarm",
        "ordinal": 0,
        "clock_status": 128,
        "extra": "0200",
        "read_at": "2026-03-01T00:01:00Z",
    }
    assert len(client.get("/api/event/").json()["results"]) == 4


def test_event_list_code_of_the_type_goes_before_the_general_one(client, meters):
    EventCode.objects.create(
        meter_type=meters[0].meter_type, log=LOG, code=1, name="Blackout", severity="alarm"
    )
    add(meters[0], 0, 1)
    [event] = client.get("/api/event", {"meter": "M1"}).json()["results"]
    assert (event["name"], event["severity"]) == ("Blackout", "alarm")


def test_event_list_range_is_half_open(client, meters):
    for minute in range(4):
        add(meters[0], minute, 1)
    query = {"meter": "M1", "from": "2026-03-01T00:01:00Z", "to": "2026-03-01T01:03:00+01:00"}
    results = client.get("/api/event", query).json()["results"]
    assert [event["timestamp"][14:16] for event in results] == ["02", "01"]


def test_event_list_pages_by_cursor_with_a_bounded_number_of_queries(
    client, meters, django_assert_max_num_queries
):
    for n in range(25):
        add(meters[n % 2], n // 5, n)
    seen = []
    url = "/api/event?page_size=10"
    while url:
        with django_assert_max_num_queries(2):
            page = client.get(url).json()
        seen += [event["code"] for event in page["results"]]
        url = page["next"]
    assert sorted(seen) == list(range(25))


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"meter": "nobody"}, 404, "METER_UNKNOWN"),
        ({"from": "x"}, 400, "RANGE_INVALID"),
        ({"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, 400, "RANGE_INVALID"),
        ({"code": "99999999999999999999"}, 400, "INVALID"),
    ],
)
def test_event_list_bad_input_is_a_problem(client, meters, query, status, code):
    answer = client.get("/api/event", query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_event_post_orders_a_command(client, meters):
    answer = client.post("/api/event", {"meter": "M1"})
    assert answer.status_code == 202, answer.content
    assert Command.objects.get().kind == "events_read"
    body = {"meter": "M1", "from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
    assert client.post("/api/event/", body).json()["parameters"]["from"].startswith("2026-03-01")


def test_admin_event_list_shows_names_with_a_bounded_number_of_queries(
    client, meters, admin_client, django_assert_max_num_queries
):
    for n in range(30):
        add(meters[n % 2], n, 44)
    add(meters[0], 31, 9999)
    with django_assert_max_num_queries(8):
        page = admin_client.get("/admin/events/event/").content.decode()
    assert "Meter cover removed" in page
    assert "code 9999" in page
    assert admin_client.get("/admin/events/eventcode/").status_code == 200
