"""Routes of this app; each with and without a slash at its end, so that no redirect loses a POST."""

from __future__ import annotations

from django.urls import re_path

from readings.api import views

urlpatterns = [
    re_path(r"^profile/read/?$", views.ProfileReadView.as_view(), name="profile-read"),
    re_path(r"^instantaneous/?$", views.InstantaneousView.as_view(), name="instantaneous"),
]
