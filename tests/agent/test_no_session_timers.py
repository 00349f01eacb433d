"""An agent that does not want session timers (RFC 4028): it neither asks for them nor agrees, unless it has to."""

from __future__ import annotations

import pytest

from sipproto.agent import SessionTimers
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.message import Message
from tests.agent.peer import CONTACT, SDP, Peer

OFF = SessionTimers(expires=0, agree=False)
SHORT = ("Session-Expires: 90", "Supported: timer")


def names_timer(message: Message) -> bool:
    return "timer" in str(message.headers.first("Supported"))


def accepted(refresher: str) -> Peer:
    """One that has accepted our call, with a timer that nobody has asked for."""
    peer = Peer(session_timers=OFF)
    invite, lines = peer.invite(), (CONTACT, SDP, "Allow: UPDATE", f"Session-Expires: 90;refresher={refresher}")
    peer.answer(invite, 200, *lines, body=peer.answer_sdp(invite.body))
    assert peer.one(o.CallEstablished)
    return peer


def test_calls_without() -> None:
    peer = Peer(session_timers=OFF)
    invite = peer.call_out()
    assert not names_timer(invite) and "Session-Expires" not in invite.headers
    peer.command(i.SendOptions(command=0, target="sip:alice@example.com"))
    assert not names_timer(peer.request("OPTIONS"))


def test_refreshing_is_the_peers_affair() -> None:
    peer = accepted("uas")
    peer.wait(200)
    assert not peer.requests("UPDATE") and not peer.requests("INVITE") and not peer.all(o.CallEnded)


def test_who_leaves_the_refreshing_to_us_gets_it() -> None:
    peer = accepted("uac")
    peer.wait(46)
    update = peer.request("UPDATE")
    assert update.headers.first("Session-Expires") == "90;refresher=uac" and names_timer(update)


def test_is_called_without() -> None:
    peer = Peer(session_timers=OFF)
    answer = peer.call_in(*SHORT)
    assert "Session-Expires" not in answer.headers and "Require" not in answer.headers and not names_timer(answer)
    peer.wait(200)
    assert not peer.all(o.CallEnded)


@pytest.mark.parametrize(("lines", "status"), [((), 200), (("Require: timer",), 422)])
def test_nothing_is_too_short_for_who_does_not_take_part(lines: tuple[str, ...], status: int) -> None:
    peer = Peer(session_timers=SessionTimers(expires=0, agree=False, minimum=300))
    peer.say("INVITE", SDP, *SHORT, *lines, body=peer.offer("audio"))
    if status == 200:
        assert peer.one(o.IncomingCall)
    else:
        assert peer.response(422).headers.first("Min-SE") == "300"


def test_who_requires_it_gets_it() -> None:
    peer = Peer(session_timers=OFF)
    answer = peer.call_in(*SHORT, "Require: timer")
    assert answer.headers.first("Session-Expires") == "90;refresher=uac"
    assert answer.headers.first("Require") == "timer"
    peer.wait(200)
    assert peer.one(o.CallEnded).cause.value == "expired"


def test_asking_is_agreeing() -> None:
    with pytest.raises(LocalProtocolError):
        SessionTimers(agree=False)
