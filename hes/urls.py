"""Where everything is served."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.request import Request

from hes import health
from hes.api import TokenView, handler400, handler404, handler500, not_found

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]

DOCS: dict[str, Any] = {"url_name": "api-schema", "http_method_names": ["get", "head"]}


class SchemaView(SpectacularAPIView):
    """One version; a client's `version` must not get into the header that names the file."""

    def _get_version_parameter(self, request: Request) -> None:
        return None


api: list[URLPattern | URLResolver] = [
    path("", include("meters.api.urls")),
    path("", include("readings.api.urls")),
    path("", include("events.api.urls")),
    re_path(r"^token/?$", TokenView.as_view(), name="api-token"),
    re_path(r"^schema/?$", SchemaView.as_view(), name="api-schema"),
    re_path(r"^docs/?$", SpectacularSwaggerView.as_view(**DOCS), name="api-docs"),
    path("<path:path>", not_found),
]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/", admin.site.urls),
    path("api/", include(api)),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
]
