"""What a dialog leaves on the meter's record."""

from __future__ import annotations

import pytest

from meters.claims import CONSEQUENCES, record_contact
from meters.models import Meter


def last_error(meter: Meter) -> tuple[str, str]:
    meter.refresh_from_db()
    return meter.last_error_code, meter.last_error_detail


@pytest.mark.parametrize("code", CONSEQUENCES)
def test_consequence_does_not_hide_the_error_before_it(meter: Meter, code: str) -> None:
    record_contact(meter.pk, code, "alone")
    assert last_error(meter) == (code, "alone")
    record_contact(meter.pk, "RESPONSE_TIMEOUT", "the cause")
    record_contact(meter.pk, code, "later")
    assert last_error(meter) == ("RESPONSE_TIMEOUT", "the cause")


def test_good_contact_clears_the_error_and_another_error_replaces_it(meter: Meter) -> None:
    record_contact(meter.pk, "RESPONSE_TIMEOUT", "")
    record_contact(meter.pk, "LINK_LOST", "half_frame")
    assert last_error(meter) == ("LINK_LOST", "half_frame")
    record_contact(meter.pk, "", "")
    assert last_error(meter) == ("", "")
    assert meter.last_ok_at is not None
