"""Functions of the application that an endpoint calls: an error of theirs must neither lose a call nor hold up the end."""

from __future__ import annotations

import logging
from collections.abc import Callable

_log = logging.getLogger("sipproto.client")

Tap = Callable[[str, object], None]


def call_logged(function: Callable[..., object], *arguments: object) -> bool:
    """Calls it, logs what it raises, and returns whether it raised nothing."""
    try:
        function(*arguments)
    except Exception:
        _log.exception("a handler raised")
        return False
    return True


class Tapped:
    """The tap of an endpoint, if any. One that raises is logged and told no more: it would raise at every step."""

    def __init__(self, tap: Tap | None) -> None:
        self._tap = tap

    def tell(self, way: str, what: object) -> None:
        if self._tap is not None and not call_logged(self._tap, way, what):
            self._tap = None
