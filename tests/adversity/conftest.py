"""The same real parts as tests/flow."""

from tests.flow.conftest import active_runner, carry, start_fleet

__all__ = ["active_runner", "carry", "start_fleet"]
