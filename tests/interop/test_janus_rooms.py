"""Rooms of Janus: we publish, and we take what it offers of what others publish, with lines that come, go and are used again."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sipproto.agent.stats import OutboundRtpStats
from sipproto.sdp import Direction
from sipproto_aiortc import MediaSetup, TestPattern, Tone
from sipproto_client import Call

from .gateway import Gateway
from .janus import Handle, Janus, JanusSession, Message
from .janus_calls import JanusCall, caller, taken_by
from .media_calls import AUDIO, GREEN, RED, VIDEO, BLUE, YELLOW, Color, until

pytestmark = pytest.mark.interop
RECEIVE = (("audio", Direction.RECVONLY), ("video", Direction.RECVONLY))
_numbers = itertools.count(1000)


@pytest.fixture(scope="module")
def janus() -> Iterator[Janus]:
    with Janus() as server:
        yield server


class Room:
    """A room of its own, with those in it. To be used as a context manager."""

    def __init__(self, janus: Janus, **settings: object) -> None:
        self.number = next(_numbers)
        self._janus = janus
        self._settings = {"audiocodec": "opus,pcmu", "videocodec": "vp8,h264", "publishers": 9, "bitrate": 0, **settings}
        self._stack = ExitStack()

    def __enter__(self) -> Room:
        self.session = self._stack.enter_context(JanusSession(self._janus))
        self._admin = self.session.attach("videoroom")
        self._admin.ask({"request": "create", "room": self.number, **self._settings})
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def publisher(self, *colors: Color, hertz: float = 500.0, audio: bool = True) -> Publisher:
        handle = self.session.attach("videoroom")
        data, _ = handle.ask({"request": "join", "ptype": "publisher", "room": self.number})
        gateway = self._stack.enter_context(Gateway(taken_by(handle, lambda: {"request": "publish"})))
        alice = self._stack.enter_context(caller(gateway))
        patterns = [TestPattern(color=color) for color in colors]
        setup = MediaSetup(audio=Tone(hertz), video=patterns[0] if patterns else None, further_video=tuple(patterns[1:]))
        lines = ((AUDIO,) if audio else ()) + tuple((kind, Direction.SENDONLY) for kind, _ in (VIDEO,) * len(colors))
        call = alice.call("room", media=lines, setup=setup).result(15)
        handle.expect(lambda event: event["janus"] == "webrtcup")  # before, nobody can subscribe
        return Publisher(alice, call, gateway, handle, data["id"])

    def subscriber(self, *streams: Message) -> Subscriber:
        handle = self.session.attach("videoroom")
        _, offer = handle.ask({"request": "join", "ptype": "subscriber", "room": self.number, "streams": list(streams)})
        gateway = self._stack.enter_context(Gateway(lambda offer: ""))
        alice = self._stack.enter_context(caller(gateway))
        subscriber = Subscriber(alice, None, gateway, handle)
        subscriber.begin(offer)
        return subscriber


class Publisher(JanusCall):
    def __init__(self, alice, call: Call, gateway: Gateway, handle: Handle, feed: int) -> None:
        super().__init__(alice, call, gateway, handle)
        self.feed = feed


class Subscriber(JanusCall):
    def begin(self, offer: str) -> None:
        print("OFFER", offer)
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as pool:
            offering = pool.submit(self.gateway.offer, offer)
            self.call = self.alice.answer(media=[(kind, Direction.RECVONLY) for kind in re.findall(r"m=(\w+) ", offer)])
            answer = offering.result(15)
        print("ANSWER", answer)
        self.handle.ask({"request": "start"}, ("answer", answer))

    def change(self, body: Message) -> Message:
        data, offer = self.handle.ask(body)
        if offer:
            print("OFFER", offer)
            answer = self.gateway.offer(offer)
            print("ANSWER", answer)
            self.handle.ask({"request": "start"}, ("answer", answer))
        return data


def test_several_video_lines(janus: Janus) -> None:
    with Room(janus) as room:
        bob = room.publisher(RED, GREEN, BLUE)
        carol = room.publisher(YELLOW, hertz=800)
        alice = room.subscriber({"feed": bob.feed})
        print(alice.m_lines())
        alice.hears(500)
        for number, color in enumerate((RED, GREEN, BLUE)):
            alice.sees(color, alice.call.line("video", number))
        print(alice.change({"request": "subscribe", "streams": [{"feed": carol.feed, "mid": "1"}]}))
        print(alice.m_lines())
        alice.sees(YELLOW, alice.call.line("video", 3))
        print(alice.change({"request": "unsubscribe", "streams": [{"feed": bob.feed, "mid": "2"}]}))
        print(alice.m_lines())
        alice.sees(YELLOW, alice.call.line("video", 3))
        alice.sees(RED, alice.call.line("video", 0))
        print(alice.change({"request": "subscribe", "streams": [{"feed": bob.feed, "mid": "2"}]}))
        print(alice.m_lines())
        alice.sees(GREEN, "2")
        alice.hears(500)
        # restart by Janus
        before = alice.descriptions()[0]
        print(alice.change({"request": "configure", "restart": True}))
        assert alice.descriptions()[0] != before
        alice.hears(500)
        alice.sees(GREEN, "2")
        #  switch
        print(alice.change({"request": "switch", "streams": [{"feed": carol.feed, "mid": "1", "sub_mid": "2"}]}))
        alice.sees(YELLOW, "2")
        carol.alice.do(carol.call.hang_up)
        room_event = alice.handle.expect(lambda e: True)
        print(room_event)
