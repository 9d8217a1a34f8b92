"""`python -m gateway`: one node, until SIGTERM or SIGINT. A setting that is wrong ends it with status 2."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import replace

import structlog
import uvloop

from gateway import log
from gateway.config import EXIT_SETTING, Config, SettingError, read_config
from gateway.node import Node

#: Descriptors beside those of the links.
OWN_DESCRIPTORS = 64


def _allow_descriptors(config: Config) -> Config:
    """A socket needs a descriptor: raise the process's own limit as far as it may, and keep within it."""
    needed = config.max_links + OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed >= needed:
        return config
    links = max(1, allowed - OWN_DESCRIPTORS)
    structlog.get_logger().warning("descriptors_short", max_links=config.max_links, possible=links)
    return replace(config, max_links=links)


async def _run(config: Config) -> None:
    await Node(config).run()


def main() -> int:
    try:
        config = read_config(os.environ)
        log.configure(config.log_level)
        uvloop.run(_run(_allow_descriptors(config)))
    except SettingError as error:
        print(f"setting {error}", file=sys.stderr)
        return EXIT_SETTING
    return 0


if __name__ == "__main__":
    sys.exit(main())
