"""What every part of the REST API shares: problem+json (RFC 9457), cursor pages, permissions, log-in.

An error's `code` is stable and part of the API; `detail` is for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import redis
import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.db import DataError, InterfaceError, OperationalError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.authtoken.models import Token
from rest_framework.authtoken.serializers import AuthTokenSerializer
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import AllowAny, DjangoModelPermissions
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from hes.problems import API_PREFIX, PROBLEM_JSON, plain_problem, problem_body

log = structlog.get_logger(__name__)


class Problem(Protocol):
    """What is wrong with one field; `field` is "" where it is the whole."""

    @property
    def field(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def detail(self) -> str: ...


@runtime_checkable
class Refusal(Protocol):
    """Shape of the services' own exceptions, which know nothing of this API."""

    code: str
    status: int
    detail: str
    problems: Sequence[Problem]


class ProblemFieldSerializer(serializers.Serializer[Any]):
    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """An error, as application/problem+json."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable; the troubleshooting table lists them.")
    detail = serializers.CharField()
    errors = ProblemFieldSerializer(many=True)  # type: ignore[assignment]


def problem_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. What it does not know becomes a 500 and is logged by Django."""
    headers: dict[str, str] = {}
    # problems are JSON whatever else the view speaks
    request = context["request"]
    request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    if isinstance(error, Refusal):
        errors = [{"field": p.field, "code": p.code, "detail": p.detail} for p in error.problems]
        body = problem_body(error.status, error.code, error.detail, errors)
    elif isinstance(error, Http404):
        body = problem_body(404, "NOT_FOUND", str(error) or "There is no such thing here.")
    elif isinstance(error, RequestDataTooBig):
        body = problem_body(413, "TOO_LARGE", "The body is too large.")
    elif isinstance(error, PermissionDenied):
        body = problem_body(403, "PERMISSION_DENIED", str(error) or "You may not do this.")
    elif isinstance(error, exceptions.APIException):
        body, headers = _of_rest_framework(error)
    elif isinstance(error, (OperationalError, InterfaceError)):
        log.warning("request_without_database", error=str(error).strip())
        body, headers = problem_body(503, "DATABASE_AWAY", "Try again in a moment."), {"Retry-After": "5"}
    elif isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        log.warning("request_without_redis", error=str(error))
        body, headers = problem_body(503, "REDIS_AWAY", "Try again in a moment."), {"Retry-After": "5"}
    else:
        return None
    set_rollback()
    return Response(body, status=body["status"], headers=headers, content_type=PROBLEM_JSON)


def _of_rest_framework(error: exceptions.APIException) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {}
    if (challenge := getattr(error, "auth_header", None)) is not None:
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait))
    if isinstance(error, exceptions.ValidationError):
        errors = list(_field_errors(error.detail))
        detail = "; ".join(f"{e['field']}: {e['detail']}" if e["field"] else e["detail"] for e in errors)
        return problem_body(error.status_code, "INVALID", detail, errors), headers
    code = str(getattr(error.detail, "code", error.default_code)).upper()
    return problem_body(error.status_code, code, str(error.detail)), headers


def _field_errors(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    if isinstance(detail, dict):
        for name, inner in detail.items():
            here = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
            yield from _field_errors(inner, here)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, (dict, list))
            yield from _field_errors(inner, f"{path}[{index}]" if nested else path)
    else:
        yield {"field": path, "code": getattr(detail, "code", "invalid").upper(), "detail": str(detail)}


@csrf_exempt
def not_found(request: HttpRequest, path: str = "") -> HttpResponse:
    """What the API answers where there is nothing."""
    return plain_problem(404, "NOT_FOUND", f"There is nothing at {request.path}")


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's own refusals, such as another host's name."""
    if request.path.startswith(API_PREFIX):
        return plain_problem(400, "BAD_REQUEST", "The request is malformed or for another host.")
    return defaults.bad_request(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API_PREFIX):
        return not_found(request)
    return defaults.page_not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponse:
    """A fault of ours; Django has logged it."""
    if request.path.startswith(API_PREFIX):
        return plain_problem(500, "INTERNAL", "The head-end failed; its log says why.")
    return defaults.server_error(request)


class CursorInvalid(exceptions.APIException):
    """The cursor is none that this API gave out."""

    status_code = 400
    default_code = "cursor_invalid"
    default_detail = "cursor: is none that was given out"


class Pages(CursorPagination):
    """Pages by cursor: nothing is counted, rows that come in meanwhile shift nothing.

    A view names its order in `cursor_ordering`; its first column should hardly repeat.
    """

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except exceptions.NotFound:
            raise CursorInvalid from None
        except (ValidationError, ValueError, DataError):
            # a place in the order that the column cannot have
            if self.cursor_query_param not in request.query_params:
                raise
            raise CursorInvalid from None

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> tuple[str, ...]:
        return tuple(view.cursor_ordering)  # type: ignore[attr-defined]


class ModelPermissions(DjangoModelPermissions):
    """Django's permissions of the model, for reading too."""

    perms_map = {
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="For the header `Authorization: Token ...`.")


class TokenView(APIView):
    """Log in for a token, that lasts until an administrator removes it."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="token_create",
        tags=["token"],
        request=AuthTokenSerializer,
        responses={200: TokenSerializer, (400, PROBLEM_JSON): ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        serializer = AuthTokenSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        token, _ = Token.objects.get_or_create(user=serializer.validated_data["user"])
        return Response({"token": token.key})
