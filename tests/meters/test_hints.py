from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlms import errors as dlms_errors
from meters.hints import explain
from workers import errors as worker_errors


@pytest.mark.parametrize("code", sorted(worker_errors.BY_CODE))
def test_explain_every_code_of_the_workers_has_its_cause_and_a_hint(code: str) -> None:
    explained = explain(code)
    assert explained.cause == worker_errors.BY_CODE[code].cause_class
    assert explained.hint


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        ("DATA_ACCESS_OBJECT_UNDEFINED", dlms_errors.ServiceError),
        ("AXDR_TRUNCATED", dlms_errors.RemoteProtocolError),
        ("SYSTEM_TITLE_LENGTH", dlms_errors.SecurityError),
    ],
)
def test_explain_finer_codes_share_the_hint_of_their_class(
    code: str, cls: type[dlms_errors.DlmsError]
) -> None:
    assert explain(code).hint == cls.hint


def codes_raised() -> Iterator[str]:
    """Every `code="..."` that the protocol and the workers write."""
    root = Path(dlms_errors.__file__).parent.parent
    for path in [*root.glob("dlms/**/*.py"), *root.glob("workers/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                yield str(node.value.value)


def test_explain_every_code_that_the_source_raises_has_a_hint_of_its_own() -> None:
    codes = set(codes_raised())
    assert len(codes) > 50
    unknown = explain("NEVER_SEEN").hint
    assert [code for code in sorted(codes) if explain(code).hint == unknown] == []


def test_explain_an_unknown_code_is_internal() -> None:
    assert explain("NEVER_SEEN").cause == "internal"
