"""structlog for every process that runs Django: JSON lines, or coloured ones on a terminal.

Standard-library loggers (Django, Celery, uvicorn) go the same way, so a log file has one form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import Processor

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
#: loggers that would set up handlers of their own or say too much at INFO
_QUIETER = {
    **dict.fromkeys(("asyncio", "httpx", "celery.utils.functional"), "WARNING"),
    # a line for each tick; the runner and the commands write lines of their own
    **dict.fromkeys(("celery.beat", "celery.app.trace", "celery.worker.strategy"), "WARNING"),
}


def _renderers() -> list[Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)]


def configure(level: str = "INFO") -> None:
    """Set up structlog and the root logger; may be called again."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):  # has set up its own handlers by now
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    for name, quiet_level in _QUIETER.items():
        logging.getLogger(name).setLevel(quiet_level)


def configure_django(settings: Mapping[str, Any]) -> None:
    """Django's LOGGING_CONFIG hook: gets settings.LOGGING."""
    configure(str(settings["level"]))
