from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from hes.api import PROBLEM_JSON
from meters.credentials import load_secrets
from meters.models import AuditEntry, Command, Link, Meter, MeterType
from meters.services import order_command

KEY = "00112233445566778899aabbccddeeff"
PATHS = ("meters", "meters/M1", "meter-types", "meter-types/SIM-1", "commands", "links", "links/M1")


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == PROBLEM_JSON
    body = answer.json()
    assert set(body) == {"type", "title", "status", "code", "detail", "errors"}
    assert (body["status"], body["code"]) == (status, code)
    return body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("slash", ["", "/"])
def test_get_with_and_without_slash_answers_at_once(
    meter: Meter, api_as: Callable[[str], APIClient], path: str, slash: str
) -> None:
    Link.objects.create(meter=meter, state="present", since=timezone.now(), last_seen=timezone.now())
    assert api_as("viewer").get(f"/api/{path}{slash}").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_get_anonymous_is_401_problem(meter: Meter, path: str) -> None:
    answer = APIClient().get(f"/api/{path}")
    problem(answer, 401, "NOT_AUTHENTICATED")
    assert answer["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("path", PATHS)
def test_get_by_a_user_without_permission_is_403_problem(meter: Meter, path: str) -> None:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("nobody"))
    problem(client.get(f"/api/{path}"), 403, "PERMISSION_DENIED")


@pytest.mark.parametrize("slash", ["", "/"])
def test_token_log_in_gives_a_token_that_opens_the_api(operator: User, slash: str) -> None:
    operator.set_password("a long enough secret")
    operator.save()
    words = {"username": "operator", "password": "a long enough secret"}
    answer = APIClient().post(f"/api/token{slash}", words)
    assert answer.status_code == 200
    client = APIClient(HTTP_AUTHORIZATION=f"Token {answer.json()['token']}")
    assert client.get("/api/meters").status_code == 200


def test_token_log_in_with_a_wrong_password_is_refused(operator: User) -> None:
    problem(APIClient().post("/api/token/", {"username": "operator", "password": "x"}), 400, "INVALID")
    assert not Token.objects.exists()


def test_wrong_token_is_401(db: None) -> None:
    client = APIClient(HTTP_AUTHORIZATION="Token 00")
    problem(client.get("/api/meters/"), 401, "AUTHENTICATION_FAILED")


@pytest.mark.parametrize("path", ["/api/nothing", "/api/meters/NONE", "/api/meters/a%20b"])
def test_get_of_nothing_is_404_problem(api_as: Callable[[str], APIClient], path: str) -> None:
    problem(api_as("viewer").get(path), 404, "NOT_FOUND")


def test_wrong_method_and_body_are_problems(api_as: Callable[[str], APIClient], meter: Meter) -> None:
    client = api_as("engineer")
    problem(client.put("/api/meters/M1", {}), 405, "METHOD_NOT_ALLOWED")
    answer = client.post("/api/commands", "{", content_type="application/json")
    problem(answer, 400, "PARSE_ERROR")
    problem(client.post("/api/commands", "x", content_type="text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE")


# --- meters


def test_meter_detail_tells_link_error_with_hint_and_no_secret(
    make_meter: Callable[..., Meter], api_as: Callable[[str], APIClient]
) -> None:
    meter = make_meter(serial="SIM.1", secrets={"guek": KEY, "lls_password": "pass word"})
    Link.objects.create(
        meter=meter, state="absent", since=timezone.now(), last_seen=timezone.now(), reason="node_lost"
    )
    Meter.objects.update(
        last_error_code="METER_OFFLINE", last_error_detail="no link", last_error_at=timezone.now()
    )
    answer = api_as("viewer").get("/api/meters/SIM.1")
    body = answer.json()
    assert (body["serial"], body["meter_type"], body["state"]) == ("SIM.1", "SIM-1", "active")
    assert (body["link"]["state"], body["link"]["reason"]) == ("absent", "node_lost")
    assert body["last_error"]["code"] == "METER_OFFLINE"
    assert body["last_error"]["cause"] == "link"
    assert "modem" in body["last_error"]["hint"]
    assert body["credentials"] == ["guek", "lls_password"]
    assert KEY not in answer.content.decode()
    assert "pass word" not in answer.content.decode()


def test_meter_list_costs_the_same_for_one_and_for_many(
    make_meter: Callable[..., Meter], api_as: Callable[[str], APIClient], django_assert_num_queries
) -> None:
    client = api_as("viewer")
    for number in range(30):
        made = make_meter(secrets={"guek": KEY})
        if number % 2:
            Link.objects.create(meter=made, state="present", since=timezone.now(), last_seen=timezone.now())
    client.get("/api/meters/")
    # meters with their links, and their kinds of secrets; the user's permissions are known by now
    with django_assert_num_queries(2):
        assert len(client.get("/api/meters/").json()["results"]) == 30


def test_meter_list_pages_by_cursor_through_all(
    make_meter: Callable[..., Meter], api_as: Callable[[str], APIClient]
) -> None:
    for number in range(7):
        make_meter(serial=f"P{number}")
    client, found, url = api_as("viewer"), [], "/api/meters?page_size=3"
    while url:
        page = client.get(url).json()
        found += [meter["serial"] for meter in page["results"]]
        url = page["next"]
    assert found == [f"P{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("present=true", ["A1"]),
        ("present=false", ["A2", "B3"]),
        ("has_error=true", ["A2"]),
        ("last_error_code=METER_OFFLINE", ["A2"]),
        ("state=suspended", ["B3"]),
        ("serial_starts=A", ["A1", "A2"]),
        ("meter_type=SIM-1", ["A1", "A2", "B3"]),
        ("meter_type=none", []),
    ],
)
def test_meter_list_filters(
    make_meter: Callable[..., Meter], api_as: Callable[[str], APIClient], query: str, found: list[str]
) -> None:
    first, second = make_meter(serial="A1"), make_meter(serial="A2")
    make_meter(serial="B3", state=Meter.State.SUSPENDED)
    now = timezone.now()
    Link.objects.create(meter=first, state="present", since=now, last_seen=now)
    Link.objects.create(meter=second, state="absent", since=now, last_seen=now)
    Meter.objects.filter(pk=second.pk).update(last_error_code="METER_OFFLINE")
    page = api_as("viewer").get(f"/api/meters?{query}").json()
    assert [meter["serial"] for meter in page["results"]] == found


def test_meter_list_with_a_malformed_filter_is_400(api_as: Callable[[str], APIClient]) -> None:
    body = problem(api_as("viewer").get("/api/meters?state=flying"), 400, "INVALID")
    assert body["errors"][0]["field"] == "state"


@pytest.mark.parametrize("slash", ["", "/"])
def test_meter_create_registers_with_secrets_kept_write_only(
    meter_type: MeterType, api_as: Callable[[str], APIClient], slash: str
) -> None:
    body = {
        "serial": "NEW1",
        "meter_type": "SIM-1",
        "system_title": "53494D0000000009",
        "secrets": {"guek": KEY},
        "reason": "ordered",
    }
    answer = api_as("engineer").post(f"/api/meters{slash}", body)
    assert answer.status_code == 201, answer.content
    assert "/api/meters/NEW1" in answer["Location"]
    assert answer.json()["credentials"] == ["guek"]
    assert KEY not in answer.content.decode()
    meter = Meter.objects.get()
    assert load_secrets([meter.pk]) == {meter.pk: {"guek": bytes.fromhex(KEY)}}
    assert AuditEntry.objects.get(action="meter.create").actor.get_username() == "engineer"


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"serial": "a b"}, "serial", "INVALID"),
        ({"serial": "M1"}, "serial", "DUPLICATE"),
        ({"serial": None}, "serial", "NULL"),
        ({"meter_type": "none"}, "meter_type", "DOES_NOT_EXIST"),
        ({"system_title": "xyz"}, "system_title", "INVALID"),
        ({"system_title": "53494d0000000001"}, "system_title", "DUPLICATE"),
        ({"server_address": -1}, "server_address", "MIN_VALUE"),
        ({"server_address": 70000}, "server_address", "OUT_OF_RANGE"),
        ({"time_zone": "Mars/Base"}, "time_zone", "TIME_ZONE_UNKNOWN"),
        ({"secrets": {"guek": "0011"}}, "guek", "SECRET_LENGTH"),
        ({"secrets": {"pin": "0011"}}, "secrets.pin", "UNKNOWN"),
        ({"secrets": "x"}, "secrets", "INVALID"),
    ],
)
def test_meter_create_malformed_names_the_field_and_writes_nothing(
    meter: Meter, api_as: Callable[[str], APIClient], changes: dict[str, Any], field: str, code: str
) -> None:
    body = {"serial": "NEW1", "meter_type": "SIM-1"} | changes
    answer = problem(api_as("engineer").post("/api/meters/", body), 400, "INVALID")
    assert [(e["field"], e["code"]) for e in answer["errors"]] == [(field, code)]
    assert Meter.objects.count() == 1


def test_meter_change_is_audited_with_reason(meter: Meter, api_as: Callable[[str], APIClient]) -> None:
    answer = api_as("engineer").patch(
        "/api/meters/M1", {"state": "suspended", "reason": "holiday", "secrets": {"gak": KEY}}
    )
    assert answer.status_code == 200, answer.content
    assert answer.json()["state"] == "suspended"
    assert AuditEntry.objects.get(action="meter.change").facts == {"state": ["active", "suspended"]}
    assert AuditEntry.objects.get(action="credential.set").reason == "holiday"


def test_meter_change_of_the_serial_is_refused(meter: Meter, api_as: Callable[[str], APIClient]) -> None:
    body = problem(api_as("engineer").patch("/api/meters/M1", {"serial": "M2"}), 400, "INVALID")
    assert body["errors"][0]["code"] == "FIXED"


@pytest.mark.parametrize("role", ["viewer", "operator", "integrator"])
def test_meter_create_and_change_by_others_is_403(
    meter: Meter, api_as: Callable[[str], APIClient], role: str
) -> None:
    client = api_as(role)
    body = {"serial": "NEW1", "meter_type": "SIM-1"}
    problem(client.post("/api/meters/", body), 403, "PERMISSION_DENIED")
    problem(client.patch("/api/meters/M1/", {"note": "x"}), 403, "PERMISSION_DENIED")


# --- commands


def order(client: APIClient, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/api/commands", {"meter": "M1", "kind": "clock_read"} | body, headers=headers)


def test_command_create_answers_202_with_its_location(
    meter: Meter, api_as: Callable[[str], APIClient]
) -> None:
    client = api_as("operator")
    answer = order(client, kind="relay_disconnect", reason="unpaid")
    assert answer.status_code == 202, answer.content
    detail = client.get(answer["Location"])
    assert detail.status_code == 200
    assert detail.json() == answer.json()
    body = answer.json()
    assert (body["meter"], body["kind"], body["state"]) == ("M1", "relay_disconnect", "queued")
    assert (body["requested_by"], body["reason"]) == ("operator", "unpaid")


def test_command_create_repeated_with_its_key_is_one_command(
    meter: Meter, api_as: Callable[[str], APIClient]
) -> None:
    client = api_as("operator")
    first, again = order(client, "k1"), order(client, "k1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first["Location"] == again["Location"]
    Command.objects.update(state=Command.State.CONFIRMED)
    finished = order(client, "k1")
    assert (finished.status_code, finished["Location"]) == (200, first["Location"])
    assert Command.objects.count() == 1


def test_command_create_with_the_key_of_another_order_is_409(
    meter: Meter, api_as: Callable[[str], APIClient]
) -> None:
    client = api_as("operator")
    order(client, "k1")
    problem(order(client, "k1", kind="association_test"), 409, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"meter": "NONE"}, "meter", "METER_UNKNOWN"),
        ({"kind": "fly"}, "kind", "INVALID_CHOICE"),
        ({"parameters": {"x": 1}}, "parameters.x", "UNKNOWN_PARAMETER"),
        ({"parameters": []}, "parameters", "NOT_A_DICT"),
        ({"kind": "relay_disconnect"}, "reason", "REQUIRED"),
        ({"not_after": "2020-01-01T00:00:00Z"}, "not_after", "OUT_OF_RANGE"),
        ({"not_after": "soon"}, "not_after", "INVALID"),
    ],
)
def test_command_create_malformed_names_the_field(
    meter: Meter, api_as: Callable[[str], APIClient], body: dict[str, Any], field: str, code: str
) -> None:
    answer = problem(order(api_as("operator"), **body), 400, "INVALID")
    assert [(e["field"], e["code"]) for e in answer["errors"]] == [(field, code)]
    assert not Command.objects.exists()


def test_command_create_without_its_permission_is_403(
    meter: Meter, api_as: Callable[[str], APIClient]
) -> None:
    problem(order(api_as("engineer"), kind="relay_disconnect", reason="x"), 403, "PERMISSION_DENIED")
    problem(APIClient().post("/api/commands", {}), 401, "NOT_AUTHENTICATED")


def test_command_create_for_a_meter_not_operated_is_409(
    meter: Meter, api_as: Callable[[str], APIClient]
) -> None:
    Meter.objects.update(state=Meter.State.REMOVED)
    problem(order(api_as("operator")), 409, "METER_NOT_OPERATED")


def test_command_list_is_newest_first_filtered_and_cheap(
    make_meter: Callable[..., Meter], api_as: Callable[[str], APIClient], django_assert_num_queries
) -> None:
    first, second = make_meter(), make_meter()
    commands = [
        order_command(meter=meter, kind=kind, user=None)[0]
        for meter in (first, second)
        for kind in ("clock_read", "association_test")
    ]
    client = api_as("viewer")
    listed = [row["id"] for row in client.get("/api/commands").json()["results"]]
    assert listed == [str(command.pk) for command in reversed(commands)]
    with django_assert_num_queries(1):
        page = client.get("/api/commands?meter=M1&kind=clock_read").json()
    assert [row["id"] for row in page["results"]] == [str(commands[0].pk)]


def test_command_detail_of_a_failed_one_tells_code_and_hint(
    meter: Meter, api_as: Callable[[str], APIClient]
) -> None:
    command, _ = order_command(meter=meter, kind="clock_read", user=None)
    Command.objects.update(state="failed", error_code="RESPONSE_TIMEOUT", error_detail="20 s")
    body = api_as("viewer").get(f"/api/commands/{command.pk}/").json()
    assert body["error"]["code"] == "RESPONSE_TIMEOUT"
    assert body["error"]["cause"] == "timeout"
    assert body["error"]["hint"]


# --- links


def test_link_list_filters_by_state(
    make_meter: Callable[..., Meter], api_as: Callable[[str], APIClient], django_assert_num_queries
) -> None:
    now = timezone.now()
    for state in ("present", "absent"):
        Link.objects.create(meter=make_meter(serial=state), state=state, since=now, last_seen=now)
    client = api_as("viewer")
    client.get("/api/links")
    with django_assert_num_queries(1):
        page = client.get("/api/links?state=present").json()
    assert [link["meter"] for link in page["results"]] == ["present"]


def test_schema_and_docs_are_served(client: Any, db: None) -> None:
    for path in ("/api/schema", "/api/schema/", "/api/docs", "/api/docs/"):
        assert client.get(path).status_code == 200, path
