from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from meters import credentials
from meters.errors import Invalid
from meters.models import AuditEntry, Credential, Meter

KEY = bytes(range(16))


def test_seal_of_a_secret_opens_to_it_and_never_looks_the_same() -> None:
    first, second = credentials.seal(1, "guek", KEY), credentials.seal(1, "guek", KEY)
    assert credentials.open_sealed(1, "guek", first) == credentials.open_sealed(1, "guek", second) == KEY
    assert first != second
    assert KEY not in first


@pytest.mark.parametrize(("meter_id", "kind"), [(2, "guek"), (1, "gak")])
def test_open_sealed_under_another_row_is_refused(meter_id: int, kind: str) -> None:
    with pytest.raises(credentials.CredentialUnreadable):
        credentials.open_sealed(meter_id, kind, credentials.seal(1, "guek", KEY))


def test_open_sealed_of_every_altered_or_shortened_octet_is_refused() -> None:
    sealed = credentials.seal(1, "guek", KEY)
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(credentials.CredentialUnreadable):
            credentials.open_sealed(1, "guek", bytes(altered))
        with pytest.raises(credentials.CredentialUnreadable):
            credentials.open_sealed(1, "guek", sealed[:position])


def test_open_sealed_under_another_key_encryption_key_is_refused(settings: pytest.FixtureRequest) -> None:
    sealed = credentials.seal(1, "guek", KEY)
    settings.HES_KEK = bytes(32)
    with pytest.raises(credentials.CredentialUnreadable, match="another key-encryption key"):
        credentials.open_sealed(1, "guek", sealed)


def test_load_secrets_of_many_meters_is_one_query(
    meter: Meter, make_meter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = make_meter()
    credentials.set_credential(meter, "guek", KEY, None)
    credentials.set_credential(meter, "lls_password", b"secret", None)
    credentials.set_credential(other, "gak", KEY, None)
    with django_assert_num_queries(1):
        secrets = credentials.load_secrets([meter.pk, other.pk])
    assert secrets == {meter.pk: {"guek": KEY, "lls_password": b"secret"}, other.pk: {"gak": KEY}}


def test_load_secrets_leaves_out_what_does_not_open(meter: Meter) -> None:
    credentials.set_credential(meter, "guek", KEY, None)
    credentials.set_credential(meter, "gak", KEY, None)
    Credential.objects.filter(kind="gak").update(sealed=b"\x01junk")
    assert credentials.load_secrets([meter.pk]) == {meter.pk: {"guek": KEY}}


def test_set_credential_audits_without_the_secret(meter: Meter, operator: User) -> None:
    credentials.set_credential(meter, "guek", KEY, operator, "delivered")
    entry = AuditEntry.objects.get(action="credential.set")
    assert (entry.meter, entry.actor, entry.subject, entry.reason) == (meter, operator, "guek", "delivered")
    assert KEY.hex() not in str(entry.facts)


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("guek", "zz", "SECRET_NOT_HEX"),
        ("guek", "0011", "SECRET_LENGTH"),
        ("lls_password", "", "SECRET_LENGTH"),
        ("lls_password", "x" * 65, "SECRET_LENGTH"),
    ],
)
def test_parse_secret_malformed_is_refused_without_showing_it(kind: str, text: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        credentials.parse_secret(kind, text)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert not text or text not in str(caught.value)
