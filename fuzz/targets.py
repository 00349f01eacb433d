"""What is fuzzed: each target takes octets and finds fault by raising anything that is not documented.

They know nothing of a fuzzer: `run.py` feeds them through atheris, `tests/fuzz` feeds them seeds and seeded mutations.
"""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent import AgentConfig, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import ApplyMedia, MediaApplied, MediaOpened, OpenMedia
from sipproto.auth import Authenticator, Secret, parse_challenge
from sipproto.errors import FramingError, LocalProtocolError, MessageSyntaxError
from sipproto.message import (
    AuthValue,
    Request,
    Response,
    StreamParser,
    parse_auth,
    parse_message,
    parse_uri,
    validate,
)
from sipproto.message._fields import ALL_FIELDS
from sipproto.negotiation import LocalTransport, MediaCapabilities, NegotiationError, Negotiator
from sipproto.sdp import Codec, Direction, codecs_of, direction_of, extensions_of, parse_sdp, ssrcs_of, transport_of
from sipproto.tokens import SeededTokens
from sipproto.trace import Recorder, TranscriptError, TranscriptLimits, diff, ladder, pcap, read_transcript, replay

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
    """A challenge, answered: the credentials must be readable again."""
    try:
        challenge = parse_challenge(parse_auth(_text(data)))
    except MessageSyntaxError:
        return
    secrets = (Secret(username="alice", password="secret"),)
    authenticator = Authenticator(secrets, SeededTokens(1))
    request = parse_message(b"OPTIONS sip:a SIP/2.0\r\n\r\n")
    assert isinstance(request, Request)
    try:
        head = b"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: " + str(challenge).encode("utf-8", "surrogateescape")
    except LocalProtocolError:
        return  # a control character in the realm or nonce
    response = parse_message(head + b"\r\n\r\n")
    assert isinstance(response, Response)
    authenticator.challenged(request, response)
    for _, value in authenticator.credentials("OPTIONS", "sip:a", b""):
        assert parse_auth(value).params.get("realm") == challenge.realm


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
    """A peer's offer and, for ours, its answer."""
    local = LocalTransport(ice_ufrag="u", ice_pwd="p" * 22, candidates=(), fingerprint=("sha-256", "AA:BB"))
    wanted = {"audio": Direction.SENDRECV, "video": Direction.SENDRECV}
    callee = Negotiator(CAPABILITIES, SeededTokens(1))
    try:
        callee.receive_offer(data, wanted)
    except NegotiationError:
        pass
    else:
        for slot in callee.missing_slots():
            callee.add_transport(slot, local)
        answer, _ = callee.create_answer()
        parse_sdp(answer.to_bytes())
    caller = Negotiator(CAPABILITIES, SeededTokens(2))
    for kind in wanted:
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
        AgentConfig(aor="sip:bob@example.com", any_user=True, capabilities=CAPABILITIES, tokens=SeededTokens(1))
    )
    now = 0.0
    agent.handle(i.Connect(command=1, server="ws://x"), now)
    agent.handle(i.FlowOpened(flow=1, transport="UDP" if data[:1] > b"\x7f" else "WS"), now)
    agent.handle(i.Invite(command=2, call="c", target="sip:a@b", media=(("audio", Direction.SENDRECV),)), now)
    for number, piece in enumerate(data.split(b"\0\0")[:32]):
        outputs = agent.handle(i.DataReceived(flow=1, data=piece), now)
        _obey(agent, outputs, now, 100 + 10 * number)
        now += (len(piece) % 7) * 0.4
        _obey(agent, agent.handle(i.TimeoutElapsed(), now), now, 10_000 + number)
    for _ in range(40):  # everything ends by itself
        now += 20.0
        agent.handle(i.TimeoutElapsed(), now)
    agent.handle(i.FlowClosed(flow=1), now)
    agent.handle(i.TimeoutElapsed(), now + 100)
    assert not any(agent.retained.values()), agent.retained


def _obey(agent: UserAgent, outputs: tuple[o.Output, ...], now: float, command: int) -> None:
    local = LocalTransport(ice_ufrag="u", ice_pwd="p" * 22, candidates=(), fingerprint=("sha-256", "AA:BB"))
    for output in outputs:
        match output:
            case OpenMedia(request=request, slots=slots):
                opened = MediaOpened(request=request, transports=tuple((slot, local) for slot in slots))
                _obey(agent, agent.handle(opened, now), now, command + 1)
            case ApplyMedia(request=request):
                agent.handle(MediaApplied(request=request), now)
            case o.IncomingCall(call=call):
                media = (("audio", Direction.SENDRECV),)
                _obey(agent, agent.handle(i.Answer(command=command, call=call, media=media), now), now, command + 1)
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


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (message, header, uri, sdp, digest, stream, negotiation, engine, trace)
}
