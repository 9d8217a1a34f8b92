"""Names of the Celery tasks. Apps send tasks by these names and never import `workers`.

The part before the dot is the queue (`hes.celery` routes by it).
"""

from __future__ import annotations

from typing import Final

READS_COLLECT: Final = "reads.collect"
READS_MAKE_DUE: Final = "reads.make_due"
READINGS_MAINTAIN: Final = "reads.maintain_partitions"
COMMANDS_RUN: Final = "commands.run"
COMMANDS_SWEEP: Final = "commands.sweep"
