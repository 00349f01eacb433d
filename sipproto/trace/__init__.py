"""Transcripts: what an agent was given and what it answered, written down, done again, compared and shown."""

from sipproto.trace._diff import diff
from sipproto.trace._errors import (
    TranscriptDamaged,
    TranscriptError,
    TranscriptTooLarge,
    TranscriptTruncated,
    TranscriptVersionError,
)
from sipproto.trace._ladder import ladder
from sipproto.trace._model import FORMAT, Draw, Header, Raised, Step, Transcript
from sipproto.trace._pcap import pcap
from sipproto.trace._read import TranscriptLimits, read_transcript
from sipproto.trace._record import Recorder
from sipproto.trace._redact import Redactor
from sipproto.trace._replay import Difference, ReplayResult, describe, replay

__all__ = [
    "FORMAT",
    "Difference",
    "Draw",
    "Header",
    "Raised",
    "Recorder",
    "Redactor",
    "ReplayResult",
    "Step",
    "Transcript",
    "TranscriptDamaged",
    "TranscriptError",
    "TranscriptLimits",
    "TranscriptTooLarge",
    "TranscriptTruncated",
    "TranscriptVersionError",
    "describe",
    "diff",
    "ladder",
    "pcap",
    "read_transcript",
    "replay",
]
