"""bin/python: the environment is whole or is built again, whatever happened to it before."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hes.reaper import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that needs no package, in a folder with a blank in its name."""
    folder = tmp_path / "a check out"
    shutil.copytree(ROOT / "bin", folder / "bin")
    (folder / "requirements.txt").write_text("# nothing\n")
    return folder


def run(checkout: Path, *words: str) -> str:
    return subprocess.run(
        [checkout / "bin" / "python", *words], check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_environment_cut_off_while_made_is_built_again(checkout: Path) -> None:
    cut = checkout / ".venv" / "bin"
    cut.mkdir(parents=True)
    (cut / "python").symlink_to(shutil.which("python3") or "")
    assert run(checkout, "-c", "import pip, sys; print(sys.prefix)") == f"{checkout}/.venv\n"


def test_checkout_moved_has_commands_that_run(checkout: Path) -> None:
    run(checkout, "--version")
    moved = checkout.rename(checkout.with_name("moved"))
    run(moved, "--version")
    outcome = subprocess.run([moved / ".venv/bin/pip", "--version"], capture_output=True, text=True)
    assert outcome.returncode == 0
    assert str(moved) in outcome.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_building_cut_off_ends_without_a_traceback(checkout: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([checkout / "bin" / "python", "--version"], stderr=subprocess.PIPE, text=True)
    while not (checkout / ".venv").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
