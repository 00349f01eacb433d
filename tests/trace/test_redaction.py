"""No secret gets into a transcript, and one without secrets still replays."""

from __future__ import annotations

import pytest
from attrs import evolve, field, frozen

from sipproto.agent import AgentConfig, Output
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.conference import EnterRoom, ParticipantTokenIssued, write_info, write_notify
from sipproto.errors import Fault
from sipproto.negotiation import LocalTransport
from sipproto.sdp import Direction
from sipproto.trace import Recorder, Redactor, describe, replay
from tests.sim.network import CAPABILITIES, Link
from tests.trace.rig import Recorded, RecordedPair
from tests.trace.test_replay import digest_call

SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nk=clear:{0}\r\na=key-mgmt:mikey {0}\r\n"
    "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:{0}\r\n"
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{0}|2^20|1:4;inline:{0}|2^20 KDR=1\r\na=fingerprint:sha-256 AA:BB\r\n"
    "a=setup:actpass\r\n"
)
REMOTE_KEY = "remoteRemoteRemoteRemote"
LOCAL_KEY = "localLocalLocalLocalLocal"


def message(start: str, *lines: str, body: str = "") -> bytes:
    return "\r\n".join([start, *lines, f"Content-Length: {len(body.encode())}", "", body]).encode()


def request(method: str, *lines: str, body: str = "", number: int = 1) -> bytes:
    return message(
        f"{method} sip:a@example.com SIP/2.0",
        f"Via: SIP/2.0/WS h.invalid;branch=z9hG4bK{method}{number}",
        "From: <sip:b@example.com>;tag=1",
        "To: <sip:a@example.com>",
        "Call-ID: x",
        f"CSeq: {number} {method}",
        "Contact: <sip:b@h.invalid>",
        *lines,
        body=body,
    )


def media_call(transport: str = "WS", cut: int | None = None, bodies: bool = True) -> Recorded:
    """An incoming call with media, whose octets come in pieces of `cut`."""
    agent = Recorded(AgentConfig(aor="sip:a@example.com", capabilities=CAPABILITIES), bodies=bodies)
    agent.handle(i.FlowOpened(flow=-1, transport=transport, local=("192.0.2.1", 5060)), 0.0)
    data = request(
        "INVITE",
        "Content-Type: application/sdp",
        "Proxy-Authorization: Bearer tok-12345",
        "Authorization: Basic\r\n  dXNlcjpwYXNz",
        body=SDP.format(REMOTE_KEY),
    )
    outputs: list[Output] = []
    for start in range(0, len(data), cut or len(data)):
        outputs += agent.handle(i.DataReceived(flow=-1, data=data[start : start + (cut or len(data))]), 0.5)
    call = next(out for out in outputs if isinstance(out, o.IncomingCall)).call
    outputs += agent.handle(i.Answer(command=1, call=call, media=(("audio", Direction.SENDRECV),)), 1.0)
    opened = next(out for out in outputs if isinstance(out, m.OpenMedia))
    local = LocalTransport(ice_ufrag="u", ice_pwd=LOCAL_KEY, candidates=(), fingerprint=("sha-256", "AA"))
    outputs += agent.handle(m.MediaOpened(request=opened.request, transports=((opened.slots[0], local),)), 1.5)
    applied = next(out for out in outputs if isinstance(out, m.ApplyMedia))
    assert applied.session.transports[0].remote.ice_pwd == REMOTE_KEY  # the engine itself has it
    return agent


@pytest.mark.parametrize(("transport", "cut"), [("WS", None), ("TCP", None), ("TCP", 1), ("TCP", 7), ("TLS", 100)])
def test_keys_of_media_and_tokens(transport: str, cut: int | None) -> None:
    agent = media_call(transport, cut)
    text = agent.text
    for secret in (REMOTE_KEY, LOCAL_KEY, "tok-12345", "dXNlcjpwYXNz", REMOTE_KEY[:12], LOCAL_KEY[:12]):
        assert secret not in text
    transcript = agent.transcript
    result = replay(transcript)
    assert result.equal, describe(result.first) if result.first else ""
    applied = next(out for step in transcript.steps for out in step.outputs if isinstance(out, m.ApplyMedia))
    placeholder = applied.session.transports[0].remote.ice_pwd
    assert len(placeholder) == len(REMOTE_KEY) and text.count(placeholder) > 4  # the same everywhere
    assert f"a=ice-pwd:{placeholder}" in text


def test_a_stream_cut_by_its_end_or_by_a_fault() -> None:
    for tail, closing in ((b"", True), (b"\r\n\r\n", False)):
        agent = Recorded(AgentConfig(aor="sip:a@example.com"))
        agent.handle(i.FlowOpened(flow=-1, transport="TCP", local=("192.0.2.1", 5060)), 0.0)
        for piece in (b"OPTIONS sip:a@example.com SIP/2.0\r\nAuthorization: Bea", b"rer tok-12345", tail):
            outputs = agent.handle(i.DataReceived(flow=-1, data=piece), 0.5)
        if closing:
            agent.handle(i.FlowClosed(flow=-1), 1.0)
        else:
            assert any(isinstance(out, o.CloseFlow) for out in outputs)  # no Content-Length
        assert "tok-12345" not in agent.text and "OPTIONS sip:a" in agent.text
        assert replay(agent.transcript).equal


def test_too_long_heads_of_streams_end_alike() -> None:
    agent = Recorded(AgentConfig(aor="sip:a@example.com"))
    agent.handle(i.FlowOpened(flow=-1, transport="TCP", local=("192.0.2.1", 5060)), 0.0)
    for number in range(10):
        agent.handle(i.DataReceived(flow=-1, data=b"x" * 60_000), number)
    assert any(isinstance(out, o.CloseFlow) for step in agent.transcript.steps for out in step.outputs)
    assert replay(agent.transcript).equal


def test_passwords_and_digests() -> None:
    agent = digest_call("open sesame")
    text = agent.text
    assert "sesame" not in text and "deadbeef" not in text
    assert 'response="xxxxxxxx' in text and 'password="redacted"' in text
    ready = digest_call(ha1=(("example.com", "SHA-256", "f00d" * 16),), password="x" * 9)
    assert "f00d" not in ready.text and "x" * 9 + '"' not in ready.text.split("tokens")[0]
    assert replay(ready.transcript).equal


def test_headers_of_the_application() -> None:
    agent = Recorded(AgentConfig(aor="sip:a@example.com"))
    agent.handle(i.Connect(command=1, server="wss://user:geheim1@h/ws?token=geheim2"), 0.0)
    agent.handle(i.FlowOpened(flow=1, transport="WSS"), 0.0)
    headers = (("Authorization", "Bearer geheim3-longer"), ("proxy-authorization", 'Digest response="geheim4"'))
    agent.handle(
        i.Invite(command=2, call="c", target="sip:b:geheim5@example.com", body=b"v=0\r\n", headers=headers), 0.0
    )
    agent.handle(i.SendMessage(command=3, target="sip:b@c", body=b"hi", headers=headers), 0.0)
    agent.handle(i.FlowClosed(flow=1, error="lost wss://h/?geheim6 with Bearer geheim7"), 0.0)
    assert "geheim" not in agent.text
    assert "Bearer redacted" in agent.text and "Bearer xxxxxxx" in agent.text
    assert replay(agent.transcript).equal


@pytest.mark.parametrize("bodies", [True, False])
def test_private_words_and_digits(bodies: bool) -> None:
    pair = RecordedPair(4, Link(), bodies=bodies)
    pair.call("a", "call", media=(("audio", Direction.SENDRECV),))
    pair.run(1)
    (call,) = pair.b.agent.calls
    for name, what in (
        ("b", i.Answer(command=0, call=call, media=(("audio", Direction.SENDRECV),))),
        ("a", i.SendDtmf(command=0, call="call", digits="4929,#1")),
        ("a", i.SendInfo(command=0, call="call", content_type="application/dtmf", body=b"7")),
        ("a", i.SendInfo(command=0, call="call", content_type="text/plain", body="Grüße, Anna".encode())),
        ("b", i.SendMessage(command=0, target="sip:a@example.com", body=b"call me, Bob")),
    ):
        assert pair.command(name, what) is not None
        pair.run(5)
    pair.command("a", i.HangUp(command=0, call="call"))
    pair.reconnect = False
    pair.run(200)
    for recorded in pair.recorded.values():
        transcript = recorded.transcript
        shown = recorded.text
        for words in ("Anna", "Bob", "Signal=4", "Signal=9", "Signal=#"):
            assert (words in shown) is bodies, words
        assert ('digit = "2"' in shown or 'digits = "4929,#1"' in shown) is bodies
        assert "m=audio" in shown  # session descriptions stay
        digits = [out.digit for step in transcript.steps for out in step.outputs if isinstance(out, o.DtmfReceived)]
        assert digits == [] or digits == (list("4929#17") if bodies else list("0000000"))
        result = replay(transcript)
        assert result.equal, describe(result.first) if result.first else ""


def test_covered_messages_keep_their_length() -> None:
    data = request(
        "INFO",
        'authorization :Digest username="a", response = abcdef, uri="sip:x"',
        "Proxy-Authorization: secretwithoutscheme",
        'Authentication-Info: nextnonce="keep", rspauth="cafe"',
        "Refer-To: <sip:u:pw@h>",
        "Content-Type: text/plain",
        body="private\r\na=ice-pwd:hidden\r\nv=0\r\nk=base64:hidden2",
    )
    for bodies in (True, False):
        covered = Redactor(bodies=bodies).message(data)
        assert len(covered) == len(data)
        for word in (b"abcdef", b"secretwithoutscheme", b"cafe", b":pw@", b"hidden"):
            assert word not in covered
        assert b'nextnonce="keep"' in covered and (b"private" in covered) is bodies
        again = Redactor(bodies=bodies, replaying=True)
        assert again.message(covered) == covered


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"])
@pytest.mark.parametrize("stray", [b"", b"X: a\n\nY: b\r\n"])
def test_line_ends_where_none_belong(before: bytes, stray: bytes) -> None:
    """They are ignored before a message (RFC 3261 7.5), and must not hide where its headers are."""
    start, rest = request("OPTIONS", "Authorization: Basic tok-12345", "Proxy-Authorization: Bearer tok-6789").split(
        b"\r\n", 1
    )
    for bodies in (True, False):
        agent = Recorded(AgentConfig(aor="sip:a@example.com"), bodies=bodies)
        agent.handle(i.FlowOpened(flow=-1, transport="UDP", local=("192.0.2.1", 5060)), 0.0)
        outputs = agent.handle(i.DataReceived(flow=-1, data=before + start + b"\r\n" + stray + rest), 0.5)
        assert isinstance(outputs[0], o.ProtocolViolated if stray else o.SendData)
        assert "tok-" not in agent.text
        assert replay(agent.transcript).equal


def test_messages_in_messages_and_texts() -> None:
    redactor = Redactor()
    body = b"SIP/2.0 200 OK\r\nAuthorization: Bearer tok-12345\r\n"
    info = i.SendInfo(command=1, call="c", content_type="message/sipfrag;version=2.0", body=body)
    assert b"tok-12345" not in redactor.value(info).body and len(redactor.value(info).body) == len(body)
    violated = o.ProtocolViolated(flow=1, fault=Fault.BAD_HEADER, detail='Authorization: Digest response="abcdef", x')
    assert redactor.value(violated).detail == 'Authorization: Digest response="xxxxxx", x'
    # What an application puts into a message stays, or the message would come out different.
    header = ("Call-Info", "<https://example.com/icon?size=64>;purpose=icon")
    invite = i.Invite(command=1, call="c", target="sip:a@b", headers=(header,))
    assert redactor.value(invite) == invite


def test_tokens_of_conference_servers() -> None:
    token = "eyJhbGci.Z2VoZWlt.c2ln"
    notify = write_notify(ParticipantTokenIssued(conference="1", participant="SIP/a", jwt=token))
    entered = write_info(EnterRoom(room="1", bearer_token=token))
    pair = RecordedPair(4, Link())
    pair.call("a", "call", media=(("audio", Direction.SENDRECV),))
    pair.run(1)
    (call,) = pair.b.agent.calls
    pair.command("b", i.Answer(command=0, call=call, media=(("audio", Direction.SENDRECV),)))
    pair.run(5)
    for info in (notify, entered):
        what = i.SendInfo(command=0, call=call, content_type=info.content_type, body=b"", headers=info.headers)
        assert pair.command("b", what) is not None
        pair.run(5)
    pair.reconnect = False
    pair.run(200)
    for recorded in pair.recorded.values():
        assert "x-bearer-token" in recorded.text and "ConferenceParticipantTokenIssued" in recorded.text
        assert token not in recorded.text and "redacted" in recorded.text
        result = replay(recorded.transcript)
        assert result.equal, describe(result.first) if result.first else ""
    outside = Recorded(AgentConfig(aor="sip:a@example.com"))
    outside.handle(i.FlowOpened(flow=-1, transport="WS", local=("192.0.2.1", 5060)), 0.0)
    lines = [f"{name}: {value}" for name, value in notify.headers]
    outside.handle(i.DataReceived(flow=-1, data=request("NOTIFY", "Event: x", *lines)), 0.5)
    assert "ConferenceParticipantTokenIssued" in outside.text and token not in outside.text


@pytest.mark.parametrize(
    "line",
    [
        "x-bearer-token: Bearer geheim",
        "X-BEARER-TOKEN :\r\n geheim",
        'X-VINTEO-NOTIFY: {"jwt":"geheim',
        'X-VINTEO-NOTIFY: {"jwt" : "a\\"geheim"}',
        'X-VINTEO-NOTIFY: {"jwt":"a\r\n geheim"}',
    ],
)
def test_tokens_in_any_form(line: str) -> None:
    for data in (
        request("INFO", line, "X: kept"),
        request("INFO", "Content-Type: text/plain", body=line + "\r\nX: kept"),
    ):
        covered = Redactor().message(data)
        assert b"geheim" not in covered and b"X: kept" in covered and len(covered) == len(data)
        assert Redactor(replaying=True).message(covered) == covered


def test_fields_that_are_not_shown_are_secrets() -> None:
    """`repr=False` marks them, so that a class to come needs nothing here."""

    @frozen(kw_only=True)
    class Credentials:
        user: str
        token: str = field(repr=False)
        older: tuple[str, ...] = field(default=(), repr=False)

    redactor = Redactor()
    one = redactor.value(Credentials(user="anna", token="abcdefghijkl"))
    assert one == Credentials(user="anna", token="redacted1xxx")
    assert redactor.value(one.user) == "anna"
    assert redactor.value(evolve(one, older=("abcdefghijkl", "mnopqrstuvwx"))).older == ("redacted1xxx", "redacted3xxx")
    assert redactor.value(Credentials(user="b", token="abcdefghijkl")).token == one.token
    assert redactor.value(Credentials(user="b", token="other-secret")).token != one.token


def test_secrets_without_end_are_not_all_remembered() -> None:
    redactor = Redactor()
    local = LocalTransport(ice_ufrag="u", ice_pwd="", candidates=(), fingerprint=("sha-256", "AA"))
    for number in range(10_100):
        covered = redactor.value(evolve(local, ice_pwd=f"password-{number:012}"))
    assert covered.ice_pwd == "x" * 21
    assert len(redactor._known) == 10_000


def test_a_secret_without_password_stays_one() -> None:
    pieces: list[str] = []
    Recorder(pieces.append, AgentConfig(aor="sip:a@b", secrets=(Secret(username="u", realm="r"),))).finish()
    assert "password=None" in "".join(pieces)
