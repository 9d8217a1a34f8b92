"""Links as the gateway nodes report them, and peers that no meter is known for."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from meters.admin.base import ReadOnlyAdmin, badge
from meters.models import Link, UnknownPeer


def presence_badge(link: Link | None) -> SafeString:
    if link is None:
        return badge("never seen", "plain")
    if link.state == Link.State.PRESENT:
        return badge("present", "good", f"since {link.since:%Y-%m-%d %H:%M:%S} UTC at {link.node}")
    return badge("absent", "warn", f"since {link.since:%Y-%m-%d %H:%M:%S} UTC: {link.reason}")


@admin.register(Link)
class LinkAdmin(ReadOnlyAdmin):
    list_display = ("meter", "shown_state", "since", "node", "peer", "reason", "clashes")
    list_select_related = ("meter",)
    list_filter = ("state",)
    search_fields = ("meter__serial__startswith",)
    search_help_text = "Beginning of a meter's serial."
    sortable_by = ()
    ordering = ("meter_id",)

    @admin.display(description="state")
    def shown_state(self, link: Link) -> SafeString:
        return presence_badge(link)


@admin.register(UnknownPeer)
class UnknownPeerAdmin(ReadOnlyAdmin):
    list_display = ("identity", "peer", "node", "first_seen", "last_seen", "logins", "register")
    search_fields = ("identity__startswith",)
    search_help_text = "Beginning of an identity."

    @admin.display(description="")
    def register(self, peer: UnknownPeer) -> SafeString:
        return format_html('<a href="../meter/add/?serial={}">register as a meter</a>', peer.identity)
