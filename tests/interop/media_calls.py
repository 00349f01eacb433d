"""Calls between one of ours and a page whose media are recognised and counted line by line, on both sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sipproto.agent import outputs as o
from sipproto.agent.media import LineStats
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction
from sipproto_aiortc import MediaSetup, TestPattern, Tone
from sipproto_client import Call

from .child import PATIENCE
from .kamailio import Kamailio
from .ours import Ours, arrivals
from .peers import COLORS, HERTZ, BrowserPeer, Party

Color = tuple[int, int, int]
T = TypeVar("T")

AUDIO = ("audio", Direction.SENDRECV)
VIDEO = ("video", Direction.SENDRECV)
RED, BLUE = COLORS["alice"], COLORS["bob"]
GREEN: Color = (30, 160, 30)  # of the page's further lines
YELLOW: Color = (200, 180, 30)  # of ours
_ENOUGH = 3  # packets or pictures that have to come anew
_FEW = 2  # packets that may have been under way when a line fell silent
_QUIET = 0.4  # seconds
_FURTHER = (TestPattern(color=YELLOW),) * 3


def css(color: Color) -> str:
    return f"rgb{color}"


def is_color(seen: Iterable[int] | None, wanted: Color) -> bool:
    return seen is not None and all(abs(a - b) < 60 for a, b in zip(seen, wanted, strict=True))


def until(read: Callable[[], T], good: Callable[[T], object], what: str, timeout: float = PATIENCE) -> T:
    """Reads until it is good, and gives that."""
    deadline = time.monotonic() + timeout
    while not good(value := read()):
        assert time.monotonic() < deadline, f"{what}: {value}"
        time.sleep(0.05)
    return value


class MediaCall:
    """One call as both sides measure it; lines are named by mid."""

    def __init__(self, alice: Ours, call: Call, bob: Party) -> None:
        self.alice = alice
        self.call = call
        self.bob = bob

    # -- what is measured --------------------------------------------------------------------------------------------

    def ours(self, mid: str) -> LineStats:
        return next(line for line in self.alice.do(self.call.stats).lines if line.mid == mid)

    def page_lines(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self.bob("lines")["lines"]
        return lines

    def theirs(self, mid: str) -> dict[str, Any]:
        return next(line for line in self.page_lines() if line["mid"] == mid)

    def line(self, kind: str, number: int = 0) -> str:
        return self.call.line(kind, number)

    # -- what has to flow from now on --------------------------------------------------------------------------------

    def we_hear(self, hertz: float = HERTZ["bob"]) -> None:
        mid = self.line("audio")
        before = self.ours(mid).packets_received

        def good(line: LineStats) -> bool:
            near = line.audio_frequency is not None and abs(line.audio_frequency - hertz) <= 0.05 * hertz
            return near and line.packets_received >= before + _ENOUGH

        until(lambda: self.ours(mid), good, f"we do not hear {hertz} Hz")

    def they_hear(self, hertz: float = HERTZ["alice"]) -> None:
        mid = self.line("audio")
        before = self.theirs(mid)["packets_received"]

        def good(line: dict[str, Any]) -> bool:
            near = abs(line["frequency"] - hertz) <= 0.05 * hertz
            return near and bool(line["packets_received"] >= before + _ENOUGH)

        until(lambda: self.theirs(mid), good, f"the page does not hear {hertz} Hz")

    def we_see(self, color: Color = BLUE, number: int = 0) -> None:
        mid = self.line("video", number)
        before = self.ours(mid).frames_decoded or 0
        until(
            lambda: self.ours(mid),
            lambda line: is_color(line.color, color) and (line.frames_decoded or 0) >= before + _ENOUGH,
            f"we do not see {color}",
        )

    def they_see(self, color: Color = RED, number: int = 0) -> None:
        mid = self.line("video", number)
        before = self.theirs(mid)["frames_decoded"]
        until(
            lambda: self.theirs(mid),
            lambda line: is_color(line["color"], color) and line["frames_decoded"] >= before + _ENOUGH,
            f"the page does not see {color}",
        )

    def both_use(self, kind: str, name: str) -> None:
        """Both send with this codec."""
        mid = self.line(kind)
        mime = f"{kind}/{name}".lower()

        def used() -> set[str]:
            theirs = self.theirs(mid)
            return {str(theirs[f"codec_{way}"]).lower() for way in ("sent", "received")}

        until(used, lambda codecs: codecs == {mime}, f"the page does not use {mime} alone")
        assert (self.ours(mid).codec or "").lower() == name.lower()

    def talk(self) -> None:
        self.we_hear()
        self.they_hear()

    def watch(self) -> None:
        self.we_see()
        self.they_see()

    def nothing_reaches(self, *, us: Iterable[str] = (), them: Iterable[str] = ()) -> None:
        """Media of these kinds fall silent."""

        def received() -> list[int]:
            theirs = {line["mid"]: line["packets_received"] for line in self.page_lines()}
            return [self.ours(self.line(kind)).packets_received for kind in us] + [
                theirs[self.line(kind)] for kind in them
            ]

        deadline = time.monotonic() + PATIENCE
        before = received()
        while True:
            time.sleep(_QUIET)
            after = received()
            if all(now - then <= _FEW for then, now in zip(before, after, strict=True)):
                return
            assert time.monotonic() < deadline, f"something of {us} or {them} goes on: {before}, {after}"
            before = after

    def flows(self, **directions: Direction) -> None:
        """Media of each kind flow in this direction of ours, and in no other."""
        sending: dict[str, Callable[[], None]] = {"audio": self.they_hear, "video": self.they_see}
        receiving: dict[str, Callable[[], None]] = {"audio": self.we_hear, "video": self.we_see}
        for kind, direction in directions.items():
            if direction.sends:
                sending[kind]()
            if direction.receives:
                receiving[kind]()
        self.nothing_reaches(
            us=[kind for kind, direction in directions.items() if not direction.receives],
            them=[kind for kind, direction in directions.items() if not direction.sends],
        )

    # -- what is said ------------------------------------------------------------------------------------------------

    def descriptions(self) -> tuple[str, str]:
        ours, theirs = self.alice.description(self.call)
        return ours.decode(), theirs.decode()

    def held_by(self, *who: o.Originator) -> bool:
        return self.call.held_by == set(who)


class Pair:
    """Alice, who is ours, and bob, who is a page; every call of theirs is ended at the end of a test."""

    def __init__(self, alice: Ours, bob: Party) -> None:
        self.alice = alice
        self.bob = bob

    def call(
        self,
        *,
        caller: str = "alice",
        media: Any = (AUDIO,),
        setup: MediaSetup | None = None,
        codecs: CodecPreferences = CodecPreferences(),  # noqa: B008 - a frozen value
        **page: Any,
    ) -> MediaCall:
        """A new call. media: of ours; `page` goes into the page's command."""
        setup = setup or MediaSetup(audio=Tone(HERTZ["alice"]), video=TestPattern(color=RED), further_video=_FURTHER)
        if caller == "alice":
            calling = self.alice.call("bob", media=media, setup=setup, codecs=codecs)
            number = self.bob.expect("call", state="incoming")["call"]
            reply = self.bob.send("answer", call=number, **page)
            call = calling.result(PATIENCE)
        else:
            page.setdefault("video", any(kind == "video" for kind, _ in media))
            reply = self.bob.send("call", target="sip:alice@rig.test", **page)
            call = self.alice.answer(media=media, setup=setup, codecs=codecs)
        number = self.bob.peer.wait_reply(reply)["call"]
        return MediaCall(self.alice, call, Party(self.bob.peer, "bob", **self.bob.fixed, call=number))

    def end_calls(self) -> None:
        """Ends what is left, and looks whether everything is released."""
        alice = self.alice
        for ident in list(alice.endpoint.agent.calls):
            call = alice.endpoint.call_of(ident)
            if call is not None:
                alice.do(call.hang_up)
        until(
            lambda: alice.endpoint.agent.retained,
            lambda retained: retained["calls"] == retained["dialogs"] == retained["media_requests"] == 0,
            "left over",
        )
        until(lambda: len(alice.media._closing), lambda left: left == 0, "media that are not closed")
        ended = "rig.agent ? Object.values(rig.agent._sessions).length : 0"
        until(lambda: self.bob("evaluate", expression=ended)["result"], lambda left: left == 0, "calls of the page")
        alice.forget()
        self.bob.peer.forget_events()


@contextmanager
def pair_of(
    kamailio: Kamailio, browser: BrowserPeer, page: str, *, via: int | None = None, **config: Any
) -> Iterator[Pair]:
    """Both registered, we perhaps through a relay on the port `via`, the page over TLS."""
    bob = Party(browser, "bob", page=page)
    try:
        bob.open(kamailio, kamailio.wss_url)
        with Ours("anyio-asyncio", "alice", **config) as alice:
            alice.connect(kamailio.ws_url if via is None else f"ws://127.0.0.1:{via}")
            yield Pair(alice, bob)
    finally:
        bob("close")
        browser.forget_events()


@contextmanager
def gaps(call: MediaCall, note: Callable[[str, object], None], name: str, *, least: float = 1.5) -> Iterator[None]:
    """Notes the longest gap in the audio on either side meanwhile; it has to be shorter than `least` seconds."""
    mid = call.line("audio")
    before = call.theirs(mid)["concealed"]
    with arrivals() as measured:
        yield
    concealed = call.theirs(mid)["concealed"] - before
    note(f"{name}: gap of ours", round(measured["longest"], 3))
    note(f"{name}: made up by the page", round(concealed, 3))
    print(f"{name}: {measured['longest']:.3f} s, the page made up {concealed:.3f} s")
    assert measured["longest"] < least
    assert concealed < least
