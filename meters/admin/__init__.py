"""The operator's site for this app, one module a subject."""

from meters.admin import audit, commands, links, meters, plans, tokens, types

__all__ = ["audit", "commands", "links", "meters", "plans", "tokens", "types"]
