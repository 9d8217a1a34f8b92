"""Reading plans. A plan's schedule is a periodic task of its own, made with the plan and edited there."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from hes import tasknames
from meters import audit
from meters.admin.base import BigTableAdmin
from meters.admin.types import LogicalNameField
from meters.models import ReadingPlan


class ReadingPlanForm(ModelForm):
    class Meta:
        model = ReadingPlan
        fields = ("name", "meter_type", "kind", "logical_name", "enabled", "priority", "spread_s", "schedule")
        field_classes = {"logical_name": LogicalNameField}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        kind = cleaned.get("kind")
        if kind == ReadingPlan.Kind.PROFILE and not cleaned.get("logical_name"):
            self.add_error("logical_name", "A profile plan names its profile.")
        schedule = cleaned.get("schedule")
        if schedule is not None and schedule.task != tasknames.READS_MAKE_DUE:
            self.add_error("schedule", f"Its task must be {tasknames.READS_MAKE_DUE}.")
        return cleaned


@admin.register(ReadingPlan)
class ReadingPlanAdmin(BigTableAdmin):
    form = ReadingPlanForm
    list_display = ("name", "meter_type", "kind", "logical_name", "enabled", "priority", "schedule")
    list_select_related = (
        "meter_type",
        "schedule__interval",
        "schedule__crontab",
        "schedule__solar",
        "schedule__clocked",
    )
    list_filter = ("kind", "enabled")
    search_fields = ("name__startswith",)
    autocomplete_fields = ("meter_type", "schedule")

    def save_model(self, request: HttpRequest, plan: ReadingPlan, form: Any, change: bool) -> None:
        super().save_model(request, plan, form, change)
        if plan.schedule is not None:
            # the task says which plan it is for, so this is ours to write, whoever made the schedule
            PeriodicTask.objects.filter(pk=plan.schedule_id).update(args=json.dumps([plan.pk]))
            PeriodicTasks.update_changed()  # an update tells beat nothing
        audit.record(
            "plan.change" if change else "plan.create",
            subject=plan.name,
            actor=request.user,
            facts={"changed": sorted(form.changed_data)},
        )
