"""Settings for tools that read the code without running it (mypy's Django plugin): test defaults only."""

from __future__ import annotations

import os

os.environ.setdefault("HES_ENV", "test")

from hes.settings import *  # noqa: F403
