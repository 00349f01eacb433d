"""Two ends with one video line between them, and what the receiving one measures."""

from __future__ import annotations

import itertools
import time

from attrs import evolve, frozen

from sipproto.agent.media import (
    AskKeyFrame,
    KeyFrameAsked,
    LineStats,
    MediaInput,
    SenderParametersSet,
    SetSenderParameters,
)
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.negotiation import MediaCapabilities
from tests.media._rig import End

_numbers = itertools.count(1_000_000)


@frozen(kw_only=True)
class Measured:
    """kbit/s with RTP headers, the size decoded last, pictures decoded a second."""

    kbps: float
    size: tuple[int | None, int | None]
    fps: float


def only(capabilities: MediaCapabilities, kind: str, name: str, parameters: str = "") -> MediaCapabilities:
    """Capabilities with one codec of a kind (and its rtx): the first of that name whose parameters contain a text."""
    codecs = capabilities.codecs(kind)
    chosen = next(c for c in codecs if c.name == name and parameters in c.parameters)
    left = tuple(c for c in codecs if c is chosen or (c.is_rtx and c.apt == chosen.payload_type))
    return evolve(capabilities, audio=left) if kind == "audio" else evolve(capabilities, video=left)


def ask_parameters(end: End, parameters: SenderParameters, line: int = 0) -> MediaInput:
    request = SetSenderParameters(request=next(_numbers), call=end.call, line=line, parameters=parameters)
    end.engine.perform(request, end.report)
    return end.reply()


def set_parameters(end: End, parameters: SenderParameters, line: int = 0) -> EffectiveParameters:
    reply = ask_parameters(end, parameters, line)
    assert isinstance(reply, SenderParametersSet), reply
    return reply.effective


def ask_key_frame(end: End, *, ours: bool, line: int = 0) -> MediaInput:
    end.engine.perform(AskKeyFrame(request=next(_numbers), call=end.call, line=line, ours=ours), end.report)
    return end.reply()


def key_frame(end: End, *, ours: bool, line: int = 0) -> None:
    reply = ask_key_frame(end, ours=ours, line=line)
    assert isinstance(reply, KeyFrameAsked), reply


def measure(receiver: End, seconds: float) -> Measured:
    """What arrives at the receiving end within a time."""

    def look() -> tuple[float, LineStats]:
        return time.monotonic(), receiver.line("video")

    start, before = look()
    time.sleep(seconds)
    end, after = look()
    return Measured(
        kbps=(after.bytes_received - before.bytes_received) * 8 / 1000 / (end - start),
        size=(after.frame_width, after.frame_height),
        fps=((after.frames_decoded or 0) - (before.frames_decoded or 0)) / (end - start),
    )
