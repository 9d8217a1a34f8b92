from __future__ import annotations

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
        ("SYSTEM_TITLE_MISMATCH", dlms_errors.SecurityError),
    ],
)
def test_explain_finer_codes_share_the_hint_of_their_class(
    code: str, cls: type[dlms_errors.DlmsError]
) -> None:
    assert explain(code).hint == cls.hint


def test_explain_an_unknown_code_is_internal() -> None:
    assert explain("NEVER_SEEN").cause == "internal"
