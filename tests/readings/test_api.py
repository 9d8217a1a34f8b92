"""The public contract of the readings: shapes, exact values, gaps, cursors, problems, query budgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from rest_framework.test import APIClient

from meters.models import Command, Meter, TypeRegister
from readings import latest, layouts
from readings.entries import RegisterEntry, RegisterReading
from readings.models import MeterProfile
from readings.store import us_of
from tests.readings.conftest import LOAD_PROFILE, PERIOD_US, READ_AT_US, START, specs

pytestmark = pytest.mark.django_db


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
def client(db):
    user = get_user_model().objects.create(username="root", is_superuser=True)
    made = APIClient()
    made.force_authenticate(user)
    return made


def read(client, status=200, **query):
    query = {
        "meter": "M1",
        "profile": "1-0:99.1.0",
        "from": iso(START),
        "to": iso(START + timedelta(hours=1)),
    } | query
    answer = client.get("/api/profile/read", query)
    assert answer.status_code == status, answer.content
    return answer.json()


def test_profile_read_has_the_channels_once_and_rows_of_exact_decimals(client, store, entry):
    store.store([entry(4, base=12345)])
    answer = read(client)
    assert answer["meter"] == "M1"
    assert answer["profile"] == LOAD_PROFILE
    assert answer["layout"] == {"version": 1, "capture_period_s": 900}
    assert answer["channels"][0] == {
        "obis": "1-0:1.8.0.255",
        "class_id": 3,
        "attribute": 2,
        "unit": "Wh",
        "unit_code": 30,
        "scaler": -1,
        "coding": "int",
    }
    assert answer["rows"][0] == [iso(START), 0, "1234.5", "1244.5", "1254.5"]
    assert len(answer["rows"]) == 4
    assert answer["gaps"] == []
    assert answer["next"] is None


def test_profile_read_from_is_inclusive_and_to_exclusive(client, store, entry):
    store.store([entry(5)])
    assert [row[0] for row in read(client)["rows"]] == [
        iso(START + n * timedelta(minutes=15)) for n in range(4)
    ]


def test_profile_read_long_form_has_one_object_a_value(client, store, entry):
    store.store([entry(1, base=5)])
    answer = read(client, form="long")
    assert "rows" not in answer
    assert answer["readings"][0] == {
        "obis": "1-0:1.8.0.255",
        "attribute": 2,
        "value": "0.5",
        "unit": "Wh",
        "timestamp": iso(START),
        "status": 0,
    }
    assert len(answer["readings"]) == 3


def test_profile_read_lists_gaps_as_ranges(client, store, entry):
    store.store([entry(2), entry(1, first=6)])
    answer = read(client, to=iso(START + timedelta(hours=2)))
    quarter = timedelta(minutes=15)
    assert answer["gaps"] == [
        [iso(START + 2 * quarter), iso(START + 6 * quarter), 4],
        [iso(START + 7 * quarter), iso(START + 8 * quarter), 1],
    ]


def test_profile_read_expects_nothing_of_the_future(client, store, entry):
    store.store([entry(1)])
    answer = read(client, **{"from": iso(timezone.now()), "to": iso(timezone.now() + timedelta(days=3))})
    assert (answer["rows"], answer["gaps"]) == ([], [])


def test_profile_read_pages_cover_each_row_and_each_gap_once(client, store, entry):
    times = us_of(START) + np.array([0, 1, 2, 1, 2, 3, 7, 8]) * PERIOD_US
    store.store([entry(8, captured_at=times)])
    rows, gaps = [], []
    answer = read(client, limit=2, to=iso(START + timedelta(minutes=150)))
    for _ in range(10):
        rows += answer["rows"]
        gaps += answer["gaps"]
        if answer["next"] is None:
            break
        answer = client.get(answer["next"]).json()
    assert [row[2] for row in rows] == ["0.0", "0.1", "0.3", "0.2", "0.4", "0.5", "0.6", "0.7"]
    assert sum(missing for _, _, missing in gaps) == 4
    assert gaps == [
        [iso(START + timedelta(minutes=60)), iso(START + timedelta(minutes=105)), 3],
        [iso(START + timedelta(minutes=135)), iso(START + timedelta(minutes=150)), 1],
    ]


def test_profile_read_page_ends_where_the_layout_changes(client, store, entry, meter_type):
    wide = layouts.layout_for(meter_type.pk, LOAD_PROFILE, 900, specs(4))
    store.store([entry(2)])
    store.store([entry(2, first=2, layout_id=wide.pk, channels=4)])
    first = read(client)
    assert (len(first["rows"]), len(first["channels"])) == (2, 3)
    second = client.get(first["next"]).json()
    assert (len(second["rows"]), len(second["channels"]), second["layout"]["version"]) == (2, 4, 2)
    assert first["gaps"] == second["gaps"] == []
    assert second["next"] is None


def test_profile_read_shows_nulls_status_clock_status_and_cells_that_fit_no_number(client, store, entry):
    extra = (
        bytes.fromhex("0202") + bytes.fromhex("0202 1102 0903 010203") + bytes.fromhex("0202 11ff 0a02 6162")
    )
    sent = entry(
        1,
        valid=np.array([[True, False, False]]),
        extra=[extra],
        status_valid=np.array([False]),
        clock_status=np.array([128], np.uint8),
    )
    store.store([sent])
    answer = read(client)
    octets = {"type": "octet-string", "value": "010203"}
    assert answer["rows"] == [[iso(START), {"type": "visible-string", "value": "ab"}, "0.0", None, octets]]
    assert answer["clock_status"] == [[iso(START), 128]]


def test_profile_read_of_a_meter_without_rows_is_one_gap(client, meter, layout):
    answer = read(client)
    assert answer["rows"] == []
    assert answer["gaps"] == [[iso(START), iso(START + timedelta(hours=1)), 4]]


def test_profile_read_of_all_times_lists_gaps_of_the_retention_only(client, meter, layout, settings):
    answer = read(client, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"})
    [[_, _, missing]] = answer["gaps"]
    assert abs(missing - settings.HES_RETENTION_DAYS * 96) <= 1


def test_profile_read_offsets_are_taken_and_an_unescaped_plus_too(client, store, entry):
    store.store([entry(4)])
    local = START.astimezone(UTC).replace(tzinfo=None) + timedelta(hours=1)
    url = f"/api/profile/read/?meter=M1&profile={quote(LOAD_PROFILE)}&from={local.isoformat()}+01:00"
    answer = client.get(f"{url}&to={iso(START + timedelta(minutes=30))}")
    assert answer.status_code == 200
    assert len(answer.json()["rows"]) == 2


def test_profile_read_without_a_range_shows_the_last_day(client, meter, layout):
    now = datetime.now(UTC)
    (gap,) = client.get("/api/profile/read", {"meter": meter.serial, "profile": "1-0:99.1.0"}).json()["gaps"]
    first, last, missing = gap
    assert 95 <= missing <= 97
    assert abs((now - datetime.fromisoformat(last)).total_seconds()) < 1800
    assert abs((now - datetime.fromisoformat(first)).total_seconds() - 86400) < 1800


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"meter": "nobody"}, 404, "METER_UNKNOWN"),
        ({"meter": ""}, 400, "INVALID"),
        ({"profile": "1-0:99.2.0"}, 404, "PROFILE_UNKNOWN"),
        ({"profile": "load"}, 400, "OBIS_INVALID"),
        ({"profile": ""}, 400, "OBIS_INVALID"),
        ({"from": "yesterday"}, 400, "RANGE_INVALID"),
        ({"from": "2026-01-01T00:00:00"}, 400, "RANGE_INVALID"),
        ({"from": "0001-01-01T00:00:00+14:00"}, 400, "RANGE_INVALID"),
        ({"to": iso(START)}, 400, "RANGE_INVALID"),
        ({"limit": "0"}, 400, "INVALID"),
        ({"limit": "many"}, 400, "INVALID"),
        ({"form": "csv"}, 400, "INVALID"),
        ({"cursor": "junk"}, 400, "CURSOR_INVALID"),
        ({"cursor": "%%%"}, 400, "CURSOR_INVALID"),
    ],
)
def test_profile_read_bad_input_is_a_problem_with_a_stable_code(client, meter, layout, query, status, code):
    problem = read(client, status, **query)
    assert (problem["code"], problem["status"]) == (code, status)


def test_profile_read_needs_a_log_in_and_the_permission(client, meter, layout):
    assert APIClient().get("/api/profile/read").status_code in (401, 403)
    nobody = APIClient()
    nobody.force_authenticate(get_user_model().objects.create_user("nobody"))
    assert nobody.get("/api/profile/read").status_code == 403


def test_profile_read_query_budget(client, store, entry, django_assert_max_num_queries):
    store.store([entry(96)])
    with django_assert_max_num_queries(5):
        assert len(read(client, to=iso(START + timedelta(days=1)))["rows"]) == 96


def test_profile_read_post_orders_a_command(client, meter, layout, django_capture_on_commit_callbacks):
    body = {
        "meter": "M1",
        "profile": "1-0:99.1.0",
        "from": iso(START),
        "to": iso(START + timedelta(hours=1)),
        "reason": "gap",
    }
    answer = client.post("/api/profile/read", body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202, answer.content
    command = Command.objects.get()
    assert answer.headers["Location"].endswith(f"/api/commands/{command.pk}")
    assert (command.kind, command.parameters["logical_name"]) == ("profile_read", LOAD_PROFILE)
    assert client.post("/api/profile/read/", body, headers={"Idempotency-Key": "k"}).json()["id"] == str(
        command.pk
    )
    assert client.post("/api/profile/read", body | {"meter": "x"}).status_code == 404
    assert client.post("/api/profile/read", {"meter": "M1"}).status_code == 400


def reading(name, value, at_us, **changes):
    return RegisterReading(
        name, 2, at_us, **({"coding": "int", "value": value, "scaler": -1, "unit": 35} | changes)
    )


def test_instantaneous_from_the_cache_touches_no_readings_table(
    client, live_redis, meter, settings, django_assert_num_queries
):
    at_us = us_of(timezone.now() - timedelta(seconds=30))
    entry = RegisterEntry(meter.pk, READ_AT_US, (reading("1-0:32.7.0.255", 2301, at_us),))
    from hes.redis import cache

    latest.write(cache(), {meter.pk: latest.from_registers(entry)}, ttl_s=60, full=True)
    with django_assert_num_queries(1):
        answer = client.get("/api/instantaneous", {"meter": "M1"}).json()
    [register] = answer["registers"]
    assert 30 <= register.pop("age_s") < 60
    assert register == {
        "obis": "1-0:32.7.0.255",
        "attribute": 2,
        "value": "230.1",
        "unit": "V",
        "unit_code": 35,
        "scaler": -1,
        "timestamp": iso(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)),
        "source": "cache",
        "stored": False,
    }


def test_instantaneous_on_a_miss_comes_from_the_store_and_then_from_the_cache(
    client, live_redis, store, entry, meter
):
    store.store(
        [entry(4), RegisterEntry(meter.pk, READ_AT_US, (reading("1-0:32.7.0.255", 5, us_of(START)),))]
    )
    first = client.get("/api/instantaneous/", {"meter": "M1"}).json()["registers"]
    assert {register["source"] for register in first} == {"store"}
    assert {register["obis"]: register["value"] for register in first} == {
        "1-0:1.8.0.255": "0.3",
        "1-0:2.8.0.255": "10.3",
        "1-0:3.8.0.255": "20.3",
        "1-0:32.7.0.255": "0.5",
    }
    second = client.get("/api/instantaneous", {"meter": "M1"}).json()["registers"]
    assert {register["source"] for register in second} == {"cache"}
    assert [r["value"] for r in second] == [r["value"] for r in first]


def test_instantaneous_partly_cached_is_completed_from_the_store(client, live_redis, store, entry, meter):
    from hes.redis import cache

    store.store([entry(4)])
    fresh = RegisterEntry(
        meter.pk, READ_AT_US, (reading("1-0:1.8.0.255", 99, us_of(START + timedelta(hours=2))),)
    )
    latest.write(cache(), {meter.pk: latest.from_registers(fresh)}, ttl_s=60)
    found = client.get("/api/instantaneous", {"meter": "M1"}).json()["registers"]
    assert {register["obis"]: register["value"] for register in found} == {
        "1-0:1.8.0.255": "9.9",
        "1-0:2.8.0.255": "10.3",
        "1-0:3.8.0.255": "20.3",
    }


def test_instantaneous_post_orders_a_command(client, meter):
    TypeRegister.objects.create(meter_type=meter.meter_type, logical_name="1-0:32.7.0.255")
    answer = client.post("/api/instantaneous", {"meter": "M1", "registers": ["1-0:32.7.0"]})
    assert answer.status_code == 202, answer.content
    assert Command.objects.get().parameters == {"logical_names": ["1-0:32.7.0.255"]}
    assert client.post("/api/instantaneous", {"meter": "M1"}).status_code == 202


def test_layouts_of_prefers_the_present_one(client, meter, meter_type, layout):
    other = layouts.layout_for(meter_type.pk, LOAD_PROFILE, 1800, specs(2))
    assert read(client)["layout"]["capture_period_s"] == 1800
    MeterProfile.objects.create(
        meter=meter, logical_name=LOAD_PROFILE, layout=layout, verified_at=timezone.now()
    )
    assert read(client)["layout"]["capture_period_s"] == 900
    assert other.version == 2


def test_layout_for_finds_the_same_and_raises_the_version_for_another(meter_type):
    first = layouts.layout_for(meter_type.pk, LOAD_PROFILE, 900, specs(2))
    assert layouts.layout_for(meter_type.pk, LOAD_PROFILE, 900, specs(2)).pk == first.pk
    assert layouts.layout_for(meter_type.pk, LOAD_PROFILE, 900, specs(2, scaler=0)).version == 2
    assert layouts.layout_for(meter_type.pk, LOAD_PROFILE, 1800, specs(2)).version == 3
    assert Meter.objects.count() == 0
