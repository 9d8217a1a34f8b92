"""Routes of this app; each with and without a slash at its end, so that no redirect loses a POST."""

from __future__ import annotations

from django.urls import re_path

from events.api import views

urlpatterns = [re_path(r"^event/?$", views.EventView.as_view(), name="event")]
