"""Meter types with their associations and registers, as data."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from dlms import obis
from meters import audit
from meters.admin.base import BigTableAdmin
from meters.models import Association, MeterType, TypeRegister
from meters.models.type import Purpose
from meters.registration import zone_names


class LogicalNameField(forms.CharField):
    """A logical name in any of its spellings, kept in the one stored form."""

    def clean(self, value: Any) -> str:
        text = super().clean(value)
        if not text:
            return ""
        try:
            return obis.to_text(obis.parse(text))
        except obis.ObisError as error:
            raise ValidationError(str(error), code=error.code) from None


class MeterTypeForm(forms.ModelForm):
    class Meta:
        model = MeterType
        fields = "__all__"  # noqa: DJ007 all of a type is edited here, and nothing in it is secret
        widgets = {"description": forms.Textarea(attrs={"rows": 2, "cols": 60})}
        field_classes = {
            "event_log": LogicalNameField,
            "disconnect_control": LogicalNameField,
            "invocation_counter": LogicalNameField,
        }

    def clean_time_zone(self) -> str:
        name = self.cleaned_data["time_zone"]
        if name not in zone_names():
            raise ValidationError("This is no IANA time zone.", code="TIME_ZONE_UNKNOWN")
        return name


class TypeRegisterForm(forms.ModelForm):
    class Meta:
        model = TypeRegister
        fields = ("position", "class_id", "logical_name", "attribute", "scaler", "unit")
        field_classes = {"logical_name": LogicalNameField}


class AssociationForm(forms.ModelForm):
    purposes = forms.MultipleChoiceField(
        choices=[(purpose.value, purpose.value) for purpose in Purpose],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="; ".join(f"{purpose.value}: {purpose.label}" for purpose in Purpose),
    )

    class Meta:
        model = Association
        fields = ("position", "name", "client_address", "authentication", "ciphering", "purposes")


class AssociationInline(admin.TabularInline):
    model = Association
    form = AssociationForm
    extra = 0


class TypeRegisterInline(admin.TabularInline):
    model = TypeRegister
    form = TypeRegisterForm
    extra = 0
    verbose_name = "register"
    verbose_name_plural = "registers of the instantaneous set"


@admin.register(MeterType)
class MeterTypeAdmin(BigTableAdmin):
    form = MeterTypeForm
    list_display = ("name", "manufacturer", "description")
    search_fields = ("name__startswith",)
    inlines = (AssociationInline, TypeRegisterInline)
    fieldsets = (
        (None, {"fields": ("name", "manufacturer", "description")}),
        ("Dialog", {"fields": ("server_address", "max_pdu_bytes", "response_timeout_s", "request_pause_s")}),
        ("Clock", {"fields": ("time_zone", "deviation_inverted")}),
        ("Profiles", {"fields": ("null_data_repeats",)}),
        ("Objects", {"fields": ("event_log", "disconnect_control", "invocation_counter")}),
    )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        changed = [*form.changed_data, *(n for f in formsets for n in _changed(f))]
        if changed or not change:
            audit.record(
                "meter_type.change" if change else "meter_type.create",
                subject=form.instance.name,
                actor=request.user,
                facts={"changed": sorted(set(changed))},
            )


def _changed(formset: Any) -> list[str]:
    return [f"{formset.model._meta.model_name}.{name}" for f in formset.forms for name in f.changed_data]
