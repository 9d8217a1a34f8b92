"""The operator's site: Django's admin under our name, with what operators use first."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest

#: the order of the sections; others follow
SECTIONS = ("meters", "readings", "events", "django_celery_beat", "auth", "authtoken")
#: kinds of schedules that fit no reading plan
HIDDEN = frozenset({"ClockedSchedule", "SolarSchedule"})


class OperatorSite(AdminSite):
    site_header = "Smart-meter head-end"
    site_title = "Head-end"
    index_title = "Operation"
    site_url = None

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        found = super().get_app_list(request, app_label)
        for app in found:
            app["models"] = [model for model in app["models"] if model["object_name"] not in HIDDEN]
        places = {label: place for place, label in enumerate(SECTIONS)}
        return sorted(found, key=lambda app: places.get(app["app_label"], len(places)))


class OperatorSiteConfig(AdminConfig):
    default_site = "hes.site.OperatorSite"
