"""Calls whose offer is left to the peer (RFC 3261 13.2.1): answered in the ACK, with media that may be named later."""

from __future__ import annotations

import pytest

from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.agent.outputs import Cause
from sipproto.message import Request
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction, parse_sdp
from tests.agent.peer import AUDIO, CONTACT, RAW, SDP, Peer, tag_of
from tests.sim.network import local_transport

ANSWER = i.Answer(command=0, call="out", media=AUDIO)
TARGET = "sip:bob@example.com"


def offered(peer: Peer, *kinds: str) -> o.CallOffered:
    """A call without an offer of ours, and the offer of the peer in its 2xx."""
    invite = peer.invite(media=(), late_offer=True)
    assert invite.body == b""
    peer.answer(invite, 200, CONTACT, SDP, body=peer.offer(*kinds))
    event = peer.one(o.CallOffered)
    assert not peer.sent()
    return event


def test_media_are_named_when_the_offer_is_there() -> None:
    peer = Peer()
    event = offered(peer, "audio", "video")
    assert (event.audio, event.video) == (True, True)
    command = peer.command(ANSWER)
    ack = peer.request("ACK")
    agreed = peer.negotiator.receive_answer(ack.body)
    assert [line.kind for line in agreed.lines] == ["audio"]
    assert [media.port for media in parse_sdp(ack.body).media][1] == 0
    peer.one(m.ApplyMedia)
    assert peer.one(o.CallEstablished).body == b""  # the descriptions are ours to know
    assert command in [done.command for done in peer.all(o.CommandSucceeded)]
    peer.command(i.Hold(command=0, call="out"))  # it is negotiated as any other
    assert b"a=sendonly" in peer.request("INVITE").body


def test_codecs_are_named_with_the_media() -> None:
    peer = Peer()
    offered(peer)
    codecs = CodecPreferences(exclude=("audio/opus",))
    peer.command(i.Answer(command=0, call="out", media=AUDIO, codecs=codecs))
    assert b"opus" not in peer.request("ACK").body


@pytest.mark.parametrize("media", [(), AUDIO])
def test_nothing_to_offer_is_said_at_once(media: i.Media) -> None:
    peer = Peer()
    peer.refused(i.Invite(command=0, call="out", target=TARGET))
    peer.refused(i.Invite(command=0, call="out", target=TARGET, media=media, body=RAW, late_offer=True))
    assert peer.agent.calls == () and not peer.sent()
    peer.call_out()


def test_a_call_is_not_answered_with_nothing() -> None:
    """13.3.1.4: the 2xx has an answer, or an offer."""
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.refused(i.Answer(command=0, call="in-1"))
    assert peer.statuses() == [100, 180]
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    assert peer.response(200).body


def test_an_offer_is_answered_once() -> None:
    peer = Peer(auto_media=False)
    offered(peer)
    peer.refused(i.Answer(command=0, call="out"))
    peer.refused(i.Answer(command=0, call="out", media=(("smell", Direction.SENDRECV),)))
    peer.command(ANSWER)
    opening = peer.one(m.OpenMedia)
    peer.refused(ANSWER)
    peer.refused(i.Answer(command=0, call="out", body=RAW))
    peer.give(m.MediaOpened(request=opening.request, transports=((0, local_transport(0)),)))
    assert peer.request("ACK").body
    peer.one(o.CallEstablished)


def test_media_that_were_named_before_are_not_named_again() -> None:
    peer = Peer(auto_media=False)
    invite = peer.invite(late_offer=True)
    peer.answer(invite, 200, CONTACT, SDP, body=peer.offer())
    assert not peer.all(o.CallOffered)
    peer.refused(ANSWER)


def methods(peer: Peer) -> list[str]:
    return [sent.method for sent in peer.sent() if isinstance(sent, Request)]


def test_an_offer_that_cannot_be_answered_ends_the_call() -> None:
    peer = Peer()
    invite = peer.invite(media=(), late_offer=True)
    peer.answer(invite, 200, CONTACT, SDP, body=RAW)
    assert peer.one(o.CallOffered).audio
    command = peer.command(ANSWER)
    assert methods(peer) == ["ACK", "BYE"]
    assert peer.one(o.CallEnded).cause is Cause.INCOMPATIBLE_MEDIA
    failed = {failure.command: failure.cause for failure in peer.all(o.CommandFailed)}
    assert failed[command] is Cause.INCOMPATIBLE_MEDIA and len(failed) == 2  # with the Invite


def test_a_call_that_ends_while_it_is_answered_fails_the_answer() -> None:
    peer = Peer(auto_media=False)
    offered(peer)
    command = peer.command(ANSWER)
    peer.command(i.HangUp(command=0, call="out"))
    assert methods(peer) == ["ACK", "BYE"]
    assert command in [failure.command for failure in peer.all(o.CommandFailed)]


def test_media_that_do_not_open_end_the_call() -> None:
    peer = Peer(auto_media=False)
    offered(peer)
    command = peer.command(ANSWER)
    peer.give(m.MediaFailed(request=peer.one(m.OpenMedia).request, error="no socket"))
    assert methods(peer) == ["ACK", "BYE"]
    assert command in [failure.command for failure in peer.all(o.CommandFailed)]
    assert peer.one(o.CallEnded).detail == "no socket"


def test_nobody_answers_the_offer() -> None:
    """The peer waits for an ACK as long as it repeats its 2xx (13.3.1.4), and not for ever."""
    peer = Peer()
    offered(peer)
    ended = [out for out in peer.wait(40) if isinstance(out, o.CallEnded)]
    assert [(end.cause, end.detail) for end in ended] == [(Cause.NO_ANSWER, "the offer was not answered in time")]


@pytest.mark.parametrize("media", [(), AUDIO])
def test_a_peer_that_makes_no_offer(media: i.Media) -> None:
    peer = Peer()
    peer.answer(peer.invite(media=media, late_offer=True), 200, CONTACT)
    assert methods(peer) == ["ACK", "BYE"]
    assert peer.one(o.CallEnded).cause is Cause.INCOMPATIBLE_MEDIA
    assert not peer.all(o.CallEstablished)


def test_an_early_answer_of_another_party_while_media_open() -> None:
    """What a fork says before it answers is for the INVITE that it got, which had no offer."""
    peer = Peer(auto_media=False)
    invite = peer.invite(late_offer=True)
    body = peer.offer()
    peer.answer(invite, 200, CONTACT, SDP, tag="one", body=body)
    opening = peer.one(m.OpenMedia)
    peer.answer(invite, 183, CONTACT, SDP, tag="two", body=body)
    peer.give(m.MediaOpened(request=opening.request, transports=((0, local_transport(0)),)))
    ack = peer.request("ACK")
    assert tag_of(ack) == "one" and ack.body
