"""Shape of an error of the API: problem+json (RFC 9457). Knows nothing of the REST framework."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse, JsonResponse

PROBLEM_JSON = "application/problem+json"
API_PREFIX = "/api/"


def printable(text: str) -> str:
    """Text that has a form in UTF-8; what clients sent may have none."""
    return text.encode("utf-8", "backslashreplace").decode()


def problem_body(
    status: int, code: str, detail: str, errors: Sequence[dict[str, str]] = ()
) -> dict[str, Any]:
    return {
        "type": f"urn:hes:problem:{code.lower().replace('_', '-')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": printable(detail),
        "errors": [{name: printable(text) for name, text in error.items()} for error in errors],
    }


def plain_problem(status: int, code: str, detail: str) -> HttpResponse:
    """A problem from outside of the REST framework's views."""
    return JsonResponse(problem_body(status, code, detail), status=status, content_type=PROBLEM_JSON)
