"""Messages that wait: the bodies of message-summary (RFC 3842)."""

from __future__ import annotations

import re

from sipproto_phone.model import Mailbox

EVENT = "message-summary"
CONTENT_TYPE = "application/simple-message-summary"
_WAITING = re.compile(r"^messages-waiting\s*:\s*(yes|no)\s*$", re.IGNORECASE | re.MULTILINE)
_VOICE = re.compile(r"^voice-message\s*:\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})", re.IGNORECASE | re.MULTILINE)


def mailbox_of(content_type: str, body: bytes) -> Mailbox | None:
    """None for a body of another kind. A server that only says whether messages wait is taken for one of them."""
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        return None
    text = body.decode("utf-8", "replace")
    counts, waiting = _VOICE.search(text), _WAITING.search(text)
    if counts is not None:
        return Mailbox(new=int(counts[1]), old=int(counts[2]))
    if waiting is None:
        return None
    return Mailbox(new=1 if waiting[1].lower() == "yes" else 0)
