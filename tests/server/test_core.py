"""The embedded server without I/O: registrar, relay, focus, and those who mean it no good."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import MediaFailed, OpenMedia
from sipproto.auth import AnswerOutcome, Authenticator, AuthOutcome, Secret
from sipproto.message import Request, Response, fields, parse_message
from sipproto.negotiation import MediaCapabilities
from sipproto.sdp import Codec
from sipproto.tokens import SeededTokens
from tests.server.rig import OFFER, REALM, USERS, World, request, with_credentials

CAPABILITIES = MediaCapabilities(audio=(Codec(name="PCMU", clock_rate=8000, payload_type=0),))
BOB = f"sip:bob@{REALM}"
REGISTRAR = f"sip:{REALM}"


def register(
    user: str, contact: str, *, cseq: int = 1, extra: str = "", branch: str = "r1", to: str | None = None
) -> bytes:
    lines = "".join(f"Contact: {one}\r\n" for one in contact.split(" ") if one) + extra
    address = to or f"<sip:{user}@{REALM}>"
    return request(
        "REGISTER", REGISTRAR, user=user, to=address, cseq=cseq, extra=lines, branch=branch, call_id=f"reg-{user}"
    )


def bind(world: World, flow: int, user: str, contact: str, **more: object) -> Response:
    data = register(user, contact, **more)  # type: ignore[arg-type]
    return world.ask(flow, with_credentials(world, flow, data, user))


# -- the registrar ---------------------------------------------------------------------------------------------------


def test_registering() -> None:
    world = World()
    world.open(1)
    assert bind(world, 1, "alice", "").status == 200  # a question only
    answer = bind(world, 1, "alice", "<sip:a@x.invalid>;expires=100", cseq=2)
    assert answer.status == 200 and answer.headers.raw("Contact") == ("<sip:a@x.invalid>;expires=100",)
    bind(world, 1, "alice", "<sip:b@x.invalid>", cseq=3, extra="Expires: 99999\r\n")
    assert world.core.registered == {"alice": 2}
    answer = bind(world, 1, "alice", "", cseq=4)
    assert answer.headers.raw("Contact")[1] == "<sip:b@x.invalid>;expires=3600"
    assert world.core.next_timeout() == 100.0
    world.pass_time(100.0)
    assert world.core.registered == {"alice": 1}
    assert bind(world, 1, "alice", "<sip:b@x.invalid>;expires=0", cseq=5).status == 200
    assert world.core.registered == {}
    assert bind(world, 1, "alice", "<sip:b@x.invalid>;expires=5", cseq=6).status == 423
    bind(world, 1, "alice", "<sip:1@x.invalid> <sip:2@x.invalid>", cseq=7)
    assert bind(world, 1, "alice", "*", cseq=8).status == 400
    assert bind(world, 1, "alice", "* <sip:1@x.invalid>", cseq=9, extra="Expires: 0\r\n").status == 400
    assert world.core.registered == {"alice": 2}
    assert bind(world, 1, "alice", "*", cseq=10, extra="Expires: 0\r\n").status == 200
    assert world.core.registered == {}


def test_an_old_sequence_number_changes_nothing() -> None:
    world = World()
    world.open(1)
    assert bind(world, 1, "alice", "<sip:a@x.invalid>", cseq=5).status == 200
    assert bind(world, 1, "alice", "<sip:a@x.invalid>;expires=0", cseq=5).status == 500
    assert world.core.registered == {"alice": 1}


@pytest.mark.parametrize(
    ("user", "password", "to", "extra", "status"),
    [
        ("alice", "wrong", None, "", 401),
        ("alice", None, f"<sip:bob@{REALM}>", "", 403),
        ("alice", None, "<sip:alice@elsewhere.example>", "", 404),
        ("alice", None, "<tel:+123>", "", 400),
        ("alice", None, None, "Require: magic\r\n", 420),
    ],
)
def test_registrations_that_are_refused(
    user: str, password: str | None, to: str | None, extra: str, status: int
) -> None:
    world = World()
    world.open(1)
    data = register(user, "<sip:a@x.invalid>", to=to, extra=extra)
    assert world.ask(1, with_credentials(world, 1, data, user, password)).status == status
    assert world.core.registered == {}


def test_credentials_serve_once() -> None:
    world = World()
    world.open(1)
    data = with_credentials(world, 1, register("alice", "<sip:a@x.invalid>"), "alice")
    assert world.ask(1, data).status == 200
    again = world.ask(1, data)
    assert again.status == 401 and "stale=true" in again.headers.raw("WWW-Authenticate")[0]


def test_bindings_have_limits_and_end_with_their_connection() -> None:
    world = World(max_bindings=3)
    for flow in (1, 2):
        world.open(flow)
    many = " ".join(f"<sip:{n}@x.invalid>" for n in range(11))
    assert bind(world, 1, "alice", many).status == 503
    assert bind(world, 1, "alice", "<sip:1@x.invalid> <sip:2@x.invalid>", cseq=2).status == 200
    assert bind(world, 2, "bob", "<sip:1@y.invalid> <sip:2@y.invalid>").status == 503
    assert bind(world, 2, "bob", "<sip:1@y.invalid>", cseq=2).status == 200
    world.server(i.FlowClosed(flow=1))
    assert world.core.registered == {"bob": 1}


def test_nobody_takes_the_contact_of_another() -> None:
    world = World()
    for flow in (1, 2):
        world.open(flow)
    assert bind(world, 1, "bob", "<sip:b@y.invalid>").status == 200
    assert bind(world, 2, "mallory", "<sip:b@y.invalid;transport=ws>").status == 403


# -- the relay -------------------------------------------------------------------------------------------------------


def call(world: World) -> str:
    """alice calls bob on flows 1 and 2; the name of the call at bob's side."""
    world.command(1, i.Invite, call="c", target=BOB, body=OFFER)
    incoming = world.last(2, o.IncomingCall)
    assert isinstance(incoming, o.IncomingCall)
    return incoming.call


def test_a_call_is_relayed_from_its_invite_to_its_bye() -> None:
    world = World()
    world.connect(1, "alice", register=False)
    world.connect(2, "bob")
    theirs = call(world)
    assert isinstance(world.last(1, o.CallStarted), o.CallStarted)
    world.command(2, i.Answer, call=theirs, body=OFFER)
    assert world.last(1, o.CallEstablished) and world.last(2, o.CallEstablished)
    world.command(1, i.SendInfo, call="c", content_type="text/plain", body=b"x")
    assert isinstance(world.last(2, o.InfoReceived), o.InfoReceived)
    world.command(2, i.SendInfo, call=theirs, content_type="text/plain", body=b"y")
    assert isinstance(world.last(1, o.InfoReceived), o.InfoReceived)
    world.command(2, i.HangUp, call=theirs)
    assert isinstance(world.last(1, o.CallEnded), o.CallEnded)
    world.pass_time(40.0)
    for flow in (1, 2):
        assert world.agents[flow].retained["dialogs"] == world.agents[flow].retained["transactions"] == 0
    assert not [x for flow in (1, 2) for x in world.seen[flow] if isinstance(x, o.ProtocolViolated)]


def test_a_cancel_finds_its_invite_even_when_the_callee_has_refreshed() -> None:
    world = World()
    world.connect(1, "alice")
    world.connect(3, "bob")
    world.connect(2, "bob")  # the newest one rings
    theirs = call(world)
    world.command(3, i.Register)
    world.command(1, i.HangUp, call="c")
    ended = world.last(2, o.CallEnded)
    assert isinstance(ended, o.CallEnded) and ended.call == theirs and ended.cause is o.Cause.CANCELED
    world.pass_time(40.0)
    assert world.agents[2].retained["transactions"] == world.agents[1].retained["transactions"] == 0


def test_what_the_callee_gets_and_what_not() -> None:
    world = World()
    for flow in (1, 2):
        world.open(flow)
    bind(world, 2, "bob", "<sip:b@y.invalid>")
    data = with_credentials(world, 1, request("MESSAGE", BOB, extra="Route: <sip:test.invalid;lr>\r\n"), "alice")
    assert world.send(1, data) == []
    message = world.raw[2][-1]
    assert isinstance(message, Request) and message.target == "sip:b@y.invalid"
    assert message.headers.raw("Max-Forwards") == ("69",) and len(message.headers.all(fields.VIA)) == 2
    assert "Proxy-Authorization" not in message.headers, "with it the callee could guess alice's password"
    assert "Route" not in message.headers


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("MESSAGE", f"sip:nobody@{REALM}"), 404),
        (request("MESSAGE", f"sip:mallory@{REALM}"), 480),
        (request("MESSAGE", "sip:x@elsewhere.example"), 404),
        (request("MESSAGE", BOB).replace(b"Max-Forwards: 70", b"Max-Forwards: 0"), 483),
        (request("MESSAGE", BOB, from_=f"<sip:bob@{REALM}>"), 403),
        (request("MESSAGE", BOB, from_="<sip:alice@bank.example>"), 403),
        (request("MESSAGE", BOB, from_="<tel:+123>"), 403),
    ],
)
def test_what_a_known_user_may_not_or_cannot(data: bytes, status: int) -> None:
    world = World()
    for flow in (1, 2):
        world.open(flow)
    bind(world, 2, "bob", "<sip:b@y.invalid>")
    before = len(world.raw[2])
    assert world.ask(1, with_credentials(world, 1, data, "alice")).status == status
    assert len(world.raw[2]) == before


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("INVITE", BOB), 407),
        (request("MESSAGE", BOB), 407),
        (request("INVITE", f"sip:600@{REALM}"), 407),
        (request("INVITE", "tel:+600"), 416),
        (request("BYE", BOB, to=f"<{BOB}>;tag=x"), 407),
        (request("INFO", "sip:b@y.invalid", to=f"<{BOB}>;tag=x"), 407),
        (request("CANCEL", BOB), 403),
        (request("ACK", BOB), None),
        (request("OPTIONS", f"sip:{REALM}"), 200),
    ],
)
def test_an_unknown_connection_reaches_nobody(data: bytes, status: int | None) -> None:
    world = World()
    for flow in (1, 2):
        world.open(flow)
    bind(world, 2, "bob", "<sip:b@y.invalid>")
    before = len(world.raw[2])
    answers = world.send(1, data)
    assert [x.status for x in answers if isinstance(x, Response)] == ([] if status is None else [status])
    assert len(world.raw[2]) == before


def test_forged_responses_reach_nobody() -> None:
    """Also a registered user, who has seen what our Via looks like, cannot answer for another."""
    world = World()
    for flow in (1, 2, 3):
        world.open(flow)
    bind(world, 2, "bob", "<sip:b@y.invalid>")
    bind(world, 3, "mallory", "<sip:m@z.invalid>")
    world.send(1, with_credentials(world, 1, request("MESSAGE", BOB), "alice"))
    seen = world.raw[2][-1]
    vias = seen.headers.raw("Via")

    def answer(*lines: str) -> bytes:
        text = "".join(f"Via: {line}\r\n" for line in lines)
        rest = f"From: <sip:alice@{REALM}>;tag=talice\r\nTo: <{BOB}>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n"
        return f"SIP/2.0 200 OK\r\n{text}{rest}Content-Length: 0\r\n\r\n".encode()

    before = len(world.raw[1])
    world.send(3, answer(*vias))  # by another connection
    world.send(2, answer(vias[0].replace("flow=1", "flow=3"), vias[1]))
    for bad in ("flow=x", "flow=", "flow=99999999999999", "flow=-1", "flow=\u0661", "x"):
        world.send(2, answer(vias[0].replace("flow=1", bad), vias[1]))
    world.send(2, answer(vias[0]))
    world.send(2, answer(vias[0], "garbage"))
    world.send(2, answer("SIP/2.0/WS foreign.invalid;branch=z9hG4bKx", vias[1]))
    assert len(world.raw[1]) == before and len(world.raw[3]) == 2
    world.send(2, answer(*vias))
    assert len(world.raw[1]) == before + 1


# -- the focus -------------------------------------------------------------------------------------------------------


def focus_state(world: World) -> tuple[int, ...]:
    return tuple(world.core._focus.retained.values())


def test_refused_calls_to_the_focus_leave_nothing() -> None:
    """Whatever the reason: a body that is no SDP, an extension, no Contact, compact or odd header names, no service."""
    world = World(CAPABILITIES)
    world.open(1)
    invite = request("INVITE", f"sip:600@{REALM}", extra="Contact: <sip:a@x.invalid>\r\n")
    for number, data in enumerate(
        [
            invite.replace(b"Contact: <sip:a@x.invalid>\r\n", b""),
            invite.replace(b"Max-", b"Require: magic\r\nMax-"),
            invite.replace(b"Call-ID:", b"i:"),
            invite.replace(b"Call-ID:", b"CALL-id:"),
            request("INVITE", f"sip:600@{REALM}", extra="Contact: <sip:a@x>\r\nContent-Type: text/x\r\n", body="x"),
            request(
                "INVITE", f"sip:600@{REALM}", extra="Contact: <sip:a@x>\r\nContent-Type: application/sdp\r\n", body="x"
            ),
            request("MESSAGE", f"sip:600@{REALM}"),
        ]
    ):
        data = data.replace(b"c1", b"call%d" % number).replace(b"bKb1", b"bK%d" % number)
        first = with_credentials(world, 1, data, "alice")
        for answer in world.send(1, first):
            assert isinstance(answer, Response)
            if answer.status >= 300 and answer.headers.require(fields.CSEQ).method == "INVITE":
                head = first.replace(b"INVITE sip", b"ACK sip").replace(b"1 INVITE", b"1 ACK")
                tag = answer.headers.require(fields.TO).tag or ""
                world.send(1, head.replace(b"To: <sip:600@test.invalid>", f"To: <sip:600@{REALM}>;tag={tag}".encode()))
        for _ in list(world.core._focus.agent.calls):  # the ones without an offer wait for the media engine
            opened = next(x for x in reversed(world.told) if isinstance(x, OpenMedia))
            world.server(MediaFailed(request=opened.request, error="no media here"))
    world.pass_time(40.0)
    world.pass_time(40.0)
    assert set(focus_state(world)) == {0}


def test_many_calls_with_the_focus_leave_nothing() -> None:
    world = World()  # without media the focus refuses: what counts is that all of it is forgotten
    world.connect(1, "alice")
    for number in range(50):
        world.command(1, i.Invite, call=f"c{number}", target=f"sip:600@{REALM}", body=OFFER)
        ended = world.last(1, o.CommandFailed)
        assert isinstance(ended, o.CommandFailed) and ended.status == 480
    assert {world.core._focus.retained[name] for name in ("focus_dialogs", "focus_calls", "outcomes")} == {0}
    world.pass_time(40.0)
    assert set(focus_state(world)) == {0}
    assert world.core._flows.keys() == {1}


def test_strangers_cannot_make_it_hold_anything() -> None:
    world = World()
    world.open(1)
    for number in range(300):
        branch = f"x{number}"
        for data in (
            request("INVITE", f"sip:600@{REALM}", branch=branch, call_id=branch),
            request("INVITE", "tel:1", branch=branch, call_id=branch),
            request("OPTIONS", f"sip:{REALM}", branch=branch, call_id=branch),
            request("CANCEL", f"sip:600@{REALM}", branch=branch, call_id=branch),
            request("ACK", f"sip:600@{REALM}", branch=branch, call_id=branch),
            register("alice", "<sip:a@x.invalid>", branch=branch),
        ):
            world.send(1, data)
    assert set(focus_state(world)) == {0}
    assert len(world.core._digest._used) == 0


def test_a_known_call_id_is_no_way_around_the_password() -> None:
    world = World()
    world.core._focus.dialogs.add(("c1", "talice"))
    world.open(1)
    assert world.ask(1, request("INVITE", f"sip:600@{REALM}", call_id="c1")).status == 407
    assert world.ask(1, register("alice", "<sip:a@x.invalid>").replace(b"reg-alice", b"c1")).status == 401


def test_the_service_is_that_of_the_request_uri() -> None:
    from sipproto_server import PrepareMedia

    world = World(CAPABILITIES)
    world.open(1)
    extra = "Contact: <sip:a@x.invalid>\r\n"
    data = request("INVITE", f"sip:600@{REALM}", to=f"<sip:700@{REALM}>", extra=extra)
    world.send(1, with_credentials(world, 1, data, "alice"))
    prepared = [x.service.kind for x in world.told if isinstance(x, PrepareMedia)]
    assert prepared == ["echo"]


# -- anything at all -------------------------------------------------------------------------------------------------

SEEDS = [
    request(
        "INVITE", BOB, extra="Contact: <sip:a@x.invalid>\r\nContent-Type: application/sdp\r\n", body=OFFER.decode()
    ),
    request("INVITE", f"sip:600@{REALM}", extra="Contact: <sip:a@x.invalid>\r\n"),
    request("BYE", "sip:b@y.invalid", to=f"<{BOB}>;tag=x"),
    request("CANCEL", BOB),
    request("OPTIONS", f"sip:{REALM}"),
    register("alice", '<sip:a@x.invalid>;expires=60;+sip.instance="<urn:x>";reg-id=1'),
    (
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK1;flow=1, SIP/2.0/WS y.invalid;branch=z9hG4bK2\r\n"
        b"From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ),
]


@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 8), st.binary(max_size=8)), max_size=4),
    known=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_malformed_input_never_raises(seed: int, edits: list[tuple[int, int, bytes]], known: bool) -> None:
    world = World(CAPABILITIES)
    world.core._flows.clear()
    world.open(1)
    world.core._flows[1].proven = known
    via = world.core._via_host.encode()
    data = SEEDS[seed].replace(b"x.invalid", via)
    if known:  # past the password, where the interesting code is
        data = with_credentials(world, 1, data, "alice") if seed in (0, 1) else data
    for where, cut, what in edits:
        where %= len(data) + 1
        data = data[:where] + what + data[where + cut :]
    for output in world.core.handle(i.DataReceived(flow=1, data=data), 1.0):
        assert output is not None
    world.core.handle(i.DataReceived(flow=1, data=data), 2.0)
    world.core.handle(i.FlowClosed(flow=1), 3.0)
    world.core.handle(i.TimeoutElapsed(), 100.0)


def test_users_of_the_rig_are_those_of_the_server() -> None:
    assert set(USERS) == {"alice", "bob", "mallory"}


def test_the_server_proves_that_it_knows_the_password() -> None:
    world = World()
    world.open(1)
    client = Authenticator((Secret(username="alice", password=USERS["alice"]),), SeededTokens(5))
    data = register("alice", "<sip:a@x.invalid>")
    asked = parse_message(data)
    assert isinstance(asked, Request)
    assert client.challenged(asked, world.ask(1, data)).outcome is AuthOutcome.RETRY

    def again(branch: str) -> Request:
        (_, value), *_ = client.credentials("REGISTER", asked.target, b"")
        octets = register("alice", "<sip:a@x.invalid>", branch=branch, cseq=int(branch))
        message = parse_message(octets.replace(b"Max-Forwards", f"Authorization: {value}\r\nMax-Forwards".encode()))
        assert isinstance(message, Request)
        return message

    request = again("2")
    answer = world.ask(1, request.to_bytes())
    assert (answer.status, client.answered(request, answer)) == (200, AnswerOutcome.PROVEN)
    world.now += 290.0  # near its end a nonce gives the next
    request = again("3")
    answer = world.ask(1, request.to_bytes())
    assert (answer.status, client.answered(request, answer)) == (200, AnswerOutcome.NEXT_NONCE)
    world.now += 290.0
    assert world.ask(1, again("4").to_bytes()).status == 200


def test_credentials_for_another_target() -> None:
    world = World()
    world.open(1)
    data = with_credentials(world, 1, register("alice", "<sip:a@x.invalid>"), "alice")
    moved = data.replace(b"REGISTER sip:", b"REGISTER sip:x@", 1)
    assert world.ask(1, moved).status == 400
    message = with_credentials(world, 1, request("MESSAGE", f"sip:bob@{REALM}"), "alice")
    assert world.ask(1, message.replace(b"MESSAGE sip:bob", b"MESSAGE sip:carol", 1)).status == 400
    assert world.core.registered == {}
