"""Build .venv from requirements.txt, then become its Python. Run by bin/python with the system's Python,
so with the standard library only.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from importlib.util import find_spec
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)


def whole(folder: Path) -> bool:
    """Whether .venv was built to its end, in this place: its commands name their interpreter by its path."""
    if not (folder / "installed.txt").exists() or not (folder / "bin" / "python").exists():
        return False
    return str(folder / "bin" / "python") in (folder / "bin" / "pip").read_text()


def run_pip(folder: Path, *words: str) -> None:
    """pip ends with this process, however that ends."""
    subprocess.run(
        [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *words],
        check=True,
        stdout=sys.stderr,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
    )


def build(root: Path) -> None:
    """Leave .venv alone when it fits already; one build at a time."""
    folder = root / ".venv"
    wanted = root / "requirements.txt"
    installed = folder / "installed.txt"
    (root / "var").mkdir(exist_ok=True)
    with (root / "var" / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if whole(folder) and installed.read_bytes() == wanted.read_bytes():
            return
        if find_spec("ensurepip") is None:
            sys.exit("this Python cannot make an environment; on Debian and Ubuntu: apt install python3-venv")
        started = time.monotonic()
        print("building .venv from requirements.txt, about a minute ...", file=sys.stderr, flush=True)
        if not whole(folder):
            venv.create(folder, clear=True, with_pip=True)
        run_pip(folder, "install", "-qq", "--requirement", str(wanted))
        shutil.copyfile(wanted, installed)
        print(f".venv is ready after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main(root: Path, words: list[str]) -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        build(root)
    except KeyboardInterrupt:
        sys.exit(130)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"the environment could not be built: {error}")
    python = str(root / ".venv" / "bin" / "python")
    os.execv(python, [python, *words])  # noqa: S606


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
