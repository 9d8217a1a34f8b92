"""Processes as a group: started, restarted, stopped in order, never left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hes import supervisor
from hes.reaper import ROOT, group_members, start_time
from hes.supervisor import Supervisor, procfile_commands, shell

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
#: ignores the stop signal, and has a child of its own that does too
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, {}) as made:
        yield made


def wait_until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_procfile_names_the_processes_of_the_house() -> None:
    assert list(procfile_commands()) == [
        "web",
        "gateway",
        "worker-reads",
        "worker-commands",
        "beat",
        "ingest",
    ]


def test_shell_replaces_itself_and_expands_variables(running: Supervisor) -> None:
    code = "import os, sys; print(os.getpid(), sys.argv[1])"
    child = running.add("one", shell(f"python -c {shlex.quote(code)} ${{PROBE:-none}}"), {"PROBE": "found"})
    wait_until(lambda: child.exit_status() is not None)
    assert child.log_path.read_text().split() == [str(child.pid), "found"]


def test_child_output_and_errors_go_to_its_log(running: Supervisor) -> None:
    child = running.add("one", [sys.executable, "-c", "import sys; print('out'); sys.exit('err')"])
    wait_until(lambda: child.exit_status() == 1)
    assert child.log_path.read_text().split() == ["out", "err"]


def test_stop_follows_the_stages(running: Supervisor, tmp_path: Path) -> None:
    code = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.2)
    with open(sys.argv[1], "a") as stream: stream.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(600)
"""
    order = tmp_path / "order"
    kinds = ["simulator", "web", "gateway", "worker-reads", "beat"]
    children = [running.add(f"{kind}.1", [sys.executable, "-c", code, str(order), kind]) for kind in kinds]
    wait_until(lambda: all("up" in child.log_path.read_text() for child in children))
    running.stop()
    assert order.read_text().split() == ["beat", "worker-reads", "gateway", "web", "simulator"]


def test_stop_kills_a_stubborn_group_and_nothing_else(running: Supervisor) -> None:
    bystander = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    child = running.add("one", [sys.executable, "-c", STUBBORN], grace_s=0.5)
    wait_until(lambda: child.log_path.read_text().strip())
    grandchild = int(child.log_path.read_text())
    running.stop()
    wait_until(lambda: not start_time(grandchild))
    assert not group_members(child.pid)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_ended_process_is_started_again_after_a_pause(
    running: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.1)
    child = running.add("one", SLEEPER)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    wait_until(running.ended)
    assert running.restart_ended() == []
    wait_until(lambda: running.restart_ended() == [child])
    assert child.pid != first
    assert child.exit_status() is None
    assert child.restarts == 1


def test_same_name_twice_is_refused(running: Supervisor) -> None:
    running.add("one", SLEEPER)
    with pytest.raises(ValueError, match="one"):
        running.add("one", SLEEPER)


PARENT = f"""
import sys, time
from pathlib import Path
from hes.supervisor import Supervisor
made = Supervisor(Path(sys.argv[1]), {{}})
child = made.add("gateway.1", [sys.executable, "-c", {STUBBORN!r}], grace_s=0.5)
while not child.log_path.read_text().strip():
    time.sleep(0.02)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_parent_that_dies_without_stopping_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert len(group_members(group)) == 2
        parent.send_signal(number)
        parent.wait(10)
    wait_until(lambda: not group_members(group))
