"""Why a call has ended, as the messages that end it say (RFC 3326, RFC 6432)."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.agent.peer import SDP, Peer

ELSEWHERE = o.Reason(protocol="SIP", cause=200, text="Call completed elsewhere")


@pytest.mark.parametrize(
    ("lines", "reasons", "elsewhere"),
    [
        ((), (), False),
        (('Reason: SIP ;cause=200 ;text="Call completed elsewhere"',), (ELSEWHERE,), True),
        (
            ('Reason: Q.850;cause=26, sip;cause=200;text="Call completed elsewhere"',),
            (o.Reason(protocol="Q.850", cause=26), ELSEWHERE),
            True,
        ),
        (("Reason: SIP;cause=600",), (o.Reason(protocol="SIP", cause=600),), False),
        (("Reason: Q.850;cause=200",), (o.Reason(protocol="Q.850", cause=200),), False),
        (("Reason: SIP;cause=²00;text",), (o.Reason(protocol="SIP"),), False),
        (("Reason: ;;", "Reason: SIP;cause=9999"), (o.Reason(protocol="SIP"),), False),
    ],
)
def test_why_the_caller_gave_up(lines: tuple[str, ...], reasons: tuple[o.Reason, ...], elsewhere: bool) -> None:
    peer = Peer()
    peer.data(peer.text("INVITE", SDP, body=peer.offer(), branch="z9hG4bKinv"))
    peer.say("CANCEL", *lines, branch="z9hG4bKinv")
    ended = peer.one(o.CallEnded)
    assert ended.cause is Cause.CANCELED
    assert (ended.reasons, ended.answered_elsewhere) == (reasons, elsewhere)


def test_why_the_peer_hung_up_or_refused() -> None:
    peer = Peer()
    peer.in_dialog(peer.call_out(), "BYE", 'Reason: Q.850;cause=16;text="Normal call clearing"')
    ended = peer.one(o.CallEnded)
    assert ended.reasons == (o.Reason(protocol="Q.850", cause=16, text="Normal call clearing"),)
    peer = Peer()
    peer.answer(peer.invite(), 486, "Reason: Q.850;cause=17")
    ended = peer.one(o.CallEnded)
    assert ended.reasons == (o.Reason(protocol="Q.850", cause=17),) and not ended.answered_elsewhere


def test_we_say_why() -> None:
    """In CANCEL, BYE and a refusal; what cannot stand in a header is refused."""
    hang_up = i.HangUp(command=0, call="out", reasons=(ELSEWHERE, o.Reason(protocol="Q.850", cause=26)))
    said = ('SIP;cause=200;text="Call completed elsewhere"', "Q.850;cause=26")
    peer = Peer()
    peer.answer(peer.invite(), 180)
    for bad in (o.Reason(protocol="SIP", text="a\r\nVia: b"), o.Reason(protocol="SI P\r\n")):
        peer.refused(evolve(hang_up, reasons=(bad,)))
    peer.command(hang_up)
    assert peer.request("CANCEL").headers.raw("Reason") == said
    peer = Peer()
    peer.call_out()
    peer.command(hang_up)
    assert peer.request("BYE").headers.raw("Reason") == said
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.command(evolve(hang_up, call="in-1"))
    assert peer.response(603).headers.raw("Reason") == said
