"""The form of a meter: its fields, its secrets (write-only), and why it is changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import capfirst

from meters.credentials import parse_secret
from meters.errors import Invalid
from meters.models import Credential, Meter
from meters.registration import FIELDS, check_meter

SECRET_FIELDS = tuple(Credential.Kind.values)


class SecretField(forms.CharField):
    """A secret that goes in and never comes out again."""

    def __init__(self, kind: Credential.Kind) -> None:
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "size": 40})
        super().__init__(required=False, label=capfirst(kind.label), strip=False, widget=widget)


class MeterForm(forms.ModelForm):
    guek = SecretField(Credential.Kind.GUEK)
    gak = SecretField(Credential.Kind.GAK)
    lls_password = SecretField(Credential.Kind.LLS_PASSWORD)
    reason = forms.CharField(
        required=False, max_length=500, widget=forms.TextInput(attrs={"class": "vTextField"})
    )

    class Meta:
        model = Meter
        fields = FIELDS
        widgets = {"note": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            stored = dict(self.instance.credentials.values_list("kind", "changed_at"))
            for kind in SECRET_FIELDS:
                if kind in self.fields:
                    at = stored.get(kind)
                    self.fields[kind].help_text = f"set {at:%Y-%m-%d %H:%M} UTC" if at else "not set"

    def clean_system_title(self) -> str | None:
        title = self.cleaned_data["system_title"]
        return title.lower() if title else None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for kind in SECRET_FIELDS:
            if cleaned.get(kind):
                try:
                    parse_secret(kind, cleaned[kind])
                except Invalid as error:
                    self.add_error(kind, error.problems[0].detail)
        return cleaned

    def _post_clean(self) -> None:
        super()._post_clean()
        if self.errors:
            return
        try:
            check_meter(self.instance)
        except Invalid as error:
            for problem in error.problems:
                self.add_error(problem.field if problem.field in self.fields else None, problem.detail)
