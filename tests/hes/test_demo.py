"""The demonstration's own parts: words, secrets, and the comparison of a day over real HTTP."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hes.demo import parse_meters, parse_scale, serials
from hes.proof import CAPTURE_PERIOD, Day, DayProof
from hes.stack import folder_secrets

DAY = Day(dt.date(2026, 3, 29))
COLUMNS = ["1-0:1.8.0.255", "1-0:32.7.0.255"]
SCALER_UNITS = [(0, 30), (-1, 35)]


class TwoSides:
    """An API and a truth on one port; `stored` may differ from `held`."""

    def __init__(self) -> None:
        stamps = [DAY.first_row + n * CAPTURE_PERIOD for n in range(DAY.intervals)]
        self.held = [[_iso(at), n % 3, 1000 + n, 2300 + n] for n, at in enumerate(stamps)]
        self.stored = [[at, status, str(energy), f"{volts / 10}"] for at, status, energy, volts in self.held]
        self.channels = [
            {"obis": obis, "scaler": scaler, "unit_code": unit}
            for obis, (scaler, unit) in zip(COLUMNS, SCALER_UNITS, strict=True)
        ]
        self.status = 200
        self.asked: list[str] = []

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if path == "/truth":
            units = list(map(list, SCALER_UNITS))
            return 200, {"columns": COLUMNS, "scaler_units": units, "rows": self.held}
        return self.status, {"channels": self.channels, "rows": self.stored}


def _iso(at: dt.datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@pytest.fixture
def sides() -> TwoSides:
    return TwoSides()


@pytest.fixture
def proof(sides: TwoSides) -> Iterator[DayProof]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            status, body = sides.answer(url.path, query)
            octets = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        made = DayProof(url, "token", url, DAY)
        yield made
        made.close()
        server.shutdown()


def test_day_has_96_intervals_stamped_at_their_ends() -> None:
    assert DAY.intervals == 96
    assert DAY.first_row == dt.datetime(2026, 3, 29, 0, 15, tzinfo=dt.UTC)
    assert DAY.last_row == dt.datetime(2026, 3, 30, tzinfo=dt.UTC)


def test_compare_equal_day_is_proved(proof: DayProof) -> None:
    found = proof.compare("SIM00000001")
    assert (found.held, found.stored, found.equal, found.proved) == (96, 96, 96, True)


def _drop_row(sides: TwoSides) -> None:
    del sides.stored[5]


def _repeat_row(sides: TwoSides) -> None:
    sides.stored.insert(5, sides.stored[5])


def _change_value(sides: TwoSides) -> None:
    sides.stored[5][2] = "1005.0001"


def _change_status(sides: TwoSides) -> None:
    sides.stored[5][1] = 9


def _lose_value(sides: TwoSides) -> None:
    sides.stored[5][3] = None


def _change_scaler(sides: TwoSides) -> None:
    sides.channels[1]["scaler"] = 0


@pytest.mark.parametrize(
    "spoil", [_drop_row, _repeat_row, _change_value, _change_status, _lose_value, _change_scaler]
)
def test_compare_any_difference_is_not_proved(
    proof: DayProof, sides: TwoSides, spoil: Callable[[TwoSides], None]
) -> None:
    spoil(sides)
    found = proof.compare("SIM00000001")
    assert not found.proved
    assert found.equal <= 95 or found.stored == 97


def test_wait_unknown_meter_ends_at_the_timeout_unproved(proof: DayProof, sides: TwoSides) -> None:
    sides.status = 404
    ticks: list[int] = []
    outcome = proof.wait(serials(3), timeout_s=0.0, tick=ticks.append)
    assert not outcome.proved
    assert [one.stored for one in outcome.comparisons] == [0, 0, 0]
    assert ticks == [0]


def test_wait_complete_fleet_is_proved_and_asked_once(proof: DayProof, sides: TwoSides) -> None:
    outcome = proof.wait(serials(9), timeout_s=10.0, tick=lambda complete: None)
    assert outcome.proved
    assert sides.asked.count("/truth") == 9


def test_secrets_are_random_private_and_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    made = folder_secrets(first)
    assert folder_secrets(first) == made
    assert not set(made.values()) & set(folder_secrets(second).values())
    assert stat.S_IMODE((first / "secrets.json").stat().st_mode) == 0o600


def test_scale_words_become_counts() -> None:
    assert parse_scale("gateway=2, worker-reads=3") == {"gateway": 2, "worker-reads": 3}


@pytest.mark.parametrize("text", ["gateway", "gateway=", "gateway=0", "=2", "gateway=two", ""])
def test_scale_malformed_words_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_scale(text)


@pytest.mark.parametrize("text", ["0", "-1", "many", "100001"])
def test_meters_outside_the_range_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_meters(text)
