"""Build .venv from requirements.txt. Run by bin/python with the system's Python: standard library only."""

import fcntl
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path


def build(root: Path) -> None:
    """Leave .venv alone when it fits already; one build at a time."""
    folder = root / ".venv"
    wanted = root / "requirements.txt"
    installed = folder / "installed.txt"
    (root / "var").mkdir(exist_ok=True)
    with (root / "var" / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.read_bytes() == wanted.read_bytes():
            return
        started = time.monotonic()
        print("building .venv from requirements.txt, about a minute ...", flush=True)
        python = folder / "bin" / "python"
        if not python.exists():
            venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*pip, "--requirement", str(wanted)], check=True)
        shutil.copyfile(wanted, installed)
        print(f".venv is ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"the environment could not be built: {error}")
