"""Typed readers of the environment, and a start with a wrong setting."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from hes import env
from hes.env import SettingError
from hes.reaper import ROOT

NAME = "HES_PROBE"


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch):
    return lambda value: monkeypatch.setenv(NAME, value)


@pytest.mark.parametrize(
    ("read", "raw", "value"),
    [
        (env.env_str, " words ", "words"),
        (env.env_int, "42", 42),
        (env.env_float, "2.5", 2.5),
        (env.env_bool, "Yes", True),
        (env.env_bool, "0", False),
        (env.env_byte_count, "2MiB", 2 << 20),
        (env.env_byte_count, "1048576", 1 << 20),
        (env.env_list, "a, b", ["a", "b"]),
        (lambda name: env.env_bytes_hex(name, length=2), "00fF", b"\x00\xff"),
        (lambda name: env.env_url(name, schemes=["redis"]), "redis://h:1/0", "redis://h:1/0"),
    ],
)
def test_reader_good_value_is_typed(setting, read, raw: str, value: object) -> None:
    setting(raw)
    assert read(NAME) == value


@pytest.mark.parametrize(
    ("read", "raw"),
    [
        (lambda name: env.env_str(name, min_length=4), "abc"),
        (lambda name: env.env_str(name, choices=("a", "b")), "c"),
        (env.env_int, "4.2"),
        (lambda name: env.env_int(name, low=5), "4"),
        (lambda name: env.env_int(name, high=5), "6"),
        (env.env_float, "nan"),
        (env.env_float, "wide"),
        (env.env_bool, "maybe"),
        (env.env_byte_count, "2 MB"),
        (env.env_byte_count, "-1"),
        (env.env_list, "a,,b"),
        (lambda name: env.env_bytes_hex(name, length=2), "00"),
        (lambda name: env.env_bytes_hex(name, length=2), "zz00"),
        (lambda name: env.env_url(name, schemes=["redis"]), "http://h"),
        (lambda name: env.env_url(name, schemes=["redis"]), "redis://h:port"),
    ],
)
def test_reader_malformed_value_names_the_variable(setting, read, raw: str) -> None:
    setting(raw)
    with pytest.raises(SettingError, match=NAME):
        read(NAME)


def test_reader_empty_variable_counts_as_not_set(setting) -> None:
    setting("  ")
    assert env.env_int(NAME, 7) == 7
    with pytest.raises(SettingError, match="is not set"):
        env.env_int(NAME)


@pytest.mark.parametrize("raw", ["redis://:hush@h:port", "sesame"])
def test_url_and_key_errors_do_not_repeat_the_value(setting, raw: str) -> None:
    setting(raw)
    for read in (
        lambda: env.env_url(NAME, schemes=["redis"]),
        lambda: env.env_bytes_hex(NAME, length=2),
    ):
        with pytest.raises(SettingError) as caught:
            read()
        assert "hush" not in str(caught.value)
        assert "sesame" not in str(caught.value)


GOOD = {
    "HES_ENV": "production",
    "HES_SECRET_KEY": "q8Zt3LmN0pRsUvWxYzAbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "HES_KEK": bytes(range(32)).hex(),
    "HES_SYSTEM_TITLE": "4845530000000001",
    "DATABASE_URL": "postgresql://127.0.0.1:1/hes",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


def start(*command: str, **changed: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command in production settings, some changed or (None) taken away."""
    kept = {name: value for name, value in os.environ.items() if name not in GOOD}
    variables = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    return subprocess.run(
        [sys.executable, *command], env=kept | variables, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_start_good_production_settings_are_accepted() -> None:
    code = "import hes.settings as s; print(s.HES_BROKER_URL, s.HES_CACHE_REDIS_URL, s.DEBUG)"
    outcome = start("-c", code)
    assert outcome.stdout.split() == ["redis://127.0.0.1:1/1", "redis://127.0.0.1:1/2", "False"], (
        outcome.stderr
    )


@pytest.mark.parametrize("name", [name for name in GOOD if name != "HES_ENV"])
def test_start_missing_production_setting_stops_naming_it(name: str) -> None:
    outcome = start("manage.py", "check", **{name: None})
    assert outcome.returncode == 2
    assert outcome.stderr.strip() == f"setting {name}: is not set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HES_SECRET_KEY", "x" * 60),
        ("HES_SECRET_KEY", "short"),
        ("HES_KEK", "00" * 32),
        ("HES_KEK", "12" * 16),
        ("HES_SYSTEM_TITLE", "HES"),
        ("HES_DEBUG", "true"),
        ("HES_CLAIM_S", "soon"),
        ("HES_MAX_DIALOGS", "0"),
        ("HES_BACKLOG_BYTES", "much"),
        ("HES_ENV", "staging"),
        ("HES_LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "sqlite:///x"),
        ("DATABASE_URL", "postgresql://127.0.0.1:5432"),
        ("REDIS_URL", "127.0.0.1:6379"),
    ],
)
@pytest.mark.parametrize("command", [["manage.py", "check"], ["-c", "import hes.celery"]])
def test_start_wrong_setting_stops_naming_it(command: list[str], name: str, value: str) -> None:
    outcome = start(*command, **{name: value})
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stderr.startswith(f"setting {name}: ")
    assert len(outcome.stderr.splitlines()) == 1


def test_env_example_lists_every_variable_that_is_read() -> None:
    names = re.compile(r"\b(?:HES_[A-Z_]+|DATABASE_URL|REDIS_URL)\b")
    sources = [ROOT / "hes/settings.py", ROOT / "gateway/config.py", ROOT / "Procfile"]
    read = {name for path in sources for name in names.findall(path.read_text())}
    listed = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read <= listed
