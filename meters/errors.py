"""Refusals of this app's services: what was asked cannot be done as asked, and nothing was changed.

Codes are stable and part of the API. Knows nothing of HTTP but the status that fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field; `field` is "" where it is the whole."""

    field: str
    code: str
    detail: str


class Refused(Exception):
    """The base: what was asked cannot be done in this state of things."""

    code = "REFUSED"
    status: ClassVar[int] = 409

    def __init__(
        self, detail: str, *, code: str | None = None, problems: tuple[FieldProblem, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Invalid(Refused):
    """Fields are missing or malformed."""

    code = "INVALID"
    status = 400

    @classmethod
    def field(cls, name: str, code: str, detail: str) -> Invalid:
        return cls(f"{name}: {detail}", problems=(FieldProblem(name, code, detail),))


class MeterNotOperated(Refused):
    """The meter's state does not allow to speak to it."""

    code = "METER_NOT_OPERATED"


class IdempotencyConflict(Refused):
    """The Idempotency-Key was used before for something else."""

    code = "IDEMPOTENCY_KEY_REUSED"


class NotAllowed(Refused):
    """The user lacks the permission that this act needs."""

    code = "PERMISSION_DENIED"
    status = 403
