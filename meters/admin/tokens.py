"""API tokens: made and removed here, shown once, at their making."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from rest_framework.authtoken.models import Token, TokenProxy

from meters import audit
from meters.admin.base import BigTableAdmin

admin.site.unregister(TokenProxy)


@admin.register(TokenProxy)
class TokenAdmin(BigTableAdmin):
    list_display = ("user", "created")
    list_display_links = None
    list_select_related = ("user",)
    search_fields = ("user__username__startswith",)
    autocomplete_fields = ("user",)
    fields = ("user",)
    ordering = ("user",)
    actions = ("remove",)

    @admin.display(description="")
    def action_checkbox(self, token: Token) -> SafeString:
        """The site's own names the object, which is the key."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            token.user_id,
            token.user,
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The site's own pages for deleting name objects by their key."""
        return False

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("authtoken.delete_tokenproxy")

    def save_model(self, request: HttpRequest, token: Token, form: Any, change: bool) -> None:
        super().save_model(request, token, form, change)
        audit.record("token.create", subject=token.user.get_username(), actor=request.user)

    def response_add(self, request: HttpRequest, token: Token, post_url_continue: Any = None) -> HttpResponse:
        messages.warning(request, f"The token of {token.user} is {token.key}. It is shown this once.")
        return redirect("admin:authtoken_tokenproxy_changelist")

    def log_addition(self, request: HttpRequest, token: Token, message: Any) -> None:
        """Not in the site's own log, which names objects by their key; the audit has it."""

    @admin.action(description="Remove the selected tokens", permissions=["remove"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        with transaction.atomic():
            # what was ticked are users: the list's own queryset would look for keys
            ticked = [text for text in request.POST.getlist(ACTION_CHECKBOX_NAME) if text.isdecimal()]
            tokens = list(Token.objects.filter(user_id__in=ticked).select_related("user").order_by("user"))
            for token in tokens:
                audit.record("token.delete", subject=token.user.get_username(), actor=request.user)
                token.delete()
        messages.success(request, f"{len(tokens)} removed.")
