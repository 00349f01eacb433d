"""What happens inside a call: re-INVITEs, INFO, digits, statistics."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import Cause, Originator
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError
from tests.agent.peer import AUDIO, CONTACT, SDP, Peer, cseq_of, tag_of

HOLD = i.Hold(command=0, call="out")
RESUME = i.Resume(command=0, call="out")


def accept_hold(peer: Peer) -> None:
    offer = peer.request("INVITE")
    peer.answer(offer, 200, CONTACT, SDP, body=peer.answer_sdp(offer.body))


def test_hold_and_resume() -> None:
    peer = Peer()
    invite = peer.call_out()
    number = peer.command(HOLD)
    offer = peer.request("INVITE")
    assert cseq_of(offer) == cseq_of(invite) + 1
    assert b"a=sendonly" in offer.body
    accept_hold(peer)
    assert peer.one(o.CallHeld).originator is Originator.LOCAL
    assert peer.one(o.CommandSucceeded).command == number
    ack = peer.one(o.SendData)
    peer.answer(offer, 200, CONTACT, SDP)  # again
    assert peer.out == [ack]
    peer.command(HOLD)
    assert peer.one(o.CommandSucceeded)
    assert peer.sent() == []
    peer.command(RESUME)
    assert b"a=sendrecv" in peer.request("INVITE").body
    peer.answer(offer, 200, CONTACT, SDP)  # the first one's answer again, while the second offer is out
    assert peer.out == [ack]


def test_refused_hold_leaves_the_call_as_it_was() -> None:
    peer = Peer()
    peer.call_out()
    before = peer.agent.retained["calls"]
    peer.command(HOLD)
    peer.answer(peer.request("INVITE"), 488)
    assert peer.one(o.CommandFailed).cause is Cause.INCOMPATIBLE_MEDIA
    assert not [x for x in peer.out if isinstance(x, m.ApplyMedia | o.CallHeld | o.CallEnded)]
    assert peer.agent.retained["calls"] == before
    peer.command(RESUME)  # was not held
    assert peer.sent() == []
    peer.one(o.CommandSucceeded)


@pytest.mark.parametrize("status", [408, 481])
def test_lost_dialog_ends_the_call(status: int) -> None:
    peer = Peer()
    peer.call_out()
    peer.command(HOLD)
    peer.answer(peer.request("INVITE"), status)
    assert peer.one(o.CallEnded).cause is Cause.DIALOG_ERROR
    assert len(peer.all(o.CommandFailed)) == 1


@pytest.mark.parametrize("provisional", [False, True])
def test_hold_that_is_never_answered_is_bounded(provisional: bool) -> None:
    peer = Peer()
    peer.call_out()
    peer.command(HOLD)
    if provisional:
        peer.answer(peer.request("INVITE"), 100)
    peer.wait(40)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    assert peer.one(o.CallEnded).cause is Cause.DIALOG_ERROR
    peer.wait(200)
    assert not any(peer.agent.retained.values()), peer.agent.retained


@pytest.mark.parametrize("status", [200, 491, 486])
def test_hold_is_answered_after_the_end_of_the_call(status: int) -> None:
    peer = Peer()
    peer.call_out()
    peer.command(HOLD)
    offer = peer.request("INVITE")
    peer.command(i.HangUp(command=0, call="out"))
    assert len(peer.all(o.CommandFailed)) == 1
    bye = peer.request("BYE")
    peer.answer(offer, status, CONTACT, *([SDP] if status == 200 else []), body=peer.answer_sdp(offer.body))
    assert [s.method for s in peer.sent() if hasattr(s, "method")] == ["ACK"]
    assert len(peer.out) == 1  # nothing is applied, nothing told
    peer.answer(bye, 200)
    peer.wait(200)
    assert peer.requests("INVITE") == []
    assert not any(peer.agent.retained.values()), peer.agent.retained


def test_hold_is_not_sent_again_with_credentials_after_the_end() -> None:
    peer = Peer(secrets=(Secret(username="alice", password="secret"),))
    peer.call_out()
    peer.command(HOLD)
    offer = peer.request("INVITE")
    peer.command(i.HangUp(command=0, call="out"))
    peer.answer(offer, 407, 'Proxy-Authenticate: Digest realm="p", nonce="n", qop="auth"')
    assert peer.requests("INVITE") == []


def test_glare_when_the_call_is_ours() -> None:
    peer = Peer()
    invite = peer.call_out()
    peer.command(HOLD)
    offer = peer.request("INVITE")
    peer.in_dialog(invite, "INVITE", SDP, CONTACT, body=b"v=0\r\n")
    assert peer.statuses() == [100, 491]
    assert peer.all(m.ApplyMedia) == []
    start = peer.now
    peer.answer(offer, 491)
    assert peer.all(o.CommandFailed) == []
    when = peer.agent.next_timeout()
    assert when is not None
    assert 2.1 <= when - start <= 4.0  # 14.1: the owner of the Call-ID
    peer.now = when
    peer.give(i.TimeoutElapsed())
    again = peer.request("INVITE")
    assert cseq_of(again) == cseq_of(offer) + 1
    peer.answer(again, 200, CONTACT, SDP, body=peer.answer_sdp(again.body))
    peer.one(o.CallHeld)


def test_glare_when_the_call_is_theirs() -> None:
    peer = Peer()
    peer.call_in()
    peer.command(i.Hold(command=0, call="in-1"))
    start = peer.now
    offer = peer.request("INVITE")
    peer.answer(offer, 491)
    times = [when - start for owner, name, when in peer.agent.timers() if name == "glare"]
    assert len(times) == 1
    assert 0 <= times[0] <= 2.0
    peer.wait(2.0)
    assert any(cseq_of(r) == cseq_of(offer) + 1 for r in peer.requests("INVITE"))


def test_reinvite_of_the_peer() -> None:
    peer = Peer()
    ok = peer.call_in()
    peer.negotiator.hold = True
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=2, body=peer.reoffer())
    assert peer.one(o.CallHeld).originator is Originator.REMOTE
    second = peer.response(200)
    assert b"a=recvonly" in second.body
    peer.negotiator.receive_answer(second.body)
    peer.say("ACK", to_tag=tag_of(ok), cseq=2)
    peer.negotiator.hold = False
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=4, body=peer.reoffer())
    peer.one(o.CallResumed)
    peer.say("INVITE", to_tag=tag_of(ok), cseq=4)
    assert peer.statuses() == [100, 500]  # its number is not new


def test_local_hold_survives_an_offer_of_the_peer() -> None:
    peer = Peer()
    invite = peer.call_out()
    peer.command(HOLD)
    accept_hold(peer)
    peer.in_dialog(invite, "INVITE", SDP, body=peer.reoffer())
    ok = peer.response(200)
    assert b"a=sendonly" in ok.body
    assert not [x for x in peer.out if isinstance(x, o.CallResumed | o.CallHeld)]


def test_offerless_reinvite() -> None:
    peer = Peer()
    invite = peer.call_out()
    peer.in_dialog(invite, "INVITE")
    ok = peer.response(200)
    assert b"m=audio" in ok.body
    peer.in_dialog(invite, "ACK", SDP, body=peer.answer_sdp(ok.body))
    peer.one(m.ApplyMedia)
    peer.in_dialog(invite, "INVITE", cseq=2)
    peer.in_dialog(invite, "ACK", cseq=2)  # without an answer: all stays as it was
    assert peer.out == []
    peer.command(HOLD)
    peer.request("INVITE")


def test_unusable_reoffer() -> None:
    peer = Peer()
    invite = peer.call_out()
    peer.in_dialog(invite, "INVITE", SDP, body=b"garbage")
    refused = peer.response(488)
    assert "399" in (refused.headers.first("Warning") or "")
    assert peer.agent.calls == ("out",)


def test_cancelled_reinvite() -> None:
    peer = Peer()
    ok = peer.call_in()
    peer.auto_media = False
    line = peer.negotiator
    line.add_line("video")
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=2, branch="z9hG4bKre", body=peer.reoffer())
    peer.say("CANCEL", to_tag=tag_of(ok), cseq=2, branch="z9hG4bKre")
    assert 200 in peer.statuses()


# -- INFO ------------------------------------------------------------------------------------------------------------


def test_info() -> None:
    peer = Peer()
    invite = peer.call_out()
    info = i.SendInfo(command=0, call="out", content_type="text/plain", body=b"x", headers=(("X-Room", "7"),))
    number = peer.command(info)
    sent = peer.request("INFO")
    assert (sent.body, sent.headers.first("X-Room")) == (b"x", "7")
    peer.answer(sent, 200)
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=200)
    peer.command(info)
    peer.answer(peer.request("INFO"), 481)
    assert peer.one(o.CommandFailed).status == 481
    assert peer.all(o.CallEnded) == []
    peer.command(info)
    peer.wait(11)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    assert peer.agent.calls == ("out",)
    peer.in_dialog(invite, "INFO", "Info-Package: unknown", body=b"x")
    assert peer.response(469).headers.first("Recv-Info") == ""
    peer.in_dialog(invite, "INFO", "Content-Type: text/plain", cseq=2, body=b"hello")
    assert peer.one(o.InfoReceived).body == b"hello"
    peer.in_dialog(invite, "INFO", "Content-Type: application/dtmf-relay", cseq=3, body=b"Signal=5\r\nDuration=160\r\n")
    assert peer.one(o.DtmfReceived) == o.DtmfReceived(call="out", digit="5", duration=160)
    peer.in_dialog(invite, "INFO", cseq=4)
    assert len(peer.out) == 1
    peer.in_dialog(invite, "MESSAGE", "Content-Type: text/plain", cseq=5, body=b"x")
    assert peer.statuses() == [405]
    peer.in_dialog(invite, "OPTIONS", cseq=6)
    assert peer.statuses() == [200]
    peer.in_dialog(invite, "INFO", cseq=6)
    assert peer.statuses() == [500]  # 12.2.2


def test_digits_one_after_the_other() -> None:
    peer = Peer()
    peer.call_out()
    number = peer.command(i.SendDtmf(command=0, call="out", digits="1,2"))
    first = peer.request("INFO")
    assert first.body == b"Signal=1\r\nDuration=160\r\n"
    peer.wait(1)
    assert not [r for r in peer.requests("INFO") if r.body != first.body]
    peer.answer(first, 200)
    peer.wait(0.25)
    assert peer.out == []
    out = peer.wait(2.1)
    assert peer.request("INFO").body == b"Signal=2\r\nDuration=160\r\n"
    assert out
    peer.answer(peer.request("INFO"), 200)
    assert peer.one(o.CommandSucceeded).command == number


def test_info_without_an_answer_does_not_hurry_digits() -> None:
    peer = Peer()
    peer.call_out()
    info = peer.command(i.SendInfo(command=0, call="out", content_type="text/plain", body=b"x"))
    peer.wait(9.9)
    peer.command(i.SendDtmf(command=0, call="out", digits="12"))
    peer.request("INFO")
    peer.wait(0.2)
    assert peer.one(o.CommandFailed).command == info
    assert not [r for r in peer.requests("INFO") if b"Signal=2" in r.body]  # 1 has no answer yet


def test_refused_digit_ends_its_command_only() -> None:
    peer = Peer()
    peer.call_out()
    first = peer.command(i.SendDtmf(command=0, call="out", digits="12"))
    sent = peer.request("INFO")
    second = peer.command(i.SendDtmf(command=0, call="out", digits="3"))
    peer.answer(sent, 415)
    assert peer.one(o.CommandFailed).command == first
    peer.answer(peer.request("INFO"), 200)
    assert peer.one(o.CommandSucceeded).command == second


def test_end_of_the_call_ends_its_commands() -> None:
    peer = Peer()
    invite = peer.call_out()
    peer.auto_media = False
    numbers = [
        peer.command(i.SendInfo(command=0, call="out", content_type="text/plain", body=b"x")),
        peer.command(i.SendDtmf(command=0, call="out", digits="12")),
        peer.command(i.GetStats(command=0, call="out")),
        peer.command(HOLD),
    ]
    peer.in_dialog(invite, "BYE")
    assert sorted(f.command for f in peer.all(o.CommandFailed)) == numbers
    peer.wait(200)
    assert not any(peer.agent.retained.values())


def test_statistics() -> None:
    peer = Peer()
    peer.call_out()
    number = peer.command(i.GetStats(command=0, call="out"))
    report = m.MediaReport(state=m.MediaState.CONNECTED)
    peer.give(m.StatsCollected(request=peer.one(m.CollectStats).request, report=report))
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=report)
    peer.command(i.GetStats(command=0, call="out"))
    peer.wait(21)
    assert peer.one(o.CommandFailed).cause is Cause.MEDIA_ERROR
    assert peer.agent.calls == ("out",)


def test_calls_whose_application_negotiates() -> None:
    peer = Peer()
    invite = peer.invite(media=(), body=b"v=0\r\n")
    peer.answer(invite, 200, CONTACT, SDP, body=b"v=0\r\n")
    peer.refused(HOLD)
    peer.refused(i.GetStats(command=0, call="out"))
    peer.in_dialog(invite, "INVITE", SDP, body=b"v=0\r\ns=other\r\n")
    assert peer.statuses() == [100, 488]
    # the same once more is no change, but a sign of life
    peer.in_dialog(invite, "INVITE", SDP, body=b"v=0\r\n", cseq=12)
    assert peer.statuses() == [100, 200]
    assert peer.response(200).body == b"v=0\r\n"
    assert AUDIO


def test_info_packages() -> None:
    peer = Peer(info_packages=("floor", "x-status"))
    invite = peer.invite()
    assert invite.headers.first("Recv-Info") == "floor, x-status"
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    peer.in_dialog(invite, "INFO", "Info-Package: floor", "Content-Type: text/plain", body=b"yours")
    told = peer.one(o.InfoReceived)
    assert ("Info-Package", "floor") in told.headers
    assert evolve(told, headers=()) == o.InfoReceived(
        call="out", content_type="text/plain", body=b"yours", package="floor"
    )
    peer.in_dialog(invite, "INFO", "Info-Package: other", "Content-Type: text/plain", cseq=2, body=b"?")
    assert peer.response(469).headers.first("Recv-Info") == "floor, x-status"
    send = i.SendInfo(command=0, call="out", content_type="text/plain", body=b"mine", package="floor")
    peer.command(send)
    info = peer.request("INFO")
    assert info.headers.first("Info-Package") == "floor"
    assert info.headers.first("Content-Disposition") == "Info-Package"
    peer.refused(evolve(send, package="a b"))
    with pytest.raises(LocalProtocolError):
        Peer(info_packages=("a b",))


def test_infos_that_the_application_answers() -> None:
    peer = Peer(answer_infos=True)
    invite = peer.invite()
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    peer.in_dialog(invite, "INFO", "Content-Type: application/x-ask", "X-Wish: 1")
    asked = peer.one(o.InfoReceived)
    assert peer.statuses() == []
    assert ("X-Wish", "1") in asked.headers
    peer.refused(i.AnswerInfo(command=0, call="out", info=asked.info, status=100))
    peer.refused(i.AnswerInfo(command=0, call="out", info=asked.info, reason="a\r\nb"))
    peer.command(i.AnswerInfo(command=0, call="out", info=asked.info, status=603))
    assert peer.statuses() == [603]
    peer.one(o.CommandSucceeded)
    peer.refused(i.AnswerInfo(command=0, call="out", info=asked.info))  # once
    # an application that does not answer
    peer.in_dialog(invite, "INFO", "Content-Type: application/x-ask", cseq=2)
    peer.wait(peer.config.waits.info_answer + 0.1)
    assert peer.statuses() == [480]
    # digits and keep-alives are no questions
    peer.in_dialog(invite, "INFO", "Content-Type: application/dtmf-relay", cseq=3, body=b"Signal=5")
    assert peer.statuses() == [200]
    peer.in_dialog(invite, "INFO", cseq=4)
    assert peer.statuses() == [200]
    # the end of the call answers what is open, and there is a limit to that
    for number in range(64):
        peer.in_dialog(invite, "INFO", "Content-Type: application/x-ask", cseq=5 + number)
        assert peer.statuses() == []
    peer.in_dialog(invite, "INFO", "Content-Type: application/x-ask", cseq=69)
    assert peer.statuses() == [503]
    peer.command(i.HangUp(command=0, call="out"))
    assert peer.statuses() == [481] * 64
    assert not [owner for owner, name, _ in peer.agent.timers() if name == "answer"]
