"""Calls of our endpoint that a SIP gateway in the test leads to Janus: what arrives, line by line, and whether anything is left."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sipproto.agent.media import LineStats
from sipproto.agent.stats import CertificateStats, InboundRtpStats, OutboundRtpStats, TransportStats
from sipproto.negotiation import CodecPreferences
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_client import Call

from .child import PATIENCE
from .gateway import Gateway, Refused
from .janus import Handle, Janus, JanusError, JanusSession, Message
from .media_calls import AUDIO, RED, VIDEO, YELLOW, Color, is_color, until
from .ours import Ours

HERTZ = 500.0
BOTH = (AUDIO, VIDEO)
SETUP = MediaSetup(
    audio=Tone(HERTZ), video=TestPattern(color=RED, frame_rate=30), further_video=(TestPattern(color=YELLOW),) * 3
)
_ENOUGH = 3  # packets or pictures that have to come anew
_FEW = 2  # packets that may have been under way when a line fell silent
_QUIET = 0.4  # seconds
_Stats = TypeVar("_Stats", CertificateStats, InboundRtpStats, OutboundRtpStats, TransportStats)


class JanusCall:
    """A call of ours and the PeerConnection of Janus at its other end."""

    def __init__(self, alice: Ours, call: Call, gateway: Gateway, handle: Handle) -> None:
        self.alice = alice
        self.call = call
        self.gateway = gateway
        self.handle = handle

    # -- what is measured --------------------------------------------------------------------------------------------

    def line(self, mid: str) -> LineStats:
        return next(line for line in self.alice.do(self.call.stats).lines if line.mid == mid)

    def stats(self, kind: type[_Stats], mid: str | None = None) -> _Stats:
        """The newest of this type, of a line where there is one for each."""
        found = [one for one in self.alice.do(self.call.stats).stats if isinstance(one, kind)]
        return [one for one in found if mid is None or getattr(one, "mid", None) == mid][-1]

    def in_use(self) -> str | None:
        """Our ufrag of the path that is sent over."""
        return self.stats(TransportStats).ice_local_username_fragment

    def descriptions(self) -> tuple[str, str]:
        ours, theirs = self.alice.description(self.call)
        return ours.decode(), theirs.decode()

    def m_lines(self) -> tuple[list[str], list[str]]:
        """The kind of each line of both descriptions, ours first, with "0" behind those whose port is 0."""

        def kinds(text: str) -> list[str]:
            lines = [line.split() for line in text.splitlines() if line.startswith("m=")]
            return [f"{line[0][2:]} 0" if line[1] == "0" else line[0][2:] for line in lines]

        ours, theirs = self.descriptions()
        return kinds(ours), kinds(theirs)

    # -- what has to come from now on --------------------------------------------------------------------------------

    def hears(self, hertz: float = HERTZ, *, timeout: float = PATIENCE) -> None:
        mid = self.call.line("audio")
        before = self.line(mid).packets_received

        def good(line: LineStats) -> bool:
            near = line.audio_frequency is not None and abs(line.audio_frequency - hertz) <= 0.05 * hertz
            return near and line.packets_received >= before + _ENOUGH

        until(lambda: self.line(mid), good, f"we do not hear {hertz} Hz", timeout)

    def sees(self, color: Color = RED, mid: str | None = None, *, timeout: float = PATIENCE) -> None:
        mid = mid or self.call.line("video")
        before = self.line(mid).frames_decoded or 0
        until(
            lambda: self.line(mid),
            lambda line: is_color(line.color, color) and (line.frames_decoded or 0) >= before + _ENOUGH,
            f"we do not see {color} on {mid}",
            timeout,
        )

    def gets_nothing(self, *kinds: str) -> None:
        """Lines of these kinds fall silent."""
        mids = [self.call.line(kind) for kind in kinds]
        deadline = time.monotonic() + PATIENCE
        before = [self.line(mid).packets_received for mid in mids]
        while True:
            time.sleep(_QUIET)
            after = [self.line(mid).packets_received for mid in mids]
            if all(now - then <= _FEW for then, now in zip(before, after, strict=True)):
                return
            assert time.monotonic() < deadline, f"something of {kinds} goes on: {before}, {after}"
            before = after


def ufrag(description: str) -> str:
    """The first one."""
    found = re.search("a=ice-ufrag:(.*)", description)
    assert found
    return found[1].strip()


# -- how a call comes about ------------------------------------------------------------------------------------------------


def taken_by(handle: Handle, body: Callable[[], Message]) -> Callable[[str], str]:
    """For a Gateway: Janus answers the offers. What it cannot use is answered with 488."""

    def answer(offer: str) -> str:
        try:
            _, sdp = handle.ask(body(), ("offer", offer))
        except JanusError:
            raise Refused(488) from None
        return sdp

    return answer


@contextmanager
def caller(gateway: Gateway, engine: AiortcEngine | None = None) -> Iterator[Ours]:
    """One of ours, registered with the gateway; afterwards nothing may be left of its calls."""
    with Ours("anyio-asyncio", "alice", domain="127.0.0.1", media=engine) as alice:
        alice.connect(gateway.url)
        yield alice
        for ident in list(alice.endpoint.agent.calls):
            call = alice.endpoint.call_of(ident)
            if call is not None:
                alice.do(call.hang_up)
        until(
            lambda: alice.endpoint.agent.retained,
            lambda kept: kept["calls"] == kept["dialogs"] == kept["media_requests"] == 0,
            "left over",
        )
        until(lambda: len(alice.media._closing) + len(alice.media._calls), lambda left: left == 0, "media left open")
    assert gateway.errors == []


@contextmanager
def nothing_left() -> Iterator[None]:
    """Afterwards neither threads nor descriptors may be left."""

    def count() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = count()
    yield
    until(count, lambda now: all(a <= b for a, b in zip(now, before, strict=True)), f"left beside {before}")


@contextmanager
def echo(
    janus: Janus,
    media: Any = BOTH,
    *,
    setup: MediaSetup = SETUP,
    codecs: CodecPreferences = CodecPreferences(),  # noqa: B008 - a frozen value
    engine: AiortcEngine | None = None,
    change: Callable[[str], str] = lambda sdp: sdp,
    **body: object,
) -> Iterator[JanusCall]:
    """A call of ours to the EchoTest of Janus. `change` is applied to descriptions of both sides on their way."""
    with nothing_left(), JanusSession(janus) as session:
        handle = session.attach("echotest")
        answer = taken_by(handle, lambda: {"audio": True, "video": True, **body})
        with Gateway(lambda offer: change(answer(change(offer)))) as gateway, caller(gateway, engine) as alice:
            call = alice.call("echo", media=media, setup=setup, codecs=codecs).result(PATIENCE)
            yield JanusCall(alice, call, gateway, handle)
