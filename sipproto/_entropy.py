"""The one place of the core that may touch the system: its default token source."""

from __future__ import annotations

import secrets


class SystemTokens:
    """Tokens from the operating system's random source."""

    def bits(self, count: int) -> int:
        return secrets.randbits(count)
