"""Tasks called as functions: what beat sends must not get lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import OperationalError

from meters import claims
from meters.models import DueRead, Meter, ReadingPlan
from workers import tasks


@pytest.mark.django_db(transaction=True)
def test_plan_tick_that_met_a_deadlock_still_makes_its_reads_due(
    plan: ReadingPlan, add_meter: Callable[..., Meter], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_meter("M")
    make_due = claims.make_due
    failures = [OperationalError("deadlock detected"), OperationalError("server closed the connection")]

    def unlucky(of: ReadingPlan) -> int:
        if failures:
            raise failures.pop()
        return make_due(of)

    monkeypatch.setattr(claims, "make_due", unlucky)
    monkeypatch.setattr(tasks, "TICK_WAITS_S", (0.0, 0.0, 0.0))
    tasks.make_due(plan.pk)
    assert DueRead.objects.get().next_due_at is not None
