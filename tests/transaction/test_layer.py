"""The transaction layer alone: schedules, matching, ACKs, limits."""

from __future__ import annotations

import pytest

from sipproto.errors import LocalProtocolError
from sipproto.message import Headers, Request, Response, parse_message
from sipproto.transaction import (
    AckReceived,
    RequestReceived,
    ResponseReceived,
    State,
    StrayResponse,
    TransactionEnded,
    TransactionFailed,
    TransactionLayer,
    TransactionOutput,
    Transmit,
)


def request(
    method: str = "INVITE", *, branch: str = "z9hG4bKone", to_tag: str = "", cseq: int = 1, **more: str
) -> Request:
    pairs: list[tuple[str, object]] = [
        ("Via", f"SIP/2.0/UDP 192.0.2.1:5060;branch={branch}" if branch else "SIP/2.0/UDP 192.0.2.1:5060"),
        ("Max-Forwards", 70),
        ("From", "<sip:a@example.com>;tag=from"),
        ("To", "<sip:b@example.com>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", more.pop("call_id", "call-1")),
        ("CSeq", f"{cseq} {method}"),
        *((name.replace("_", "-"), value) for name, value in more.items()),
    ]
    return Request(method, "sip:b@example.com", Headers(pairs))


def response(to: Request, status: int, tag: str = "to") -> Response:
    headers = to.headers.replace("To", f"<sip:b@example.com>;tag={tag}").without("Max-Forwards")
    return Response(status, "x", headers)


def sends(layer: TransactionLayer, until: float) -> list[float]:
    """When something was sent, up to a time; everything else is thrown away."""
    out = []
    while (when := layer.next_timeout()) is not None and when <= until:
        out += [when for output in layer.handle_timeout(when) if isinstance(output, Transmit)]
    return out


def kinds(outputs: list[TransactionOutput]) -> list[type]:
    return [type(output) for output in outputs]


def server(layer: TransactionLayer, what: Request, *, reliable: bool = False, now: float = 0.0) -> int:
    (received,) = layer.receive(what, 1, reliable, now)
    assert isinstance(received, RequestReceived)
    return received.transaction


def test_timer_a_doubles_and_b_ends() -> None:
    layer = TransactionLayer()
    ident, out = layer.send_request(request(), 1, False, 0.0)
    assert kinds(out) == [Transmit]
    assert sends(layer, 31.9) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert layer.handle_timeout(32.0) == [TransactionFailed(transaction=ident, timeout=True)]
    assert len(layer) == 0
    assert layer.next_timeout() is None


def test_timer_e_is_capped_at_t2() -> None:
    layer = TransactionLayer()
    ident, _ = layer.send_request(request("OPTIONS"), 1, False, 0.0)
    assert sends(layer, 31.9) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert layer.handle_timeout(32.0) == [TransactionFailed(transaction=ident, timeout=True)]


def test_timer_e_in_proceeding_is_t2() -> None:
    # 17.1.2.2: "If timer E fires while in the Proceeding state ... Timer E MUST be reset with a value of T2 seconds."
    layer = TransactionLayer()
    options = request("OPTIONS")
    layer.send_request(options, 1, False, 0.0)
    layer.receive(response(options, 100), 1, False, 0.1)
    assert sends(layer, 31.9) == [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]


def test_timer_g_is_capped_at_t2_until_h() -> None:
    layer = TransactionLayer()
    invite = request()
    ident = server(layer, invite)
    layer.respond(ident, response(invite, 486), 0.0)
    assert sends(layer, 31.9) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert layer.handle_timeout(32.0) == [TransactionFailed(transaction=ident, timeout=True)]
    assert len(layer) == 0


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_reliable_client_repeats_nothing_and_ends_at_once(method: str) -> None:
    layer = TransactionLayer()
    what = request(method)
    layer.send_request(what, 1, True, 0.0)
    assert layer.next_timeout() == 32.0
    out = layer.receive(response(what, 404), 1, True, 1.0)
    assert kinds(out) == ([Transmit, ResponseReceived] if method == "INVITE" else [ResponseReceived])
    assert len(layer) == 0
    assert layer.next_timeout() is None


def test_reliable_server_ends_at_once() -> None:
    layer = TransactionLayer()
    options, invite = request("OPTIONS"), request("INVITE", branch="z9hG4bKtwo", call_id="call-2")
    layer.respond(server(layer, options, reliable=True), response(options, 200), 0.0)
    assert len(layer) == 0
    layer.respond(server(layer, invite, reliable=True), response(invite, 404), 0.0)
    assert layer.next_timeout() == 32.0  # H alone: no G
    assert layer.receive(request("ACK", branch="z9hG4bKtwo", call_id="call-2"), 1, True, 1.0) == []
    assert len(layer) == 0
    assert layer.next_timeout() is None


def test_unreliable_ends_wait_for_d_i_j_k() -> None:
    layer = TransactionLayer()
    invite, options = request(), request("OPTIONS", branch="z9hG4bKtwo")
    layer.send_request(invite, 1, False, 0.0)
    layer.send_request(options, 1, False, 0.0)
    layer.receive(response(invite, 404), 1, False, 0.0)
    layer.receive(response(options, 404), 1, False, 0.0)
    assert layer.next_timeout() == 5.0  # K
    assert layer.handle_timeout(5.0) == []
    assert layer.next_timeout() == 32.0  # D
    layer = TransactionLayer()
    a, b = server(layer, invite), server(layer, options)
    layer.respond(a, response(invite, 404), 0.0)
    layer.respond(b, response(options, 404), 0.0)
    layer.receive(request("ACK"), 1, False, 0.0)
    assert layer.next_timeout() == 5.0  # I
    layer.handle_timeout(5.0)
    assert layer.next_timeout() == 32.0  # J
    layer.handle_timeout(32.0)
    assert len(layer) == 0


def test_ack_to_a_failure() -> None:
    layer = TransactionLayer()
    invite = request(Route="<sip:proxy.example.com;lr>", Proxy_Authorization='Digest username="a"')
    layer.send_request(invite, 1, False, 0.0)
    out = layer.receive(response(invite, 404), 1, False, 0.1)
    assert isinstance(out[0], Transmit)
    ack = parse_message(out[0].data)
    assert isinstance(ack, Request)
    assert (ack.method, ack.target) == ("ACK", invite.target)
    assert ack.headers.raw("Via") == invite.headers.raw("Via")  # 17.1.1.3: one Via, that of the INVITE
    assert ack.headers.first("To") == "<sip:b@example.com>;tag=to"
    for name in ("From", "Call-ID", "Route"):
        assert ack.headers.first(name) == invite.headers.first(name)
    assert ack.headers.first("CSeq") == "1 ACK"
    assert ack.body == b""
    assert layer.receive(response(invite, 404), 1, False, 0.2) == [out[0]]  # and again, but not passed up again
    assert layer.receive(response(invite, 200), 1, False, 0.2) == []


def test_every_2xx_is_passed_up_until_timer_m() -> None:
    layer = TransactionLayer()
    invite = request()
    ident, _ = layer.send_request(invite, 1, True, 0.0)
    for tag in ("one", "one", "two"):
        assert kinds(layer.receive(response(invite, 200, tag), 1, True, 1.0)) == [ResponseReceived]
    assert layer.receive(response(invite, 180), 1, True, 1.0) == []
    assert layer.handle_timeout(33.0) == [TransactionEnded(transaction=ident)]
    assert kinds(layer.receive(response(invite, 200), 1, True, 34.0)) == [StrayResponse]


def test_invite_in_proceeding_waits_until_it_is_given_up() -> None:
    layer = TransactionLayer()
    invite = request()
    ident, _ = layer.send_request(invite, 1, False, 0.0)
    layer.receive(response(invite, 180), 1, False, 1.0)
    assert layer.next_timeout() is None
    layer.give_up(ident, 10.0)
    layer.receive(response(invite, 180), 1, False, 11.0)
    assert layer.next_timeout() == 42.0
    assert layer.handle_timeout(42.0) == [TransactionFailed(transaction=ident, timeout=True)]
    assert len(layer) == 0


def test_given_up_invite_may_get_its_provisional_later() -> None:
    layer = TransactionLayer()
    invite = request()
    layer.give_up(layer.send_request(invite, 1, False, 0.0)[0], 1.0)
    layer.receive(response(invite, 100), 1, False, 2.0)
    assert layer.next_timeout() == 33.0


def test_given_up_invite_still_acknowledges_a_failure() -> None:
    layer = TransactionLayer()
    invite = request()
    ident, _ = layer.send_request(invite, 1, True, 0.0)
    layer.receive(response(invite, 180), 1, True, 1.0)
    layer.give_up(ident, 10.0)
    assert kinds(layer.receive(response(invite, 487), 1, True, 11.0)) == [Transmit, ResponseReceived]
    assert layer.next_timeout() is None


def test_ack_and_cancel_find_their_invite() -> None:
    layer = TransactionLayer()
    invite = request()
    ident = server(layer, invite)
    (cancel,) = layer.receive(request("CANCEL"), 1, False, 0.0)
    assert isinstance(cancel, RequestReceived)
    assert cancel.cancels == ident
    assert cancel.transaction != ident
    assert layer.receive(request("CANCEL"), 1, False, 0.1) == []  # repeated
    layer.respond(ident, response(invite, 487), 0.2)
    assert layer.receive(request("ACK", to_tag="to"), 1, False, 0.3) == []
    assert layer.state_of(ident) is State.CONFIRMED


def test_request_again_gets_the_last_response_again() -> None:
    layer = TransactionLayer()
    invite = request()
    ident = server(layer, invite)
    assert layer.receive(invite, 1, False, 0.1) == []
    first = layer.respond(ident, response(invite, 180), 0.2)
    assert layer.receive(invite, 1, False, 0.3) == first
    layer.respond(ident, response(invite, 200), 0.4)
    assert layer.receive(invite, 1, False, 0.5) == []  # RFC 6026 7.1: absorbed, the user repeats the 2xx
    with pytest.raises(LocalProtocolError):
        layer.respond(ident, response(invite, 486), 0.6)


def test_same_branch_from_another_host_is_another_transaction() -> None:
    layer = TransactionLayer()
    server(layer, request())
    other = request()
    other = Request("INVITE", other.target, other.headers.replace("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKone"))
    assert kinds(layer.receive(other, 1, False, 0.0)) == [RequestReceived]


def test_rfc_2543_matching() -> None:
    layer = TransactionLayer()
    invite = request(branch="")
    ident = server(layer, invite)
    assert layer.receive(invite, 1, False, 0.1) == []
    (cancel,) = layer.receive(request("CANCEL", branch=""), 1, False, 0.1)
    assert isinstance(cancel, RequestReceived)
    assert cancel.cancels == ident
    layer.respond(ident, response(invite, 486), 0.2)
    assert layer.receive(request("ACK", branch="", to_tag="to"), 1, False, 0.3) == []
    assert layer.state_of(ident) is State.CONFIRMED
    assert kinds(layer.receive(request(branch="", cseq=2), 1, False, 0.4)) == [RequestReceived]


def test_ack_to_a_2xx_is_of_no_transaction() -> None:
    layer = TransactionLayer()
    invite = request()
    ident = server(layer, invite)
    layer.respond(ident, response(invite, 200), 0.0)
    assert kinds(layer.receive(request("ACK", branch="z9hG4bKack", to_tag="to"), 1, False, 0.1)) == [AckReceived]
    assert kinds(layer.receive(request("ACK", to_tag="to"), 1, False, 0.1)) == [AckReceived]  # of old proxies
    assert layer.state_of(ident) is State.ACCEPTED


def test_merged_request() -> None:
    layer = TransactionLayer()
    first = server(layer, request())
    second = server(layer, request(branch="z9hG4bKtwo"))
    assert not layer.is_merged(first)
    assert layer.is_merged(second)
    assert not layer.is_merged(server(layer, request(branch="z9hG4bKthree", cseq=2)))
    assert not layer.is_merged(server(layer, request("CANCEL", branch="z9hG4bKtwo")))


def test_limit_of_server_transactions() -> None:
    layer = TransactionLayer(max_server_transactions=2)
    server(layer, request("OPTIONS", branch="z9hG4bKa", call_id="a"))
    what = request("OPTIONS", branch="z9hG4bKb", call_id="b")
    ident = server(layer, what)
    third = request("OPTIONS", branch="z9hG4bKc", call_id="c")
    assert layer.receive(third, 1, False, 0.0) == []
    layer.respond(ident, response(what, 200), 0.0)
    layer.handle_timeout(32.0)
    assert kinds(layer.receive(third, 1, False, 33.0)) == [RequestReceived]


def test_flow_closed_ends_everything_on_it() -> None:
    layer = TransactionLayer()
    proceeding, invite = request(), request(branch="z9hG4bKx")
    ident, _ = layer.send_request(proceeding, 1, False, 0.0)
    layer.receive(response(proceeding, 180), 1, False, 0.0)
    accepted, _ = layer.send_request(invite, 1, False, 0.0)
    layer.receive(response(invite, 200), 1, False, 0.0)
    waiting = server(layer, request("OPTIONS", branch="z9hG4bKy"))
    other, _ = layer.send_request(request("OPTIONS", branch="z9hG4bKz"), 2, True, 0.0)
    out = layer.flow_closed(1, 1.0)
    assert out == [TransactionFailed(transaction=t, timeout=False) for t in (ident, waiting)]
    assert layer.state_of(accepted) is None
    assert layer.state_of(other) is State.TRYING
    assert len(layer) == 1


@pytest.mark.parametrize("branch", ["", "one"])
def test_a_branch_of_ones_own_is_needed(branch: str) -> None:
    layer = TransactionLayer()
    with pytest.raises(LocalProtocolError):
        layer.send_request(request(branch=branch), 1, True, 0.0)
    with pytest.raises(LocalProtocolError):
        layer.send_request(request("ACK"), 1, True, 0.0)
    layer.send_request(request(), 1, True, 0.0)
    with pytest.raises(LocalProtocolError):
        layer.send_request(request(), 1, True, 0.0)
    assert len(layer) == 1
