"""What the REST API takes in: bodies with a length, JSON of a sane depth, known fields only.

Refuses what would otherwise be dropped in silence or be an error of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, Any

from django.http import HttpRequest, HttpResponse
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from hes.problems import API_PREFIX, plain_problem, printable

Handler = Callable[[HttpRequest], HttpResponse]


def length_required(get_response: Handler) -> Handler:
    """Middleware: the REST framework takes a body without a length for none, so a change would be dropped."""

    def middleware(request: HttpRequest) -> HttpResponse:
        chunked = "Transfer-Encoding" in request.headers and "Content-Length" not in request.headers
        if chunked and request.path.startswith(API_PREFIX):
            return plain_problem(411, "LENGTH_REQUIRED", "The body needs a Content-Length.")
        return get_response(request)

    return middleware


class JsonBodyParser(JSONParser):
    """JSON; too deep is malformed like the rest."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deep") from None


class KnownFields(serializers.Serializer[Any]):
    """Refuses names that are no field: a misspelt `not_after` must not become its default."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := set(data) - set(self.fields)):
            raise serializers.ValidationError(
                {printable(str(name)): ["is no field here"] for name in sorted(unknown, key=str)},
                code="unknown",
            )
        return super().to_internal_value(data)
