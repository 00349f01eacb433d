"""What can be wrong with a transcript."""

from __future__ import annotations

from sipproto.errors import SipProtoError


class TranscriptError(SipProtoError):
    """A transcript that cannot be used. `line` is where, counted from 1; 0 when it is about the whole file."""

    def __init__(self, detail: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {detail}" if line else detail)
        self.detail = detail
        self.line = line


class TranscriptVersionError(TranscriptError):
    """No transcript at all, or one of a format that this version does not read."""


class TranscriptDamaged(TranscriptError):
    """A line that is not what a recorder writes, an unknown record, field or value."""


class TranscriptTruncated(TranscriptError):
    """The file ends before its `end` record. What is there can be read with `partial=True`."""


class TranscriptTooLarge(TranscriptError):
    """A limit of `TranscriptLimits` is passed."""
