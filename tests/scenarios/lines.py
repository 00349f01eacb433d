"""Media lines that come and go in a call, and codecs that change."""

from __future__ import annotations

from sipproto.agent import inputs as i
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction
from tests.scenarios.world import World, scenario

PRESENTATION = (("video", Direction.SENDONLY),)
PCMU = CodecPreferences(prefer=("audio/PCMU",))


@scenario("RFC 3264 8.1, 8.2: a line is added, used, and removed again by the caller")
def line_comes_and_goes(w: World) -> None:
    w.up()
    w.do("a", i.ChangeMedia, add=PRESENTATION)
    w.run(1)
    w.told_lines("a", "audio sendrecv, video sendonly")
    w.told_lines("b", "audio sendrecv, video recvonly")
    w.agreed("a", "b")
    w.do("a", i.ChangeMedia, remove=("1",))
    w.run(1)
    w.told_lines("a", "audio sendrecv")
    w.told_lines("b", "audio sendrecv")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3311: a line is added by the called, with UPDATE")
def line_by_update(w: World) -> None:
    w.up()
    w.do("b", i.ChangeMedia, "in-1", add=PRESENTATION, use_update=True)
    w.run(1)
    w.told_lines("b", "audio sendrecv, video sendonly")
    w.told_lines("a", "audio sendrecv, video recvonly")
    w.sent("b", "UPDATE+")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 14.1: lines of both sides cross")
def lines_cross(w: World) -> None:
    w.up()
    w.do("a", i.ChangeMedia, add=PRESENTATION)
    w.do("b", i.ChangeMedia, "in-1", add=PRESENTATION)
    w.run(12)
    w.told_lines("a", "audio sendrecv, video recvonly", "audio sendrecv, video recvonly, video sendonly")
    w.told_lines("b", "audio sendrecv, video sendonly", "audio sendrecv, video sendonly, video recvonly")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("several changes at once are carried out one after the other")
def changes_queue(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.do("a", i.ChangeMedia, add=PRESENTATION, codecs=PCMU)
    w.do("a", i.Resume)
    w.run(3)
    w.agreed("a", "b")
    w.sent("a", "INVITE+", "ACK", "INVITE+", "ACK", "INVITE+", "ACK")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3264 8.3.2: another codec in a call")
def codec_change(w: World) -> None:
    w.up()
    w.do("a", i.ChangeMedia, codecs=PCMU)
    w.run(1)
    w.told_lines("a", "audio sendrecv")
    w.told_lines("b", "audio sendrecv")
    w.agreed("a", "b")
    w.do("b", i.Hold, "in-1")
    w.run(1)
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)
