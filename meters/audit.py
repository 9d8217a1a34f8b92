"""The audit trail. Owns the writing of `AuditEntry`; callers write in the transaction of what they did."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from meters.models import AuditEntry, Meter


def entry(
    action: str,
    *,
    meter: Meter | None = None,
    subject: str = "",
    actor: AbstractBaseUser | None = None,
    reason: str = "",
    facts: dict[str, Any] | None = None,
) -> AuditEntry:
    """An entry not yet written, for bulk creation. `action` is noun.verb; `facts` never hold a secret."""
    return AuditEntry(
        action=action, meter=meter, subject=subject, actor=actor, reason=reason[:500], facts=facts or {}
    )


def record(action: str, **details: Any) -> AuditEntry:
    """Write one entry; see `entry`."""
    made = entry(action, **details)
    made.save(force_insert=True)
    return made
