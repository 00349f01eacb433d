"""Calls with a scripted peer."""

from __future__ import annotations

import pytest

from sipproto.agent import AgentConfig, AgentLimits, Cause, Originator
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from tests.agent.peer import AUDIO, CONTACT, RAW, SDP, Peer, answer_to, cseq_of, tag_of

CHALLENGE = 'Digest realm="{}", nonce="n1", qop="auth", algorithm=SHA-256'
SECRET = Secret(username="alice", password="secret")


def idle(peer: Peer) -> None:
    peer.wait(200)
    assert not any(peer.agent.retained.values()), (peer.agent.retained, peer.agent.timers())


# -- outgoing --------------------------------------------------------------------------------------------------------


def test_established_and_ended() -> None:
    peer = Peer()
    invite = peer.call_out()
    ack = peer.request("ACK")
    assert cseq_of(ack) == cseq_of(invite)
    assert ack.target == "sip:bob@peer.invalid;transport=ws"
    assert ack.body == b""
    assert isinstance(peer.one(o.CommandSucceeded), o.CommandSucceeded)
    peer.in_dialog(invite, "BYE", 'Reason: SIP;cause=200;text="bye"')
    assert peer.statuses() == [200]
    assert peer.one(o.CallEnded).cause is Cause.TERMINATED
    assert peer.one(m.CloseMedia).call == "out"
    idle(peer)


def test_407_then_401() -> None:
    peer = Peer(secrets=(SECRET,))
    first = peer.invite()
    peer.answer(first, 407, "Proxy-Authenticate: " + CHALLENGE.format("proxy"))
    assert peer.request("ACK").headers.raw("Via") == first.headers.raw("Via")
    second = peer.request("INVITE")
    assert cseq_of(second) == cseq_of(first) + 1
    assert second.headers.first("Call-ID") == first.headers.first("Call-ID")
    assert second.headers.first("From") == first.headers.first("From")
    peer.answer(second, 401, "WWW-Authenticate: " + CHALLENGE.format("home"))
    third = peer.request("INVITE")
    assert 'realm="proxy"' in (third.headers.first("Proxy-Authorization") or "")
    assert 'realm="home"' in (third.headers.first("Authorization") or "")
    peer.answer(third, 200, CONTACT, SDP, body=peer.answer_sdp(third.body))
    ack = peer.request("ACK")
    assert cseq_of(ack) == cseq_of(third)
    assert ack.headers.first("Authorization") == third.headers.first("Authorization")  # 13.2.2.4
    peer.one(o.CallEstablished)


def test_no_password_and_wrong_password() -> None:
    peer = Peer()
    peer.answer(peer.invite(), 407, "Proxy-Authenticate: " + CHALLENGE.format("proxy"))
    failed = peer.one(o.CommandFailed)
    assert (failed.cause, failed.status) == (Cause.NO_PASSWORD, 407)
    assert peer.one(o.CallEnded).cause is Cause.NO_PASSWORD
    peer = Peer(secrets=(SECRET,))
    peer.answer(peer.invite(), 407, "Proxy-Authenticate: " + CHALLENGE.format("proxy"))
    peer.answer(peer.request("INVITE"), 407, "Proxy-Authenticate: " + CHALLENGE.format("proxy"))
    assert peer.one(o.CommandFailed).cause is Cause.AUTHENTICATION_ERROR
    idle(peer)


def test_cancel_waits_for_a_provisional() -> None:
    peer = Peer()
    invite = peer.invite()
    peer.command(i.HangUp(command=0, call="out"))
    assert peer.sent() == []
    assert peer.one(o.CallEnded).cause is Cause.CANCELED
    assert len(peer.all(o.CommandFailed)) == len(peer.all(o.CommandSucceeded)) == 1
    peer.answer(invite, 180)
    cancel = peer.request("CANCEL")
    assert cancel.headers.raw("Via") == invite.headers.raw("Via")
    assert cseq_of(cancel) == cseq_of(invite)
    peer.answer(cancel, 200)
    peer.answer(invite, 487)
    peer.request("ACK")
    idle(peer)


def test_hang_up_without_any_answer_is_bounded() -> None:
    peer = Peer()
    peer.invite()
    peer.command(i.HangUp(command=0, call="out"))
    idle(peer)


def test_cancelled_invite_that_is_never_answered_is_bounded() -> None:
    peer = Peer()
    peer.answer(peer.invite(), 180)
    peer.command(i.HangUp(command=0, call="out"))
    peer.request("CANCEL")
    idle(peer)


@pytest.mark.parametrize("provisional", [False, True])
def test_cancelled_call_is_not_sent_again_with_credentials(provisional: bool) -> None:
    peer = Peer(secrets=(SECRET,))
    invite = peer.invite()
    if provisional:
        peer.answer(invite, 180)
    peer.command(i.HangUp(command=0, call="out"))
    peer.answer(invite, 407, "Proxy-Authenticate: " + CHALLENGE.format("proxy"))
    assert peer.requests("INVITE") == []
    idle(peer)


def test_cancel_waits_for_a_provisional_of_the_invite_with_credentials() -> None:
    peer = Peer(secrets=(SECRET,))
    first = peer.invite()
    peer.answer(first, 100)
    peer.answer(first, 407, "Proxy-Authenticate: " + CHALLENGE.format("proxy"))
    second = peer.request("INVITE")
    peer.command(i.HangUp(command=0, call="out"))
    assert peer.requests("CANCEL") == []  # 9.1
    peer.answer(second, 100)
    assert cseq_of(peer.request("CANCEL")) == cseq_of(second)


def test_2xx_after_cancel() -> None:
    peer = Peer()
    invite = peer.invite()
    peer.answer(invite, 180)
    peer.command(i.HangUp(command=0, call="out"))
    peer.answer(invite, 200, CONTACT, SDP, body=RAW)
    assert [r.method for r in peer.sent() if hasattr(r, "method")] == ["ACK", "BYE"]
    assert peer.all(o.CallEstablished) == []
    bye = peer.request("BYE")
    assert cseq_of(bye) == cseq_of(invite) + 1
    peer.answer(bye, 200)
    idle(peer)


def test_forks() -> None:
    peer = Peer()
    invite = peer.invite()
    for tag in ("one", "two"):
        peer.answer(invite, 180, CONTACT, tag=tag)
    assert peer.agent.retained["dialogs"] == 2
    peer.answer(invite, 200, CONTACT, SDP, tag="one", body=peer.answer_sdp(invite.body))
    first_ack = peer.all(o.SendData)
    peer.one(o.CallEstablished)
    assert peer.agent.retained["dialogs"] == 1
    peer.answer(invite, 200, "Contact: <sip:two@peer.invalid>", SDP, tag="two", body=RAW)
    assert peer.request("ACK").target == peer.request("BYE").target == "sip:two@peer.invalid"
    assert "tag=two" in (peer.request("BYE").headers.first("To") or "")
    bye = peer.request("BYE")
    second_ack = peer.all(o.SendData)[:1]
    assert peer.all(o.CallEnded) == []
    # repeated 2xx: the same ACK, octet for octet, and nothing else
    peer.answer(invite, 200, CONTACT, SDP, tag="one", body=RAW)
    assert peer.out == first_ack
    peer.answer(invite, 200, CONTACT, SDP, tag="two", body=RAW)
    assert peer.out == second_ack
    peer.answer(bye, 200)
    peer.in_dialog(invite, "BYE")
    assert peer.statuses() == [481]  # its tag is "peer", which is nobody
    peer.command(i.HangUp(command=0, call="out"))
    # the call is over, but a third party may still answer
    peer.answer(peer.request("BYE"), 200)
    peer.answer(invite, 200, CONTACT, SDP, tag="three", body=RAW)
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_ring_and_answer_limits() -> None:
    peer = Peer()
    invite = peer.invite()
    peer.answer(invite, 180)
    peer.wait(181)
    assert peer.one(o.CallEnded).cause is Cause.NO_ANSWER
    peer.request("CANCEL")
    idle(peer)
    peer = Peer()
    peer.invite()
    peer.wait(33)
    assert peer.one(o.CallEnded).cause is Cause.REQUEST_TIMEOUT
    idle(peer)


@pytest.mark.parametrize(
    ("status", "cause"),
    [(302, Cause.REDIRECTED), (404, Cause.NOT_FOUND), (480, Cause.UNAVAILABLE), (486, Cause.BUSY), (488, Cause.INCOMPATIBLE_MEDIA),
     (503, Cause.SIP_FAILURE_CODE), (603, Cause.REJECTED)],
)  # fmt: skip
def test_refused(status: int, cause: Cause) -> None:
    peer = Peer()
    peer.answer(peer.invite(), status)
    peer.request("ACK")
    ended = peer.one(o.CallEnded)
    assert (ended.cause, ended.status, ended.originator) == (cause, status, Originator.REMOTE)
    assert peer.one(o.CommandFailed).cause is cause
    idle(peer)


@pytest.mark.parametrize("body", [b"", b"garbage", RAW])
def test_unusable_answer(body: bytes) -> None:
    peer = Peer()
    peer.answer(peer.invite(), 200, CONTACT, SDP, body=body)
    assert [r.method for r in peer.sent() if hasattr(r, "method")] == ["ACK", "BYE"]
    assert peer.one(o.CallEnded).cause is Cause.INCOMPATIBLE_MEDIA
    assert peer.all(o.CallEstablished) == []
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_late_offer_of_ours() -> None:
    """INVITE without offer: what the peer offers in its 2xx is for the application."""
    peer = Peer()
    invite = peer.invite(media=(), late_offer=True)
    assert invite.body == b""
    assert "Content-Type" not in invite.headers
    peer.answer(invite, 200, CONTACT, SDP, body=RAW)
    assert peer.one(o.CallOffered).body == RAW
    assert not peer.sent()
    peer.command(i.Answer(command=0, call="out", body=b"v=0\r\n"))
    assert peer.request("ACK").body == b"v=0\r\n"
    assert peer.one(o.CallEstablished).body == RAW


def test_routes() -> None:
    peer = Peer()
    invite = peer.invite()
    peer.answer(invite, 200, CONTACT, SDP, "Record-Route: <sip:p2;lr>, <sip:p1;lr>", body=peer.answer_sdp(invite.body))
    ack = peer.request("ACK")
    assert ack.headers.raw("Route") == ("<sip:p1;lr>", "<sip:p2;lr>")  # 12.1.2: in reverse
    assert ack.target == "sip:bob@peer.invalid;transport=ws"
    peer = Peer()
    invite = peer.invite()
    peer.answer(invite, 200, CONTACT, SDP, "Record-Route: <sip:p2;lr>, <sip:p1>", body=peer.answer_sdp(invite.body))
    ack = peer.request("ACK")
    assert ack.target == "sip:p1"  # 12.2.1.1: a strict router
    assert ack.headers.raw("Route") == ("<sip:p2;lr>", "<sip:bob@peer.invalid;transport=ws>")
    peer = Peer()
    ok = peer.call_in("Record-Route: <sip:p1;lr>", "Record-Route: <sip:p2;lr>")
    assert ok.headers.raw("Record-Route") == ("<sip:p1;lr>", "<sip:p2;lr>")
    peer.command(i.HangUp(command=0, call="in-1"))
    assert peer.request("BYE").headers.raw("Route") == ("<sip:p1;lr>", "<sip:p2;lr>")  # 12.1.1: in order


# -- incoming --------------------------------------------------------------------------------------------------------


def test_incoming_call() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, sender='"Bob \\"B\\"" <sip:bob@example.com>', body=peer.offer("audio", "video"))
    assert peer.statuses() == [100, 180]
    call = peer.one(o.IncomingCall)
    assert (call.from_uri, call.display_name, call.audio, call.video) == ("sip:bob@example.com", 'Bob "B"', True, True)
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.response(200)
    assert b"m=video 0 " in ok.body
    assert peer.all(o.CommandSucceeded) == []
    peer.say("ACK", to_tag=tag_of(ok))
    peer.one(o.CallEstablished)
    peer.one(o.CommandSucceeded)
    peer.say("ACK", to_tag=tag_of(ok))
    assert peer.out == []
    idle_after = peer.agent.retained
    assert idle_after["calls"] == idle_after["dialogs"] == 1
    peer.say("BYE", to_tag=tag_of(ok), cseq=2)
    idle(peer)


def test_2xx_is_repeated_until_its_ack() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.one(o.SendData)
    start = peer.now
    times = []
    while peer.now < start + 31.9 and (when := peer.agent.next_timeout()) is not None and when < start + 32:
        peer.now = when
        peer.give(i.TimeoutElapsed())
        if peer.out:
            assert peer.one(o.SendData) == ok
            times.append(when - start)
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    peer.wait(1)
    assert peer.one(o.CallEnded).cause is Cause.NO_ACK
    assert peer.one(o.CommandFailed).cause is Cause.NO_ACK
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_hang_up_waits_for_the_ack() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.response(200)
    peer.command(i.HangUp(command=0, call="in-1"))
    assert peer.sent() == []  # 15: no BYE before the ACK
    peer.one(o.CallEnded)
    peer.say("ACK", to_tag=tag_of(ok))
    assert peer.all(o.CallEstablished) == []
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_cancelled_by_the_caller() -> None:
    peer = Peer()
    invite = peer.text("INVITE", SDP, body=peer.offer(), branch="z9hG4bKinv")
    peer.data(invite)
    peer.say("CANCEL", branch="z9hG4bKinv")
    assert peer.statuses() == [200, 487]
    assert peer.one(o.CallEnded).cause is Cause.CANCELED
    peer.say("ACK", branch="z9hG4bKinv")
    peer.say("CANCEL", branch="z9hG4bKother")
    assert peer.statuses() == [481]
    idle(peer)


def test_refused_and_unanswered() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.command(i.HangUp(command=0, call="in-1", status=486, reason="Not now"))
    assert peer.response(486).reason == "Not now"
    assert peer.one(o.CallEnded).cause is Cause.BUSY
    peer.say("INVITE", SDP, body=peer.offer() if False else RAW, call_id="second")
    peer.wait(61)
    peer.response(480)
    assert peer.one(o.CallEnded).cause is Cause.NO_ANSWER
    idle(peer)


@pytest.mark.parametrize(("more", "video"), [(b"", False), (b"a=bundle-only\r\n", True)])
def test_what_is_offered_with_port_0(more: bytes, video: bool) -> None:
    """Not wanted, or only in a bundle, as pages with the policy max-bundle offer all lines but the first."""
    peer = Peer()
    before, start, line = peer.offer("audio", "video").rpartition(b"m=video ")
    peer.say("INVITE", SDP, body=before + start + b"0 " + line.partition(b" ")[2] + more)
    call = peer.one(o.IncomingCall)
    assert (call.audio, call.video) == (True, video)


def test_late_offer_of_the_peer() -> None:
    peer = Peer()
    peer.say("INVITE")
    assert peer.one(o.IncomingCall).offer == b""
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.response(200)
    assert b"m=audio" in ok.body
    assert b"actpass" in ok.body
    peer.say("ACK", SDP, to_tag=tag_of(ok), body=peer.answer_sdp(ok.body))
    peer.one(o.CallEstablished)
    peer.one(m.ApplyMedia)


@pytest.mark.parametrize("body", [b"", RAW])
def test_late_offer_with_a_bad_answer(body: bytes) -> None:
    peer = Peer()
    peer.say("INVITE")
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.response(200)
    peer.say("ACK", *([SDP] if body else []), to_tag=tag_of(ok), body=body)
    assert peer.one(o.CallEnded).cause is Cause.INCOMPATIBLE_MEDIA
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_offer_that_cannot_be_answered() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=RAW)
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    refused = peer.response(488)
    assert refused.headers.first("Warning") == '399 sipproto "audio is offered as RTP/AVP, which is not DTLS-SRTP"'
    assert peer.one(o.CommandFailed).cause is Cause.INCOMPATIBLE_MEDIA
    peer.one(o.CallEnded)
    assert peer.agent.retained["calls"] == 0


def test_a_refusal_of_the_application_is_not_explained() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=RAW)
    peer.command(i.HangUp(command=0, call="in-1", status=488))
    assert "Warning" not in peer.response(488).headers
    idle(peer)


# -- commands that are not possible ----------------------------------------------------------------------------------


def test_local_errors_change_nothing() -> None:
    peer = Peer(limits=AgentLimits(calls=2))
    evil = "x\r\nEvil: yes"
    bad: i.Command
    for bad in (
        i.Invite(command=0, call="c", target="sip:bob@example.com\r\nEvil: yes", media=AUDIO),
        i.Invite(command=0, call="c", target="not a uri", media=AUDIO),
        i.Invite(command=0, call="c", target="sip:bob@example.com", headers=(("Subject", evil),)),
        i.Invite(command=0, call="c", target="sip:bob@example.com", headers=((evil, "x"),)),
        i.Invite(command=0, call="c", target="sip:bob@example.com", body=b"x", content_type=evil),
        i.Invite(command=0, call="c", target="sip:bob@example.com", media=(("smell", Direction.SENDRECV),)),
        i.Answer(command=0, call="nobody"),
        i.HangUp(command=0, call="nobody"),
        i.Hold(command=0, call="nobody"),
        i.Connect(command=0, server="again"),
        i.Register(command=0, expires=0),
        i.SendMessage(command=0, target="sip:bob@example.com", body=b"x", content_type=evil),
        i.SendOptions(command=0, target="sip:bob@example.com", timeout=0),
    ):
        peer.refused(bad)
    peer.call_out()
    for bad in (
        i.Invite(command=0, call="out", target="sip:bob@example.com"),
        i.Answer(command=0, call="out"),
        i.HangUp(command=0, call="out", status=200),
        i.HangUp(command=0, call="out", reason=evil),
        i.SendInfo(command=0, call="out", content_type=evil, body=b""),
        i.SendDtmf(command=0, call="out", digits="x"),
        i.SendDtmf(command=0, call="out", digits="1", duration=1),
    ):
        peer.refused(bad)
    peer.say("INVITE", SDP, body=RAW)
    peer.refused(i.Answer(command=0, call="in-1", body=RAW, content_type=evil))
    peer.refused(i.Invite(command=0, call="third", target="sip:bob@example.com"))
    peer.say("INVITE", SDP, body=RAW, call_id="other")
    assert peer.statuses() == [100, 486]


def test_control_characters_in_the_configuration() -> None:
    for bad in ({"display_name": "a\r\nEvil: yes"}, {"user_agent": "a\nb"}, {"instance_id": "a\x00"}):
        with pytest.raises(LocalProtocolError):
            AgentConfig(aor="sip:alice@example.com", **bad)  # type: ignore[arg-type]


def test_room_for_requests_is_limited() -> None:
    peer = Peer(limits=AgentLimits(exchanges=1))
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com"))
    assert "limit" in peer.refused(i.SendOptions(command=0, target="sip:bob@example.com"))
    assert "limit" in peer.refused(i.Invite(command=0, call="c", target="sip:bob@example.com"))


def test_no_room_for_requests_in_a_call_but_always_for_its_bye() -> None:
    peer = Peer(limits=AgentLimits(exchanges=2))
    peer.call_out()  # its INVITE still waits for answers of forks
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com"))
    commands: list[i.Command] = [
        i.SendInfo(command=0, call="out", content_type="text/plain", body=b""),
        i.SendDtmf(command=0, call="out", digits="1"),
        i.Hold(command=0, call="out"),
    ]
    for command in commands:
        assert "limit" in peer.refused(command)
    peer.command(i.HangUp(command=0, call="out"))
    peer.answer(peer.request("BYE"), 200)


# -- media -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fails", "silent", "too little"])
@pytest.mark.parametrize("incoming", [False, True])
def test_media_that_does_not_open(how: str, incoming: bool) -> None:
    peer = Peer(auto_media=False)
    if incoming:
        peer.say("INVITE", SDP, body=peer.offer())
        peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    else:
        peer.command(i.Invite(command=0, call="out", target="sip:bob@example.com", media=AUDIO))
    request = peer.one(m.OpenMedia).request
    if how == "fails":
        peer.give(m.MediaFailed(request=request, error="no device"))
    elif how == "silent":
        peer.wait(21)
    else:
        peer.give(m.MediaOpened(request=request, transports=()))
    assert peer.one(o.CommandFailed).cause is Cause.MEDIA_ERROR
    assert peer.one(o.CallEnded).cause is Cause.MEDIA_ERROR
    peer.one(m.CloseMedia)
    assert peer.statuses() == ([500] if incoming else [])
    peer.give(m.MediaOpened(request=request, transports=()))  # too late
    assert peer.out == []
    idle(peer)


@pytest.mark.parametrize("how", ["fails", "silent", "breaks"])
def test_media_that_does_not_apply(how: str) -> None:
    peer = Peer()
    invite = peer.invite()
    peer.auto_media = False
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    peer.one(o.CallEstablished)
    request = peer.one(m.ApplyMedia).request
    if how == "fails":
        peer.give(m.MediaFailed(request=request, error="broken"))
    elif how == "silent":
        peer.wait(21)
    else:
        peer.give(m.MediaApplied(request=request))
        peer.give(m.MediaStateChanged(call="out", state=m.MediaState.FAILED))
        assert peer.one(o.MediaChanged).state is m.MediaState.FAILED
    assert peer.one(o.CallEnded).cause is Cause.MEDIA_ERROR
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_media_fails_while_the_2xx_waits_for_its_ack() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.auto_media = True
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.response(200)
    peer.give(m.MediaStateChanged(call="in-1", state=m.MediaState.FAILED))
    assert peer.one(o.CallEnded).cause is Cause.MEDIA_ERROR
    assert peer.sent() == []
    peer.say("ACK", to_tag=tag_of(ok))
    peer.answer(peer.request("BYE"), 200)
    idle(peer)


def test_receiving_only_is_no_hold() -> None:
    peer = Peer()
    invite = peer.invite(media=(("audio", Direction.RECVONLY),))
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    peer.one(o.CallEstablished)
    assert peer.all(o.CallHeld) == []


def test_a_response_for_somebody_else_is_dropped() -> None:
    peer = Peer()
    invite = peer.invite()
    text = answer_to(invite, 486).replace(b"\r\nFrom", b"\r\nVia: SIP/2.0/WS other.invalid;branch=z9hG4bKx\r\nFrom")
    peer.data(text)
    assert peer.sent() == []
    peer.one(o.ProtocolViolated)
    assert peer.agent.calls == ("out",)


# -- flows and shutdown ----------------------------------------------------------------------------------------------

STATES = ["preparing", "calling", "ringing", "cancelling", "incoming", "answering", "accepted", "regretted", "established",
          "holding", "answering re-INVITE", "leaving"]  # fmt: skip


def in_state(state: str) -> Peer:
    peer = Peer(auto_media=state not in ("preparing", "answering"))
    if state == "preparing":
        peer.command(i.Invite(command=0, call="out", target="sip:bob@example.com", media=AUDIO))
    elif state in ("calling", "ringing", "cancelling"):
        invite = peer.invite()
        if state != "calling":
            peer.answer(invite, 180, CONTACT)
        if state == "cancelling":
            peer.command(i.HangUp(command=0, call="out"))
    elif state in ("incoming", "answering", "accepted", "regretted"):
        peer.say("INVITE", SDP, body=peer.offer())
        if state != "incoming":
            peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
        if state == "regretted":
            peer.command(i.HangUp(command=0, call="in-1"))
    else:
        invite = peer.call_out()
        if state == "holding":
            peer.command(i.Hold(command=0, call="out"))
            peer.command(i.SendInfo(command=0, call="out", content_type="text/plain", body=b"x"))
        elif state == "answering re-INVITE":
            peer.in_dialog(invite, "INVITE", SDP, body=peer.reoffer())
        elif state == "leaving":
            peer.command(i.HangUp(command=0, call="out"))
    return peer


@pytest.mark.parametrize("state", STATES)
def test_flow_lost_in_each_state(state: str) -> None:
    peer = in_state(state)
    over = state in ("cancelling", "regretted", "leaving")
    peer.give(i.FlowClosed(flow=1, error="reset"))
    if not over:
        assert peer.one(o.CallEnded).cause is Cause.CONNECTION_ERROR
    assert len(peer.all(o.CallEnded)) == (0 if over else 1)
    assert peer.sent() == []
    assert not any(peer.agent.retained.values()), (peer.agent.retained, peer.agent.timers())
    assert peer.agent.next_timeout() is None


@pytest.mark.parametrize("state", STATES)
def test_shutdown_in_each_state(state: str) -> None:
    peer = in_state(state)
    over = state in ("cancelling", "regretted", "leaving")
    number = peer.command(i.Shutdown(command=0))
    out = [*peer.out, *peer.wait(3.5)]
    outcomes = [x for x in out if isinstance(x, o.CommandSucceeded | o.CommandFailed) and x.command == number]
    assert len(outcomes) == 1
    assert sum(isinstance(x, o.CallEnded) for x in out) == (0 if over else 1)
    assert sum(isinstance(x, o.CloseFlow) for x in out) == 1
    assert not any(peer.agent.retained.values()), (peer.agent.retained, peer.agent.timers())
    assert "shut down" in peer.refused(i.Connect(command=0, server="x"))


def test_shutdown_in_good_order() -> None:
    peer = Peer()
    invite = peer.call_out()
    peer.command(i.Hold(command=0, call="out"))
    hold = peer.request("INVITE")
    peer.answer(hold, 200, CONTACT, SDP, body=peer.answer_sdp(hold.body))
    assert invite
    number = peer.command(i.Shutdown(command=0))
    peer.answer(peer.request("BYE"), 200)
    assert (
        peer.one(o.CommandSucceeded).command == number
    )  # not kept waiting for what an accepted INVITE could still get
    peer.one(o.CloseFlow)


def test_connect_times_out_and_fails() -> None:
    peer = Peer(connect=False)
    number = peer.command(i.Connect(command=0, server="wss://example.com"))
    flow = peer.one(o.OpenFlow).flow
    peer.wait(13)
    assert peer.one(o.CloseFlow).flow == flow
    failed = peer.one(o.CommandFailed)
    assert (failed.command, failed.cause) == (number, Cause.REQUEST_TIMEOUT)
    peer.give(i.FlowOpened(flow=flow, transport="WS"))  # too late
    assert peer.out == [o.CloseFlow(flow=flow)]
    peer.command(i.Connect(command=0, server="wss://example.com"))
    peer.give(i.OpenFlowFailed(flow=peer.one(o.OpenFlow).flow, error="refused"))
    assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    peer.command(i.Connect(command=0, server="wss://example.com"))
    peer.command(i.Shutdown(command=0))
    assert len(peer.all(o.CommandFailed)) == len(peer.all(o.CommandSucceeded)) == 1
    idle(peer)
