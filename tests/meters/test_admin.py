from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.authtoken.models import Token

from meters.admin import base
from meters.credentials import load_secrets
from meters.models import AuditEntry, Command, Link, Meter, MeterType, ReadingPlan, UnknownPeer
from meters.services import order_command

KEY = "00112233445566778899aabbccddeeff"
LISTS = (
    "meter",
    "metertype",
    "readingplan",
    "command",
    "link",
    "unknownpeer",
    "auditentry",
)


@pytest.fixture
def site_as(user_as: Callable[[str], User]) -> Callable[[str], Client]:
    """A browser logged in as a staff user with a role."""

    def make(role: str) -> Client:
        client = Client()
        client.force_login(User.objects.filter(username=role).first() or user_as(role))
        return client

    return make


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def link(meter: Meter, state: str = "present", **facts: Any) -> Link:
    now = timezone.now()
    return Link.objects.create(meter=meter, state=state, since=now, last_seen=now, node="gw.1", **facts)


@pytest.mark.parametrize("model", LISTS)
def test_list_opens_for_a_viewer(meter: Meter, site_as: Callable[[str], Client], model: str) -> None:
    link(meter)
    order_command(meter=meter, kind="clock_read", user=None)
    UnknownPeer.objects.create(identity="X", first_seen=timezone.now(), last_seen=timezone.now())
    text_of(site_as("viewer").get(f"/admin/meters/{model}/"))


@pytest.mark.parametrize("model", LISTS)
def test_list_searches(meter: Meter, site_as: Callable[[str], Client], plan: ReadingPlan, model: str) -> None:
    assert "0 " in text_of(site_as("viewer").get(f"/admin/meters/{model}/?q=zzz"))


def test_meter_list_costs_the_same_for_one_and_for_many(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client], django_assert_max_num_queries
) -> None:
    client = site_as("viewer")
    for number in range(40):
        made = make_meter()
        if number % 2:
            link(made)
    # session, user, permissions (2), count, rows, codes of the error filter, types of the filter (2)
    with django_assert_max_num_queries(10):
        text_of(client.get("/admin/meters/meter/"))


def test_meter_list_counts_no_further_than_its_bound(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "COUNT_MAX", 3)
    for _ in range(5):
        make_meter()
    assert re.search(r"\b3\s+meters", text_of(site_as("viewer").get("/admin/meters/meter/")))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("presence=present", {"A1"}),
        ("presence=absent", {"A2"}),
        ("presence=never", {"B3"}),
        ("error=any", {"A2"}),
        ("error=none", {"A1", "B3"}),
        ("error=METER_OFFLINE", {"A2"}),
        ("state__exact=suspended", {"B3"}),
        ("q=A", {"A1", "A2"}),
    ],
)
def test_meter_list_filters(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client], query: str, found: set[str]
) -> None:
    link(make_meter(serial="A1"))
    second = make_meter(serial="A2")
    link(second, "absent")
    make_meter(serial="B3", state=Meter.State.SUSPENDED)
    Meter.objects.filter(pk=second.pk).update(last_error_code="METER_OFFLINE")
    text = text_of(site_as("viewer").get(f"/admin/meters/meter/?{query}"))
    assert set(re.findall(r"/change/[^>]*>(\w+)<", text)) == found


def test_meter_page_tells_link_error_hint_commands_and_no_secret(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client], operator: User, plan: ReadingPlan
) -> None:
    meter = make_meter(secrets={"guek": KEY})
    link(meter)
    Meter.objects.update(last_error_code="RESPONSE_TIMEOUT", last_error_at=timezone.now())
    order_command(meter=meter, kind="clock_read", user=operator, reason="to see")
    text = text_of(site_as("engineer").get(f"/admin/meters/meter/{meter.pk}/change/"))
    for word in ("present", "RESPONSE_TIMEOUT", "did not answer in time", "read the clock", "to see"):
        assert word in text
    assert "load profile" in text
    assert f"/admin/readings/meter/{meter.pk}/" in text
    assert KEY not in text
    sealed = bytes(meter.credentials.get().sealed)
    assert sealed.hex() not in text


def test_meter_page_costs_the_same_with_many_commands(
    meter: Meter, site_as: Callable[[str], Client], operator: User, django_assert_max_num_queries
) -> None:
    for _ in range(30):
        order_command(meter=meter, kind="clock_read", user=operator)
    client = site_as("viewer")
    with django_assert_max_num_queries(12):
        text = text_of(client.get(f"/admin/meters/meter/{meter.pk}/change/"))
    assert text.count("/admin/meters/command/") >= 20
    with django_assert_max_num_queries(9):
        text_of(client.get(f"/admin/meters/meter/{meter.pk}/panel/"))


def test_meter_add_goes_through_the_service(meter_type: MeterType, site_as: Callable[[str], Client]) -> None:
    body = {
        "serial": "NEW1",
        "meter_type": meter_type.pk,
        "state": "active",
        "system_title": "53494D0000000009",
        "guek": KEY,
        "reason": "delivered",
    }
    answer = site_as("engineer").post("/admin/meters/meter/add/", body)
    assert answer.status_code == 302, answer.content.decode()
    meter = Meter.objects.get()
    assert meter.system_title == "53494d0000000009"
    assert load_secrets([meter.pk])[meter.pk]["guek"] == bytes.fromhex(KEY)
    assert AuditEntry.objects.get(action="meter.create").reason == "delivered"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("serial", "a b"),
        ("system_title", "xyz"),
        ("time_zone", "Mars/Base"),
        ("guek", "00"),
        ("serial", "M1"),
    ],
)
def test_meter_add_malformed_shows_it_and_never_the_secret(
    meter: Meter, site_as: Callable[[str], Client], field: str, value: str
) -> None:
    body = {"serial": "NEW1", "meter_type": meter.meter_type_id, "state": "active", "gak": KEY} | {
        field: value
    }
    text = text_of(site_as("engineer").post("/admin/meters/meter/add/", body))
    assert "errorlist" in text
    assert KEY not in text
    assert Meter.objects.count() == 1


def test_meter_change_keeps_serial_and_secrets_left_blank(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client]
) -> None:
    meter = make_meter(secrets={"guek": KEY})
    body = {
        "serial": "OTHER",
        "meter_type": meter.meter_type_id,
        "state": "suspended",
        "reason": "holiday",
        "lls_password": "s3cret",
    }
    answer = site_as("engineer").post(f"/admin/meters/meter/{meter.pk}/change/", body)
    assert answer.status_code == 302, answer.content.decode()
    meter.refresh_from_db()
    assert (meter.serial, meter.state) == ("M1", "suspended")
    assert load_secrets([meter.pk])[meter.pk] == {"guek": bytes.fromhex(KEY), "lls_password": b"s3cret"}
    assert AuditEntry.objects.get(action="meter.change").facts == {"state": ["active", "suspended"]}


def test_meter_change_of_secrets_without_permission_is_403(
    meter: Meter, site_as: Callable[[str], Client]
) -> None:
    from django.contrib.auth.models import Permission

    client = site_as("viewer")
    user = User.objects.get(username="viewer")
    user.user_permissions.add(Permission.objects.get(codename="change_meter"))
    page = f"/admin/meters/meter/{meter.pk}/change/"
    assert 'name="guek"' not in text_of(client.get(page))
    body = {"meter_type": meter.meter_type_id, "state": "active", "guek": KEY}
    assert client.post(page, body).status_code == 403
    assert load_secrets([meter.pk]) == {}


def test_meter_delete_is_offered_to_nobody(meter: Meter, admin_client: Client) -> None:
    assert admin_client.get(f"/admin/meters/meter/{meter.pk}/delete/").status_code == 403


# --- orders


def confirm(client: Client, kind: str, meters: list[Meter], reason: str = "because", **more: Any) -> Any:
    page = text_of(client.get(f"/admin/meters/meter/order/{kind}/?meter={meters[0].pk}"))
    once = re.search(r'name="once" value="([^"]+)"', page)
    assert once
    body = {"meter": [m.pk for m in meters], "reason": reason, "once": once[1]} | more
    return client.post(f"/admin/meters/meter/order/{kind}/", body)


def test_order_page_of_one_meter_asks_then_orders(meter: Meter, site_as: Callable[[str], Client]) -> None:
    client = site_as("operator")
    answer = confirm(client, "relay_disconnect", [meter], reason="unpaid")
    assert answer.status_code == 302
    assert answer["Location"].endswith(f"/meter/{meter.pk}/change/")
    command = Command.objects.get()
    assert (command.kind, command.reason) == ("relay_disconnect", "unpaid")
    assert command.requested_by.get_username() == "operator"
    entry = AuditEntry.objects.get(action="command.order")
    assert (entry.actor, entry.reason) == (command.requested_by, "unpaid")


def test_order_get_alone_orders_nothing(meter: Meter, site_as: Callable[[str], Client]) -> None:
    site_as("operator").get(f"/admin/meters/meter/order/clock_read/?meter={meter.pk}")
    assert not Command.objects.exists()


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_order_without_a_fit_reason_asks_again(
    meter: Meter, site_as: Callable[[str], Client], reason: str
) -> None:
    text = text_of(confirm(site_as("operator"), "clock_read", [meter], reason=reason))
    assert "errorlist" in text
    assert not Command.objects.exists()


def test_order_clicked_twice_is_ordered_once(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client]
) -> None:
    meters = [make_meter(), make_meter()]
    client = site_as("operator")
    once = "00000000-0000-4000-8000-000000000001"
    for _ in range(2):
        assert confirm(client, "relay_disconnect", meters, once=once).status_code == 302
    assert Command.objects.count() == 2


def test_action_on_many_asks_with_their_count_then_orders_all(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client]
) -> None:
    meters = [make_meter() for _ in range(25)]
    client = site_as("operator")
    body = {"action": "order_relay_disconnect", "_selected_action": [m.pk for m in meters]}
    text = text_of(client.post("/admin/meters/meter/", body))
    assert "<strong>25</strong> meters" in text
    assert "and 5 more" in text
    ids = re.findall(r'name="meter" value="(\d+)"', text)
    once = re.search(r'name="once" value="([^"]+)"', text)
    assert once
    client.post(
        "/admin/meters/meter/order/relay_disconnect/",
        {"meter": ids, "reason": "storm", "once": once[1]},
    )
    assert Command.objects.filter(kind="relay_disconnect", reason="storm").count() == 25


def test_order_for_more_than_the_bound_orders_nothing(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    from meters.admin import orders

    monkeypatch.setattr(orders, "METERS_MAX", 2)
    answer = confirm(site_as("operator"), "clock_read", [make_meter() for _ in range(3)])
    assert answer.status_code == 302
    assert not Command.objects.exists()


def test_order_with_a_meter_not_operated_orders_none(
    make_meter: Callable[..., Meter], site_as: Callable[[str], Client]
) -> None:
    meters = [make_meter(), make_meter(state=Meter.State.REMOVED)]
    text = text_of(confirm(site_as("operator"), "clock_read", meters))
    assert "M2 (removed)" in text
    assert not Command.objects.exists()


@pytest.mark.parametrize(
    ("role", "kind", "status"),
    [
        ("viewer", "registers_read", 403),
        ("engineer", "relay_disconnect", 403),
        ("engineer", "association_test", 200),
        ("operator", "relay_reconnect", 200),
        ("operator", "fly", 404),
        ("operator", "profile_read", 404),
    ],
)
def test_order_page_by_role(
    meter: Meter, site_as: Callable[[str], Client], role: str, kind: str, status: int
) -> None:
    client = site_as(role)
    answer = client.get(f"/admin/meters/meter/order/{kind}/?meter={meter.pk}")
    assert answer.status_code == status
    if status == 403:
        assert kind not in text_of(client.get("/admin/meters/meter/"))
        answer = client.post(f"/admin/meters/meter/order/{kind}/", {"meter": meter.pk, "reason": "x"})
        assert answer.status_code == 403


def test_order_page_without_log_in_leads_to_the_log_in(meter: Meter) -> None:
    answer = Client().get(f"/admin/meters/meter/order/clock_read/?meter={meter.pk}")
    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]


# --- the rest


@pytest.mark.parametrize("model", ["command", "link", "auditentry"])
def test_rows_of_machines_cannot_be_edited(meter: Meter, admin_client: Client, model: str) -> None:
    order_command(meter=meter, kind="clock_read", user=None)
    link(meter)
    row = {"command": Command, "link": Link, "auditentry": AuditEntry}[model].objects.first()
    page = f"/admin/meters/{model}/{row.pk}/change/"
    text = text_of(admin_client.get(page))
    assert 'name="_save"' not in text
    assert admin_client.post(page, {}).status_code == 403
    assert admin_client.get(f"/admin/meters/{model}/add/").status_code == 403


def test_meter_type_logical_names_take_one_form_and_changes_are_audited(
    meter_type: MeterType, admin_client: Client
) -> None:
    page = f"/admin/meters/metertype/{meter_type.pk}/change/"
    form = admin_client.get(page).context["adminform"].form
    known = {name: form.initial.get(name) for name in form.fields}
    body = {name: "" if value is None else value for name, value in known.items()}
    body["event_log"] = "0-0:99.98.1*255"
    for prefix in ("associations", "registers"):
        body |= {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}
    del body["deviation_inverted"]
    assert admin_client.post(page, body).status_code == 302
    meter_type.refresh_from_db()
    assert meter_type.event_log == "0-0:99.98.1.255"
    assert "event_log" in AuditEntry.objects.get(action="meter_type.change").facts["changed"]
    text = text_of(admin_client.post(page, body | {"event_log": "nonsense"}))
    assert "not a logical name" in text


def test_reading_plan_schedule_is_told_its_plan(plan: ReadingPlan, admin_client: Client) -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    from hes.tasknames import COMMANDS_SWEEP, READS_MAKE_DUE

    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
    good = PeriodicTask.objects.create(name="good", task=READS_MAKE_DUE, interval=every)
    bad = PeriodicTask.objects.create(name="bad", task=COMMANDS_SWEEP, interval=every)
    body = {
        "name": plan.name,
        "meter_type": plan.meter_type_id,
        "kind": "profile",
        "logical_name": "1-0:99.1.0",
        "enabled": "on",
        "priority": 5,
        "spread_s": 0,
    }
    page = f"/admin/meters/readingplan/{plan.pk}/change/"
    assert "Its task must be" in text_of(admin_client.post(page, body | {"schedule": bad.pk}))
    assert admin_client.post(page, body | {"schedule": good.pk}).status_code == 302
    good.refresh_from_db()
    assert good.args == f"[{plan.pk}]"


def test_tokens_are_shown_once_and_removed_without_being_named(operator: User, admin_client: Client) -> None:
    answer = admin_client.post("/admin/authtoken/tokenproxy/add/", {"user": operator.pk}, follow=True)
    token = Token.objects.get()
    assert token.key in text_of(answer)
    listed = text_of(admin_client.get("/admin/authtoken/tokenproxy/"))
    assert token.key not in listed
    body = {"action": "remove", "_selected_action": [operator.pk]}
    answer = admin_client.post("/admin/authtoken/tokenproxy/", body, follow=True)
    assert token.key not in text_of(answer)
    assert not Token.objects.exists()
    assert {"token.create", "token.delete"} <= set(AuditEntry.objects.values_list("action", flat=True))
    from django.contrib.admin.models import LogEntry

    assert token.key not in str(list(LogEntry.objects.values()))


def test_site_index_and_schedules_open(admin_client: Client, db: None) -> None:
    from django.core.management import call_command

    call_command("seed_demo")
    assert "Smart-meter head-end" in text_of(admin_client.get("/admin/"))
    text = text_of(admin_client.get("/admin/django_celery_beat/periodictask/"))
    assert "Plan: SIM-1 load profile" in text
