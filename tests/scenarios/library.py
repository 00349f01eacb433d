"""All scenarios."""

from tests.scenarios import basic, beginnings, connections, lines, session  # each fills the library
from tests.scenarios.world import SCENARIOS

__all__ = ["SCENARIOS", "basic", "beginnings", "connections", "lines", "session"]
