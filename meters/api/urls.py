"""Routes of this app; each with and without a slash at its end, so that no redirect loses a POST."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from meters.api import views


class OptionalSlashRouter(SimpleRouter):
    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"


router = OptionalSlashRouter()
router.register("meters", views.MeterViewSet, basename="meter")
router.register("meter-types", views.MeterTypeViewSet, basename="meter-type")
router.register("commands", views.CommandViewSet, basename="command")
router.register("links", views.LinkViewSet, basename="link")

urlpatterns = router.urls
