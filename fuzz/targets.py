"""What is fuzzed: each target takes octets and finds fault by raising anything that is not documented.

They know nothing of a fuzzer: `run.py` feeds them through atheris, `tests/fuzz` feeds them seeds and seeded mutations.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz import received
from sipproto.agent import AgentConfig, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import ApplyMedia, MediaApplied, MediaOpened, OpenMedia
from sipproto.auth import (
    AnswerOutcome,
    Authenticator,
    BearerToken,
    DigestServer,
    Secret,
    Verdict,
    parse_bearer_challenge,
    parse_challenge,
)
from sipproto.conference import Unusable, parse_info, parse_notify, write_info
from sipproto.errors import FramingError, LocalProtocolError, MessageSyntaxError
from sipproto.media.congestion import (
    Arrivals,
    CongestionController,
    FeedbackError,
    parse_feedback,
    split_feedback,
    write_feedback,
)
from sipproto.media.congestion._feedback import TICKS
from sipproto.message import (
    AuthValue,
    Headers,
    Request,
    Response,
    StreamParser,
    fields,
    parse_auth,
    parse_message,
    parse_uri,
    validate,
)
from sipproto.message._fields import ALL_FIELDS
from sipproto.message._values import parse_auth_info
from sipproto.negotiation import LocalTransport, MediaCapabilities, NegotiationError, Negotiator
from sipproto.sdp import Codec, Direction, codecs_of, direction_of, extensions_of, parse_sdp, ssrcs_of, transport_of
from sipproto.tokens import SeededTokens
from sipproto.trace import Recorder, TranscriptError, TranscriptLimits, diff, ladder, pcap, read_transcript, replay

PASSWORD = Secret(username="alice", password="secret")
Target = Callable[[bytes], None]
CAPABILITIES = MediaCapabilities(
    audio=(
        Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
        Codec(payload_type=0, name="PCMU", clock_rate=8000),
    ),
    video=(
        Codec(payload_type=96, name="VP8", clock_rate=90000),
        Codec(payload_type=97, name="rtx", clock_rate=90000, parameters="apt=96"),
    ),
    audio_extensions=("urn:ietf:params:rtp-hdrext:sdes:mid",),
)
_TRACE_LIMITS = TranscriptLimits(max_size=64 * 1024, max_steps=200)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def message(data: bytes) -> None:
    """A whole message: a documented error, or a message that survives being written and read again."""
    try:
        parsed = parse_message(data)
    except MessageSyntaxError:
        return
    validate(parsed)
    for field in ALL_FIELDS.values():
        parsed.headers.get(field)
        parsed.headers.entries(field)
    again = parse_message(parsed.to_bytes())
    assert again.headers == parsed.headers
    assert again.body == parsed.body


def header(data: bytes) -> None:
    """One field: the first octet chooses which."""
    if not data:
        return
    chosen = list(ALL_FIELDS.values())[data[0] % len(ALL_FIELDS)]
    text = _text(data[1:])
    try:
        value = chosen.parse(text)
    except MessageSyntaxError:
        return
    if isinstance(value, str | int | tuple | AuthValue):  # these have no text form of their own
        return
    try:
        written = str(value)
    except LocalProtocolError:
        return  # it holds a control character, which is never written
    assert str(chosen.parse(written)) == written


def uri(data: bytes) -> None:
    try:
        value = parse_uri(_text(data))
    except MessageSyntaxError:
        return
    again = parse_uri(str(value))
    assert again == value
    assert value.equivalent(again)


def sdp(data: bytes) -> None:
    try:
        parsed = parse_sdp(data)
    except MessageSyntaxError:
        return
    assert parsed.to_bytes() == data
    for media in parsed.media:
        codecs_of(media)
        direction_of(parsed, media)
        extensions_of(parsed, media)
        ssrcs_of(media)
        transport_of(parsed, media)


def digest(data: bytes) -> None:
    """A challenge, answered, or what a server says after an answer: by what the text is readable as."""
    text = _text(data)
    _challenge(text)
    _authentication_info(text)
    try:
        value = parse_auth(text)
    except MessageSyntaxError:
        return
    request = Request("REGISTER", "sip:example.com", Headers(), b"body")
    try:
        headers = Headers([("Authorization", text)])
    except LocalProtocolError:
        return
    server = DigestServer(
        value.params.get("realm") or "", lambda _: PASSWORD, SeededTokens(1), lookup_hash=lambda _: None
    )
    check = server.check(Request(request.method, request.target, headers, request.body), 1.0)
    assert check.verdict is not Verdict.OK  # nobody can know a nonce of this server


def _challenge(text: str) -> None:
    """The credentials for a challenge must be readable again."""
    try:
        value = parse_auth(text)
        challenge = parse_bearer_challenge(value) if value.scheme.lower() == "bearer" else parse_challenge(value)
    except MessageSyntaxError:
        return
    authenticator = Authenticator((PASSWORD, BearerToken(token="t0ken=")), SeededTokens(1))
    request = Request("OPTIONS", "sip:a")
    try:
        response = Response(401, "", Headers([("WWW-Authenticate", challenge)]))
    except LocalProtocolError:
        return  # a line end in the realm or nonce
    again = parse_auth(response.headers.raw("WWW-Authenticate")[0])
    assert (parse_bearer_challenge(again) if value.scheme.lower() == "bearer" else parse_challenge(again)) == challenge
    authenticator.challenged(request, response, secure=True)
    for _, credentials in authenticator.credentials("OPTIONS", "sip:a", b"", secure=True):
        assert parse_auth(credentials).params.get("realm") in (challenge.realm, None)


def _authentication_info(text: str) -> None:
    """It is read as it was written, and no text that a fuzzer finds is a proof."""
    try:
        info = parse_auth_info(text)
        written = str(info)
    except (MessageSyntaxError, LocalProtocolError):
        return
    assert parse_auth_info(written) == info
    authenticator = Authenticator((PASSWORD,), SeededTokens(1))
    challenge = Headers([("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')])
    authenticator.challenged(Request("OPTIONS", "sip:a"), Response(401, "", challenge))
    request = Request("OPTIONS", "sip:a", Headers(authenticator.credentials("OPTIONS", "sip:a", b"")))
    try:
        response = Response(200, "", Headers([("Authentication-Info", info)]))
    except LocalProtocolError:
        return
    outcome = authenticator.answered(request, response)
    assert outcome is not AnswerOutcome.PROVEN
    if info.rspauth is not None:
        assert outcome is AnswerOutcome.WRONG_PROOF
    authenticator.credentials("OPTIONS", "sip:a", b"")


def stream(data: bytes) -> None:
    """However a stream is cut, the same comes out of it. The first octet chooses the cut."""
    if not data:
        return
    size, data = 1 + data[0] % 64, data[1:]
    assert _read(data, len(data) or 1) == _read(data, size)


def _read(data: bytes, size: int) -> list[object]:
    parser = StreamParser()
    out: list[object] = []
    try:
        for start in range(0, len(data), size):
            out += parser.feed(data[start : start + size])
    except FramingError as error:
        return [*out, *error.before, error.fault]
    return [*out, parser.buffered]


def negotiation(data: bytes) -> None:
    """A peer's offer, a second one that restarts ICE and, for offers of ours, its answer."""
    local = LocalTransport(ice_ufrag="u", ice_pwd="p" * 22, candidates=(), fingerprint=("sha-256", "AA:BB"))
    other = LocalTransport(ice_ufrag="v", ice_pwd="q" * 22, candidates=(), fingerprint=("sha-256", "AA:BB"))
    wanted = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
    callee = Negotiator(CAPABILITIES, SeededTokens(1))
    for offer, transport in ((data, local), (data.replace(b"ice-ufrag:", b"ice-ufrag:x"), other)):
        try:
            callee.receive_offer(offer, wanted)
        except NegotiationError:
            continue
        for slot in (*callee.missing_slots(), *callee.restart_slots()):
            callee.add_transport(slot, transport)
        answer, _ = callee.create_answer()
        parse_sdp(answer.to_bytes())
        callee.restart_ice()
        for slot in callee.restart_slots():
            callee.add_transport(slot, other)
        callee.create_offer()
        try:
            callee.receive_answer(data)
        except NegotiationError:
            callee.rollback()
    caller = Negotiator(CAPABILITIES, SeededTokens(2))
    for kind, _ in wanted:
        caller.add_line(kind)
    for slot in caller.missing_slots():
        caller.add_transport(slot, local)
    caller.create_offer()
    try:
        caller.receive_answer(data)
    except NegotiationError:
        caller.rollback()


def engine(data: bytes) -> None:
    """A peer that says anything at any time: messages are cut at NUL NUL, and time goes by between them."""
    agent = UserAgent(
        AgentConfig(
            aor="sip:bob@example.com",
            any_user=True,
            capabilities=CAPABILITIES,
            recovery=Recovery(reconnect=False),
            events=("presence", "reg"),
            tokens=SeededTokens(1),
        )
    )
    now = 0.0
    agent.handle(i.Connect(command=1, server="ws://x"), now)
    agent.handle(i.FlowOpened(flow=1, transport="UDP" if data[:1] > b"\x7f" else "WS"), now)
    agent.handle(i.Invite(command=2, call="c", target="sip:a@b", media=(("audio", Direction.SENDRECV),)), now)
    # What the agent has chosen, no mutation would find: the peer has names for it.
    subscribe = i.Subscribe(command=3, subscription="s", target="sip:a@b", event="presence", expires=120)
    publish = i.Publish(
        command=4, publication="p", target="sip:bob@b", event="presence", content_type="text/plain", body=b"x"
    )
    names: dict[str, str] = {}
    _obey(agent, agent.handle(subscribe, now), now, 5, names)
    _obey(agent, agent.handle(publish, now), now, 6, names)
    for number, piece in enumerate(data.split(b"\0\0")[:32]):
        for name, value in names.items():
            piece = piece.replace(name.encode(), value.encode("utf-8", "surrogateescape"))
        outputs = agent.handle(i.DataReceived(flow=1, data=piece), now)
        _obey(agent, outputs, now, 100 + 10 * number, names)
        now += (len(piece) % 7) * 0.4
        _obey(agent, agent.handle(i.TimeoutElapsed(), now), now, 10_000 + number, names)
    for _ in range(40):  # everything ends by itself
        now += 20.0
        agent.handle(i.TimeoutElapsed(), now)
    agent.handle(i.FlowClosed(flow=1), now)
    agent.handle(i.TimeoutElapsed(), now + 100)
    agent.handle(i.TimeoutElapsed(), now + 200)
    assert not any(agent.retained.values()), agent.retained


def _names(output: o.SendData) -> dict[str, str]:
    """What a peer has to repeat, by the names that it has for it: of our newest SUBSCRIBE, NOTIFY, PUBLISH and 2xx."""
    try:
        sent = parse_message(output.data)
        cseq, via = sent.headers.require(fields.CSEQ), sent.headers.require(fields.VIA)
        tags = [sent.headers.require(which).tag or "" for which in (fields.FROM, fields.TO)]
    except MessageSyntaxError:
        return {}  # a keep-alive, or the answer to a malformed request with its headers in it
    if isinstance(sent, Response):
        return {"%TO-TAG%": tags[1]} if cseq.method == "SUBSCRIBE" and sent.status == 200 else {}
    out = {f"%BRANCH-{cseq.method}%": via.branch or ""}
    if cseq.method == "SUBSCRIBE":
        out |= {"%TAG%": tags[0], "%CALL-ID%": sent.headers.require(fields.CALL_ID)}
    return out


def _obey(agent: UserAgent, outputs: tuple[o.Output, ...], now: float, command: int, names: dict[str, str]) -> None:
    local = LocalTransport(ice_ufrag="u", ice_pwd="p" * 22, candidates=(), fingerprint=("sha-256", "AA:BB"))
    for output in outputs:
        match output:
            case OpenMedia(request=request, slots=slots):
                opened = MediaOpened(request=request, transports=tuple((slot, local) for slot in slots))
                _obey(agent, agent.handle(opened, now), now, command + 1, names)
            case ApplyMedia(request=request):
                agent.handle(MediaApplied(request=request), now)
            case o.IncomingCall(call=call):
                media = (("audio", Direction.SENDRECV),)
                answer = i.Answer(command=command, call=call, media=media)
                _obey(agent, agent.handle(answer, now), now, command + 1, names)
            case o.SubscribeReceived(subscription=name):
                accept = i.AcceptSubscription(command=command, subscription=name, content_type="text/plain", body=b"x")
                _obey(agent, agent.handle(accept, now), now, command + 1, names)
            case o.SubscriptionRefreshed(subscription=name):
                notify = i.Notify(command=command, subscription=name)
                _obey(agent, agent.handle(notify, now), now, command + 1, names)
            case o.SendData():
                names |= _names(output)
            case _:
                pass


def trace(data: bytes) -> None:
    """A transcript: a documented error, or one that can be shown; and what is recorded of any octets reads back."""
    for partial in (False, True):
        try:
            transcript = read_transcript(data, limits=_TRACE_LIMITS, partial=partial)
        except TranscriptError:
            continue
        ladder(transcript)
        b"".join(pcap(transcript))
        assert diff(transcript, transcript) == []
    pieces: list[str] = []
    recorder = Recorder(pieces.append, AgentConfig(aor="sip:bob@example.com", tokens=SeededTokens(1)))
    agent = UserAgent(recorder.config)
    for flow, transport in ((-1, "WS"), (-2, "TCP")):
        recorder.handle(agent, i.FlowOpened(flow=flow, transport=transport, local=("192.0.2.1", 5060)), 0.0)
        for start in range(0, len(data), 1000):
            recorder.handle(agent, i.DataReceived(flow=flow, data=data[start : start + 1000]), 0.5)
    recorder.finish()
    result = replay(read_transcript("".join(pieces)))
    assert result.equal, result.first


def conference(data: bytes) -> None:
    """A message of a conference server or of its client: what can be read of it can be written, and means the same."""
    try:
        headers = parse_message(data).headers
    except MessageSyntaxError:
        return
    kinds = {headers.first("Content-Type") or "", "application/vinteo.webrtc.roomname"}
    found = [each for kind in kinds for each in parse_info(kind, headers)]
    for said in (*found, parse_notify(headers)):
        if isinstance(said, Unusable):
            assert said.detail.isprintable()
        elif said is not None:
            info = write_info(said)
            assert parse_info(info.content_type, Headers(info.headers)) == (said,)


def feedback(data: bytes) -> None:
    """RTCP of a peer: transport-wide feedback that can be read moves an estimate within its bounds, and nothing is lost."""
    found, rest = split_feedback(data)
    assert len(rest) + sum(map(len, found)) == len(data)
    controller, now = CongestionController(), 0.0
    for one in (*found, data):
        controller.want(5_000_000, now)
        probe = next(iter(controller.take_probes()), None)
        for _ in range(10):
            controller.sent(1000, now, payload=900, probe=probe)
            now += 0.01
        try:
            told = parse_feedback(one)
        except FeedbackError:
            continue
        assert len(told.arrivals) <= min(told.packets, len(one))
        assert parse_feedback(write_feedback(told)) == told
        controller.feedback(told, now)
        assert 30_000 <= controller.estimate <= 100_000_000
        assert 0 <= controller.for_pictures <= controller.estimate


def arrivals(data: bytes) -> None:
    """Packets of a peer, each two octets of number and one of time: what is told of them is what arrived, and not too much."""
    told, now, moments = Arrivals(1), 1000.0, dict[int, set[int]]()
    for place in range(0, len(data) - 2, 3):
        number, step = int.from_bytes(data[place : place + 2], "big"), data[place + 2]
        now += step / 4000 if step < 0xF0 else step / 100
        told.arrived(number, 2, 1000, now)
        moments.setdefault(number, set()).add(int(now * TICKS))
        if step % 8 == 7:
            _told(told.feedback(now), moments)
            told = Arrivals(1) if step == 0xFF else told
    _told(told.feedback(now), moments)


def _told(messages: list[bytes], moments: dict[int, set[int]]) -> None:
    packets = 0
    for one in messages:
        message = parse_feedback(one)
        packets += message.packets
        assert len(one) < 1200
        for place, ticks in message.arrivals:
            assert message.reference_ticks + ticks in moments[(message.base + place) & 0xFFFF]
    assert packets <= 8192


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        message,
        header,
        uri,
        sdp,
        digest,
        stream,
        negotiation,
        engine,
        trace,
        conference,
        feedback,
        arrivals,
        *(received.rtp, received.payloads, received.audio, received.pictures, received.digits),
    )
}
