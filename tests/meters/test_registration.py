from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from meters.credentials import load_secrets
from meters.errors import Invalid
from meters.models import AuditEntry, DueRead, Meter, MeterType, ReadingPlan
from meters.registration import change_meter, create_meter

KEY = "00112233445566778899aabbccddeeff"


def test_create_meter_stores_secrets_and_makes_it_due(
    meter_type: MeterType, plan: ReadingPlan, operator: User
) -> None:
    meter = create_meter(
        user=operator,
        reason="new",
        secrets={"guek": KEY},
        serial="M1",
        meter_type=meter_type,
        system_title=" 53494D0000000001 ",
    )
    assert meter.system_title == "53494d0000000001"
    assert load_secrets([meter.pk]) == {meter.pk: {"guek": bytes.fromhex(KEY)}}
    assert DueRead.objects.get().meter == meter
    entry = AuditEntry.objects.get(action="meter.create")
    assert (entry.actor, entry.reason, entry.facts["meter_type"]) == (operator, "new", "SIM-1")
    assert KEY not in str(list(AuditEntry.objects.values()))


def test_create_meter_with_all_wrong_tells_all_and_writes_nothing(
    meter: Meter, meter_type: MeterType
) -> None:
    with pytest.raises(Invalid) as caught:
        create_meter(
            user=None,
            serial="a b",
            meter_type=meter_type,
            system_title="53494d0000000001",
            time_zone="Mars/Base",
            server_address=0,
        )
    assert sorted((p.field, p.code) for p in caught.value.problems) == [
        ("serial", "INVALID"),
        ("server_address", "OUT_OF_RANGE"),
        ("system_title", "DUPLICATE"),
        ("time_zone", "TIME_ZONE_UNKNOWN"),
    ]
    assert Meter.objects.count() == 1


def test_create_meter_with_a_bad_secret_writes_nothing(meter_type: MeterType) -> None:
    with pytest.raises(Invalid):
        create_meter(user=None, serial="M9", meter_type=meter_type, secrets={"guek": "00"})
    assert not Meter.objects.exists()


def test_change_meter_audits_what_changed_and_only_that(meter: Meter, operator: User) -> None:
    changed = change_meter(
        meter, {"note": "by the door", "state": meter.state}, user=operator, reason="moved"
    )
    assert changed.note == "by the door"
    entry = AuditEntry.objects.get(action="meter.change")
    assert entry.facts == {"note": ["", "by the door"]}
    change_meter(meter, {"note": "by the door"}, user=operator)
    assert AuditEntry.objects.filter(action="meter.change").count() == 1


def test_change_meter_leaves_what_workers_wrote_meanwhile(meter: Meter) -> None:
    Meter.objects.update(last_error_code="METER_OFFLINE")
    change_meter(meter, {"note": "x"}, user=None)
    assert Meter.objects.get().last_error_code == "METER_OFFLINE"


@pytest.mark.parametrize(("field", "code"), [("serial", "FIXED"), ("last_ok_at", "READ_ONLY")])
def test_change_meter_of_what_may_not_change_is_refused(meter: Meter, field: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        change_meter(meter, {field: "other"}, user=None)
    assert [p.code for p in caught.value.problems] == [code]


def test_change_meter_of_the_type_replaces_what_is_due(plan: ReadingPlan, meter: Meter) -> None:
    other = MeterType.objects.create(name="OTHER")
    other_plan = ReadingPlan.objects.create(name="other", meter_type=other)
    change_meter(meter, {"meter_type": other}, user=None)
    assert list(DueRead.objects.values_list("plan", flat=True)) == [other_plan.pk]


def test_change_meter_to_the_system_title_of_another_is_refused(
    meter: Meter, make_meter: Callable[..., Meter]
) -> None:
    other = make_meter()
    with pytest.raises(Invalid) as caught:
        change_meter(other, {"system_title": meter.system_title}, user=None)
    assert [(p.field, p.code) for p in caught.value.problems] == [("system_title", "DUPLICATE")]
