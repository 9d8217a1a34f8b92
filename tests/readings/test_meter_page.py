"""The readings view of the operator's site, and what it draws."""

from __future__ import annotations

from datetime import UTC, timedelta

import numpy as np
import pytest
from django.contrib.auth import get_user_model

from events.models import EventCode
from readings.charts import chart_of
from readings.models import MeterProfile, RejectedRow
from tests.readings.conftest import START

pytestmark = pytest.mark.django_db


def url(meter, **query):
    return f"/admin/readings/meter/{meter.pk}/?" + "&".join(
        f"{name}={value}" for name, value in query.items()
    )


def test_meter_page_shows_day_chart_gaps_and_rows(admin_client, live_redis, store, entry, meter):
    store.store([entry(40, first=1, clock_status=np.full(40, 4, np.uint8)), entry(20, first=60)])
    answer = admin_client.get(url(meter, day=START.date()))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "<svg" in page
    assert page.count("<polyline") == 2
    assert "60 rows, 36 missing" in page
    assert answer.context["show"] == "difference"
    assert f"{START + timedelta(minutes=15):%Y-%m-%d %H:%M:%S}" in page
    assert "not stored yet" not in page


def test_meter_page_without_a_day_shows_the_newest(admin_client, live_redis, store, entry, meter):
    store.store([entry(96, first=1)])
    answer = admin_client.get(url(meter))
    assert answer.context["day"] == START.date()
    assert len(answer.context["rows"]) == 96
    assert answer.context["missing"] == 0


def test_meter_page_nulls_and_constants_are_drawn_without_failing(
    admin_client, live_redis, store, entry, meter
):
    store.store([entry(3, valid=np.zeros((3, 3), bool)), entry(3, first=3, values=np.full((3, 3), 7))])
    for show in ("value", "difference"):
        for channel in (0, 2, 99, "x", "²"):
            assert admin_client.get(url(meter, channel=channel, show=show)).status_code == 200


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "junk", "2026-02-30", ""])
def test_meter_page_impossible_day_falls_back(admin_client, live_redis, store, entry, meter, day):
    store.store([entry(3)])
    assert admin_client.get(url(meter, day=day, profile="junk", show="junk")).status_code == 200


def test_meter_page_of_a_meter_never_read_says_so(admin_client, live_redis, meter):
    assert "No profile of this meter was read yet" in admin_client.get(url(meter)).content.decode()
    assert admin_client.get("/admin/readings/meter/999999/").status_code == 404


def test_meter_page_needs_the_permission(client, meter):
    assert client.get(url(meter)).status_code == 302
    user = get_user_model().objects.create_user("clerk", password="x" * 20, is_staff=True)
    client.force_login(user)
    assert client.get(url(meter)).status_code == 403


def test_meter_page_query_budget(
    admin_client, live_redis, store, entry, meter, django_assert_max_num_queries
):
    store.store([entry(96)])
    admin_client.get(url(meter))
    with django_assert_max_num_queries(9):
        admin_client.get(url(meter))


def test_admin_lists_of_readings_open(admin_client, store, entry, meter):
    store.store([entry(3)])
    RejectedRow.objects.create(meter_id=meter.pk, code="ROW_TOO_OLD", digest="1")
    profile = MeterProfile.objects.get()
    for path in (
        "profilelayout/",
        f"profilelayout/{profile.layout_id}/change/",
        "meterprofile/?q=M",
        "rejectedrow/",
        f"rejectedrow/?q={meter.pk}",
        "rejectedrow/?q=abc",
    ):
        assert admin_client.get(f"/admin/readings/{path}").status_code == 200, path


def test_event_codes_of_the_standard_log_are_there(standard_event_codes):
    names = dict(EventCode.objects.filter(meter_type=None).values_list("code", "name"))
    assert names[1] == "Power down"
    assert names[255] == "Event log cleared"


def test_chart_breaks_its_line_at_gaps_and_nulls():
    series = [(START + timedelta(minutes=15 * n), float(n)) for n in (0, 1, 2, 8, 9)]
    series.insert(1, (START + timedelta(minutes=5), None))
    chart = chart_of(series, START, START + timedelta(days=1), unit="W", zone=UTC, break_s=1000)
    assert chart is not None
    assert len(chart.lines) == 2
    assert len(chart.points) == 5
    assert chart_of([(START, None)], START, START + timedelta(days=1), unit="", zone=UTC, break_s=1) is None
