"""What no client should send: answered as problem+json with a stable code, never with a 500."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from meters.models import Command, Meter

ApiAs = Callable[[str], APIClient]
PROFILE = "profile=1-0:99.1.0.255"
BEFORE_TIME = "0001-01-01T00:00:00+14:00"


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), (
        answer.content
    )
    body: dict[str, Any] = json.loads(answer.content)
    assert body["code"] == code
    return body


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("path", ["meters", "meter-types", "commands", "links", "event"])
def test_cursor_that_was_not_given_out_is_400(api_as: ApiAs, meter: Meter, path: str) -> None:
    problem(api_as("viewer").get(f"/api/{path}", {"cursor": "abc"}), 400, "CURSOR_INVALID")


@pytest.mark.parametrize("path", ["meters", "meter-types", "commands", "links", "event"])
@pytest.mark.parametrize("position", ["%00", "no date"])
def test_cursor_with_a_wrong_place_is_400_or_empty(
    api_as: ApiAs, meter: Meter, path: str, position: str
) -> None:
    answer = api_as("viewer").get(f"/api/{path}", {"cursor": cursor(f"p={position}")})
    if answer.status_code == 200:
        assert position != "%00"
        assert path in ("meters", "meter-types")
    else:
        problem(answer, 400, "CURSOR_INVALID")


@pytest.mark.parametrize("path", ["instantaneous?", "event?", f"profile/read?{PROFILE}&"])
def test_meter_with_a_null_character_is_unknown(api_as: ApiAs, meter: Meter, path: str) -> None:
    problem(api_as("viewer").get(f"/api/{path}meter=%00"), 404, "METER_UNKNOWN")


@pytest.mark.parametrize("log", ["%00", "x"])
def test_events_of_no_logical_name_are_400(api_as: ApiAs, meter: Meter, log: str) -> None:
    problem(api_as("viewer").get(f"/api/event?log={log}"), 400, "INVALID")


def test_range_before_the_calendar_is_400(api_as: ApiAs, meter: Meter) -> None:
    client = api_as("operator")
    query = {"meter": meter.serial, "profile": "1-0:99.1.0.255", "to": "0001-01-01T00:00:00Z"}
    problem(client.get("/api/profile/read", query), 400, "RANGE_INVALID")
    order = {"meter": meter.serial, "from": BEFORE_TIME, "to": "2026-01-01T00:00:00Z"}
    problem(client.post("/api/event", order, format="json"), 400, "INVALID")


def test_body_nested_without_end_is_400(api_as: ApiAs, meter: Meter) -> None:
    body = "[" * 100_000
    answer = api_as("operator").post("/api/commands", body, content_type="application/json")
    problem(answer, 400, "PARSE_ERROR")


def test_body_too_large_is_413(api_as: ApiAs, meter: Meter) -> None:
    body = json.dumps({"meter": "x" * 3_000_000, "kind": "clock_read"})
    problem(api_as("operator").post("/api/commands", body, content_type="application/json"), 413, "TOO_LARGE")


def test_body_without_length_is_411_instead_of_nothing(api_as: ApiAs, meter: Meter) -> None:
    answer = api_as("engineer").generic(
        "PATCH", f"/api/meters/{meter.serial}", headers={"Transfer-Encoding": "chunked"}
    )
    problem(answer, 411, "LENGTH_REQUIRED")


def test_parameter_that_is_no_text_is_400(api_as: ApiAs, meter: Meter) -> None:
    body = f'{{"meter": "{meter.serial}", "kind": "clock_read", "parameters": {{"\\ud800": 1}}}}'
    answer = api_as("operator").post("/api/commands", body, content_type="application/json")
    problem(answer, 400, "INVALID")


@pytest.mark.parametrize("path", ["commands", "instantaneous", "event"])
def test_order_with_an_unknown_field_orders_nothing(api_as: ApiAs, meter: Meter, path: str) -> None:
    """A misspelt not_after must not become the default."""
    order = {"meter": meter.serial, "kind": "clock_read", "notafter": "2026-01-01T00:00:00Z"}
    order = order if path == "commands" else {k: v for k, v in order.items() if k != "kind"}
    body = problem(api_as("operator").post(f"/api/{path}", order, format="json"), 400, "INVALID")
    assert [(e["field"], e["code"]) for e in body["errors"]] == [("notafter", "UNKNOWN")]
    assert not Command.objects.exists()


def test_meter_with_an_unknown_field_is_refused_and_its_own_answer_is_not(
    api_as: ApiAs, meter: Meter
) -> None:
    client = api_as("engineer")
    path = f"/api/meters/{meter.serial}"
    body = problem(client.patch(path, {"sistem_title": "00" * 8}, format="json"), 400, "INVALID")
    assert body["errors"][0]["field"] == "sistem_title"
    assert client.patch(path, client.get(path).json(), format="json").status_code == 200


@pytest.mark.django_db
def test_options_of_the_docs_is_405(client: Client) -> None:
    problem(client.options("/api/docs/"), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.django_db
def test_schema_names_its_own_version_and_answers_problems_as_json(client: Client) -> None:
    assert "\0" not in client.get("/api/schema/?version=%00")["Content-Disposition"]
    problem(client.get("/api/schema/?format=x"), 404, "NOT_FOUND")


@pytest.mark.django_db
def test_api_without_a_path_and_for_another_host_are_problems(client: Client) -> None:
    problem(client.get("/api/"), 404, "NOT_FOUND")
    problem(client.get("/api/meters", headers={"Host": "evil.example"}), 400, "BAD_REQUEST")


def test_fault_of_ours_is_a_problem_without_details(
    api_as: ApiAs, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("meters.api.views.LinkViewSet.list", fail)
    client = api_as("viewer")
    client.raise_request_exception = False
    assert "secret" not in str(problem(client.get("/api/links"), 500, "INTERNAL"))
