"""What a connector does, for a log: structured, and without secrets."""

from __future__ import annotations

import enum
import logging

_log = logging.getLogger("sipproto.connector")

# The fields that may be told: what people say, digits, passwords and tokens are not among them.
_TOLD = (
    "command",
    "call",
    "state",
    "status",
    "step",
    "cause",
    "detail",
    "originator",
    "epoch",
    "method",
    "line",
    "kind",
    "error",
    "done",
    "retry_in",
)


def log_step(way: str, what: object) -> None:
    """One line for each input and output of the engine, at the level DEBUG; the record has them as `sipproto_event`."""
    if not _log.isEnabledFor(logging.DEBUG):
        return
    event = {"way": way, "type": type(what).__name__, **_fields(what)}
    text = " ".join(f"{name}={value}" for name, value in event.items() if name not in ("way", "type"))
    _log.debug("%s %s %s", way, event["type"], text, extra={"sipproto_event": event})


def _fields(what: object) -> dict[str, object]:
    found = ((name, getattr(what, name, None)) for name in _TOLD)
    return {
        name: value.value if isinstance(value, enum.Enum) else value
        for name, value in found
        if isinstance(value, str | int | float | enum.Enum) and value != ""
    }
