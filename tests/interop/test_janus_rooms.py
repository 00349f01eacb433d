"""Rooms of Janus: we publish, and take what it offers of what others publish, on lines that come, go and are used again."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import pytest

from sipproto.agent.stats import OutboundRtpStats
from sipproto.negotiation import TRANSPORT_CC
from sipproto.sdp import Direction
from sipproto_aiortc import MediaSetup, TestPattern, Tone

from .child import PATIENCE
from .gateway import Gateway, Refused
from .janus import Janus, JanusSession, Message
from .janus_calls import JanusCall, caller, nothing_left, taken_by, ufrag
from .media_calls import AUDIO, BLUE, GREEN, RED, YELLOW, Color, until

pytestmark = pytest.mark.interop
_numbers = itertools.count(1000)


@pytest.fixture(scope="module")
def janus() -> Iterator[Janus]:
    with Janus() as server:
        yield server


class Subscriber(JanusCall):
    """One of ours that Janus, through the gateway, has called. It takes all lines."""

    def change(self, body: Message) -> Message:
        """Asks the room for something; when that changes the lines Janus offers them anew."""
        data, offer = self.handle.ask(body)
        if offer:
            self.handle.ask({"request": "start"}, ("answer", self.gateway.offer(offer)))
        return data

    def more(self, *streams: Message) -> None:
        self.change({"request": "subscribe", "streams": list(streams)})

    def less(self, *streams: Message) -> None:
        self.change({"request": "unsubscribe", "streams": list(streams)})

    def directions(self) -> str:
        """Ours, by their first letters: "rri" for two lines that receive and one that is inactive."""
        return "".join(re.findall(r"a=([sri])(?:endrecv|endonly|ecvonly|nactive)\r", self.descriptions()[0]))


class Room:
    """A room of its own, with those in it. To be used as a context manager; nothing of them may be left afterwards."""

    def __init__(self, janus: Janus, **settings: object) -> None:
        self.number = next(_numbers)
        self._janus = janus
        self._settings = {"publishers": 9, "bitrate": 0, "videocodec": "vp8", **settings}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(nothing_left())
            self.session = stack.enter_context(JanusSession(self._janus))
            self.session.attach("videoroom").ask({"request": "create", "room": self.number, **self._settings})
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def publisher(self, *colors: Color, hertz: float = 500.0) -> tuple[JanusCall, int]:
        """A call that sends a tone and these pictures, and the number by which others subscribe to it."""
        handle = self.session.attach("videoroom")
        data, _ = handle.ask({"request": "join", "ptype": "publisher", "room": self.number})
        requests = itertools.chain(["publish"], itertools.repeat("configure"))
        gateway = self._stack.enter_context(Gateway(taken_by(handle, lambda: {"request": next(requests)})))
        alice = self._stack.enter_context(caller(gateway))
        first, *further = [TestPattern(color=color) for color in colors]
        setup = MediaSetup(audio=Tone(hertz), video=first, further_video=tuple(further))
        call = alice.call("room", media=(AUDIO, *(("video", Direction.SENDONLY) for _ in colors)), setup=setup).result(
            15
        )
        handle.expect(lambda event: event["janus"] == "webrtcup")  # nobody can subscribe before
        return JanusCall(alice, call, gateway, handle), data["id"]

    def subscriber(self, *streams: Message) -> Subscriber:
        handle = self.session.attach("videoroom")
        join = {"request": "join", "ptype": "subscriber", "room": self.number, "streams": list(streams)}
        _, offer = handle.ask(join)
        gateway = self._stack.enter_context(Gateway(_refuse))
        alice = self._stack.enter_context(caller(gateway))
        lines = [(kind, Direction.RECVONLY) for kind in re.findall("m=([a-z]+) ", offer)]
        with ThreadPoolExecutor(1) as pool:
            offering = pool.submit(gateway.offer, offer)
            call = alice.answer(media=lines)
            handle.ask({"request": "start"}, ("answer", offering.result(PATIENCE)))
        return Subscriber(alice, call, gateway, handle)


def _refuse(offer: str) -> str:
    """Janus takes no offers of subscribers."""
    raise Refused(488)


def test_lines_come_and_go(janus: Janus) -> None:
    """Four pictures of two publishers in one call; one goes, which leaves its line inactive, and another takes its place."""
    with Room(janus) as room:
        _, bob = room.publisher(RED, GREEN, BLUE)
        _, carol = room.publisher(YELLOW, hertz=800)
        alice = room.subscriber({"feed": bob})
        alice.hears(500)
        for mid, color in (("1", RED), ("2", GREEN), ("3", BLUE)):
            alice.sees(color, mid)
        alice.more({"feed": carol, "mid": "1"})
        assert alice.directions() == "rrrrr"
        alice.sees(YELLOW, "4")
        alice.less({"feed": bob, "mid": "2"})
        assert alice.directions() == "rrirr"
        for mid, color in (("1", RED), ("3", BLUE), ("4", YELLOW)):
            alice.sees(color, mid)
        alice.more({"feed": bob, "mid": "2"})
        assert alice.directions() == "rrrrr" and len(alice.call.lines) == 5
        alice.sees(GREEN, "2")
        alice.hears(500)
        # Another publisher on the same line: Janus does not say so in an offer.
        alice.change({"request": "switch", "streams": [{"feed": carol, "mid": "1", "sub_mid": "3"}]})
        alice.sees(YELLOW, "3")
        assert all("transport-cc" in text and TRANSPORT_CC in text for text in alice.descriptions())


def test_a_publisher_leaves(janus: Janus) -> None:
    with Room(janus) as room:
        bob, feed = room.publisher(RED)
        _, carol = room.publisher(YELLOW, hertz=800)
        alice = room.subscriber({"feed": feed}, {"feed": carol})
        alice.sees(RED, "1")
        alice.sees(YELLOW, "3")
        bob.alice.do(bob.call.hang_up)
        told = alice.handle.expect(lambda event: "jsep" in event)  # by Janus itself
        alice.handle.ask({"request": "start"}, ("answer", alice.gateway.offer(told["jsep"]["sdp"])))
        assert alice.directions() == "iirr"
        alice.sees(YELLOW, "3")


def test_janus_restarts_ice(janus: Janus) -> None:
    with Room(janus) as room:
        _, bob = room.publisher(RED)
        alice = room.subscriber({"feed": bob})
        alice.hears()
        for _ in range(2):
            before = alice.descriptions()
            alice.change({"request": "configure", "restart": True})
            assert {ufrag(text) for text in before}.isdisjoint(ufrag(text) for text in alice.descriptions())
            until(alice.in_use, lambda used: used == ufrag(alice.descriptions()[0]), "the new path")
            alice.hears()
            alice.sees()


def test_what_is_published_changes(janus: Janus) -> None:
    """A publisher adds a picture and takes it away again, holds and resumes; the one who watches is asked nothing."""
    with Room(janus) as room:
        bob, feed = room.publisher(RED)
        alice = room.subscriber({"feed": feed})
        alice.sees(RED, "1")
        (mid,) = bob.alice.do(bob.call.change_media, add=(("video", Direction.SENDONLY),))
        bob.alice.do(bob.call.change_media, remove=(mid,))
        alice.hears()
        bob.alice.do(bob.call.hold)
        bob.alice.do(bob.call.resume)
        alice.hears()
        alice.sees(RED, "1")


def test_who_comes_gets_a_key_frame(janus: Janus) -> None:
    with Room(janus) as room:
        bob, feed = room.publisher(RED)
        room.subscriber({"feed": feed}).sees(RED)
        before = bob.stats(OutboundRtpStats, "1")
        room.subscriber({"feed": feed}).sees(RED)
        after = bob.stats(OutboundRtpStats, "1")
        assert (after.pli_count or 0) > (before.pli_count or 0)
        assert (after.key_frames_encoded or 0) > (before.key_frames_encoded or 0)


@pytest.mark.parametrize("codec", ["vp9", "h264"])
def test_codecs(janus: Janus, codec: str) -> None:
    with Room(janus, videocodec=codec, audiocodec="pcmu") as room:
        _, bob = room.publisher(RED)
        alice = room.subscriber({"feed": bob})
        alice.hears()
        alice.sees()
        assert [(line.codec or "").lower() for line in alice.alice.do(alice.call.stats).lines] == ["pcmu", codec]


def test_who_watches_cannot_change_anything(janus: Janus) -> None:
    """The gateway refuses its offers, because Janus has no use for them; everything goes on."""
    with Room(janus) as room:
        _, bob = room.publisher(RED)
        alice = room.subscriber({"feed": bob})
        alice.sees()
        assert alice.alice.do(alice.call.restart_ice) is False
        alice.hears()
        alice.sees()
