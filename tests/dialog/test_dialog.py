"""Dialogs alone: routes, sequence numbers, target refresh (RFC 3261 12)."""

from __future__ import annotations

import pytest

from sipproto.dialog import Dialog, build_response, dialog_key
from sipproto.errors import MessageSyntaxError
from sipproto.message import Headers, Request, Response, fields


def invite(**more: str) -> Request:
    pairs: list[tuple[str, object]] = [
        ("Via", "SIP/2.0/WS a.invalid;branch=z9hG4bK1"),
        ("Via", "SIP/2.0/WS b.invalid;branch=z9hG4bK2"),
        ("From", '"A" <sip:a@example.com>;tag=a'),
        ("To", "<sip:b@example.com>"),
        ("Call-ID", "x"),
        ("CSeq", "7 INVITE"),
        *((name.replace("_", "-"), value) for name, value in more.items()),
    ]
    return Request("INVITE", "sip:b@example.com", Headers(pairs))


def test_both_sides_have_the_same_dialog() -> None:
    request = invite(Contact="<sip:a@a.invalid>", Record_Route="<sip:p1;lr>, <sip:p2;lr>")
    callee = Dialog.from_request(request, "b", 1)
    response = build_response(request, 200, to_tag="b", extra=[("Contact", "<sip:b@b.invalid>")])
    caller = Dialog.from_response(request, response, 1)
    assert caller.key == ("x", "a", "b")
    assert callee.key == ("x", "b", "a")
    assert [str(route.uri) for route in callee.routes] == ["sip:p1;lr", "sip:p2;lr"]
    assert tuple(reversed(callee.routes)) == caller.routes
    bye = caller.next_request("BYE")
    assert dialog_key(bye) == callee.key
    assert bye.target == "sip:b@b.invalid"
    assert bye.headers.require(fields.CSEQ).number == 8
    assert callee.accepts(bye)
    assert not callee.accepts(bye)
    assert callee.next_request("INFO").headers.require(fields.CSEQ).number == 1


def test_strict_router() -> None:
    request = invite(Contact="<sip:a@a.invalid>", Record_Route="<sip:p1;method=INVITE>, <sip:p2;lr>")
    bye = Dialog.from_request(request, "b", 1).next_request("BYE")
    assert bye.target == "sip:p1"
    assert bye.headers.raw("Route") == ("<sip:p2;lr>", "<sip:a@a.invalid>")


def test_target_refresh() -> None:
    dialog = Dialog.from_request(invite(Contact="<sip:a@a.invalid>"), "b", 1)
    dialog.refresh_target(invite(Contact="<sip:new@a.invalid>"))
    assert dialog.remote_target == "sip:new@a.invalid"
    dialog.refresh_target(invite())
    assert dialog.remote_target == "sip:new@a.invalid"


@pytest.mark.parametrize("contact", [None, "*"])
def test_no_contact(contact: str | None) -> None:
    with pytest.raises(MessageSyntaxError):
        Dialog.from_request(invite() if contact is None else invite(Contact=contact), "b", 1)


def test_peer_without_tag() -> None:
    request = invite(Contact="<sip:a@a.invalid>")
    response = Response(200, "OK", request.headers)
    assert Dialog.from_response(request, response, 1).key == ("x", "a", "")


def test_responses() -> None:
    request = invite(Record_Route="<sip:p1;lr>", Timestamp="1.5")
    trying = build_response(request, 100, to_tag="b")
    assert trying.headers.first("To") == "<sip:b@example.com>"  # 8.2.6.2: no tag
    assert trying.headers.first("Timestamp") == "1.5"
    ringing = build_response(request, 180, to_tag="b")
    assert ringing.headers.raw("Via") == request.headers.raw("Via")
    assert ringing.headers.raw("Record-Route") == ("<sip:p1;lr>",)
    assert "Record-Route" not in build_response(request, 404, to_tag="b").headers
    assert build_response(request, 404, to_tag="b").headers.first("To") == "<sip:b@example.com>;tag=b"
