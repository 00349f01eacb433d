"""The fuzz targets over all seeds, over saved crashers, and over mutations of both from fixed seeds."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from fuzz.mutators import mutate
from fuzz.received import line_of
from fuzz.targets import TARGETS
from sipproto.agent import UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.benchmarks.corpus import MESSAGES, SDP
from tests.conference.frames import frames
from tests.conference.golden import NOTIFICATIONS
from tests.conference.golden import headers as golden_headers

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CRASHERS = sorted((Path(__file__).parent / "crashers").glob("*/*"))
TRANSCRIPT = VECTORS / "registration.transcript"
URIS = [b"sip:alice:pw@[::1]:5060;lr;transport=tcp?a=b&c=%41", b"tel:+1-201-555-0123;ext=5", b"urn:uuid:1"]
CHALLENGE = b'Digest realm="a\\"b", nonce="n", qop="auth, auth-int", algorithm=SHA-256, opaque="", stale=false'
ANSWERS = [
    b'nextnonce="n\\"2", rspauth="6629fae49393a05397450978507c4ef1", qop=auth, cnonce="c", nc=00000001',
    b'Bearer realm="r", scope="a b", authz_server="https://as.example.com", error="invalid_token"',
    (
        b'Digest username="alice", realm="r", nonce="0.aaaaaaaaaaaaa.00000000000000000000000000000000", uri="sip:example.com", '
        b'response="00", algorithm=SHA-256, qop=auth, cnonce="c", nc=00000001'
    ),
    b"Digest username*=UTF-8''%C3%A4, realm=\"r\", userhash=true",
]
_NUMBERS = itertools.count(1)


def _event_message(start: str, method: str, *lines: str) -> str:
    """A message of the peer about subscriptions. `%...%` stands for what the agent has chosen (`fuzz.targets.engine`)."""
    head = [start, *lines, f"CSeq: {next(_NUMBERS)} {method}", "Contact: <sip:c@d>", "Content-Length: 0"]
    return "\r\n".join(head) + "\r\n\r\n"


def _event_request(method: str, to_tag: str, call_id: str, *lines: str) -> str:
    return _event_message(
        f"{method} sip:bob@example.com SIP/2.0",
        method,
        f"Via: SIP/2.0/WS x.invalid;branch=z9hG4bK{next(_NUMBERS)}",
        "From: <sip:a@b>;tag=peer",
        f"To: <sip:bob@example.com>{to_tag}",
        f"Call-ID: {call_id}",
        *lines,
    )


def _event_response(status: int, method: str, *lines: str) -> str:
    return _event_message(
        f"SIP/2.0 {status} Text",
        method,
        f"Via: SIP/2.0/WS y.invalid;branch=%BRANCH-{method}%",
        "From: <sip:bob@example.com>;tag=%TAG%",
        "To: <sip:a@b>;tag=peer",
        "Call-ID: %CALL-ID%",
        *lines,
    )


def _notify(state: str) -> str:
    return _event_request("NOTIFY", ";tag=%TAG%", "%CALL-ID%", "Event: presence", f"Subscription-State: {state}")


def _subscribe(to_tag: str, expires: int) -> str:
    return _event_request("SUBSCRIBE", to_tag, "watching", "Event: presence", f"Expires: {expires}")


EVENTS = [
    "\0\0".join(messages).encode()
    for messages in (
        (_event_response(200, "SUBSCRIBE", "Expires: 60"), _notify("active;expires=60"), _notify("pending")),
        (_notify("active"), _notify("terminated;reason=probation;retry-after=5"), _notify("active")),
        (_event_response(423, "SUBSCRIBE", "Min-Expires: 900"), _event_response(481, "SUBSCRIBE")),
        (_subscribe("", 90), _event_response(200, "NOTIFY"), _subscribe(";tag=%TO-TAG%", 80)),
        (_subscribe("", 90), _subscribe(";tag=%TO-TAG%", 0), _event_response(500, "NOTIFY", "Retry-After: 5")),
        (_subscribe("", 0), _event_response(481, "NOTIFY")),
        (_event_request("NOTIFY", "", "voice-mail", "Event: message-summary"),),
        (_event_response(200, "PUBLISH", "SIP-ETag: x", "Expires: 9"), _event_response(412, "PUBLISH")),
    )
]
CONFERENCE = [frame.data for frame in frames()] + [
    _event_request("NOTIFY", "", "outside", f"X-VINTEO-NOTIFY: {value}").encode()
    for _, text in NOTIFICATIONS
    for _, value in golden_headers(text)
]
FEEDBACK = [  # sender, media, the first number, how many, when, and which of them; after a receiver report, and padded
    bytes.fromhex(octets)
    for octets in (
        "80c9000100000007 8fcd0005 00000001 00000002 0001 0002 00000109 20020408",
        "afcd0006 00000001 00000002 0001 0004 00000109 d20004fffc000003",
        "8fcd0005 00000001 00000002 0001 ffff 00000109 3fff3fff",
        "8fcd0006 00000001 00000002 0005 0007 00fffe09 bf80 04040404 0404 0400",
    )
]


def _rtp(number: int, payload_type: int, payload: bytes, timestamp: int, head: bytes = b"", marker: int = 0) -> bytes:
    """An RTP packet with one SSRC. head: its header extension."""
    flags = bytes([0x80 | (0x10 if head else 0), payload_type | marker << 7])
    return flags + struct.pack("!HLL", number % 0x10000, timestamp % (1 << 32), 7) + head + payload


def _audio() -> list[bytes]:
    ends = (0xFFF0, 1 << 32)
    speech = b"\x48\xc4" + bytes(range(1, 60))  # SILK of 20 ms, with FEC
    lines = [
        [(0.02, _rtp(ends[0] + n, 0, bytes(range(160)), ends[1] + 160 * (n - 9))) for n in range(30)],
        [(0.02, _rtp(n, 111, speech if n % 3 else b"\xfc\xff\xfe", 960 * n)) for n in range(30) if n % 7],
        [(0.4, _rtp(n, 111, b"\xf8", 19200 * n)) for n in range(6)],
        [(0.02, _rtp(n, (0, 9, 111)[n // 5 % 3], bytes([n]) * 80, 160 * n)) for n in range(30)],
    ]
    lines.append([*lines[0][:10], *_keys(10, 6), *lines[0][20:]])
    return [line_of(line) for line in lines]


def _keys(first: int, event: int, end: int = 0x8A) -> list[tuple[float, bytes]]:
    payloads = [struct.pack("!BBH", event, 10 if n < 5 else end, 960 * (n + 1)) for n in range(8)]
    return [(0.02, _rtp(first + n, 101, payload, 960 * first, marker=n == 0)) for n, payload in enumerate(payloads)]


def _pictures() -> list[bytes]:
    key = {96: b"\x10\x50\x01\x00\x9d\x01\x2a", 98: b"\x8c\x80\x01\x82\x49\x83\x42", 99: b"\x65\x88\x84"}
    key[100] = b"\x18\x0a\x0b\x00\x00\x00\x24\xc4\xff\xdf\x3c\xfe\x03\x30\x10"
    lines = [
        [(0.02, _rtp(n, kind, head + bytes(range(90)), 3000 * (n // 2), marker=n % 2)) for n in range(12)]
        for kind, head in key.items()
    ]
    return [line_of(line) for line in [*lines, list(itertools.chain(*lines))]]


EXTENDED = [  # of one octet and of two (RFC 8285 4.2, 4.3): mid, abs-send-time and the number in the transport
    b"\xbe\xde\x00\x03\x10\x30\x22\x01\x02\x03\x31\x00\x07\x00\x00\x00",
    b"\x10\x00\x00\x03\x01\x01\x30\x02\x03\x01\x02\x03\x03\x02\x00\x07",
]
RECEIVED = {
    "rtp": [_rtp(1, 111, b"payload", 1, head, 1) for head in (b"", *EXTENDED)]
    + [b"\xb2" + _rtp(1, 0, b"\1\2\3\4\5\6\7\x08" + EXTENDED[0] + b"padded\0\0\0\4", 1)[1:]],
    "payloads": [
        bytes.fromhex(octets)
        for octets in (
            "8c8001824983420102",  # VP9: a picture id; then layers, flexible with references, a structure
            "fc8001230102824983",
            "b0808101020305",
            "0a5801400168020404080102",
            "180a0b00000024c4ffdf3cfe03301001020304",  # AV1: two elements; a fragment, and its end
            "5030010203ffff9004050607",
            "1012000a0b00",
            "0000000167640c1f00000001680000000165aabb",  # H.264
        )
    ],
    "audio": _audio(),
    "pictures": _pictures(),
    "digits": [
        line_of(keys)
        for keys in (
            _keys(1, 5),
            _keys(1, 11, end=10),
            [*_keys(1, 1), *_keys(9, 2)],
            [
                (0.2, _rtp(n, 101, struct.pack("!BBH", 3, 10, 65535 if n < 3 else 900), 65535 * (n // 3)))
                for n in range(6)
            ],
        )
    ],
}
ARRIVALS = [  # two octets of number, one of time
    bytes.fromhex(octets)
    for octets in (
        "000104 000208 000604 000307 000407 fff0f7 000507",
        "fffe10 ffff10 000010 000107 0001ef 0fff07 1ffe07 2ffd0f",
        "0001ff 8000ff 000107",
    )
]
ROUNDS = {
    "engine": 12,
    "negotiation": 60,
    "message": 40,
    "stream": 40,
    "header": 1500,
    "uri": 4000,
    "sdp": 400,
    "digest": 4000,
    "trace": 150,
    "conference": 120,
    "feedback": 400,
    "rtp": 800,
    "payloads": 200,
    "audio": 25,
    "pictures": 40,
    "digits": 200,
    "arrivals": 400,
}


def seeds(name: str) -> list[bytes]:
    torture = [path.read_bytes() for path in sorted(VECTORS.rglob("*.dat"))]
    messages = [*torture, *MESSAGES.values()]
    if name == "trace":
        return [TRANSCRIPT.read_bytes(), messages[0], messages[-1]]
    return {
        "uri": URIS,
        "digest": [CHALLENGE, *ANSWERS],
        "sdp": [SDP.encode()],
        "negotiation": [SDP.encode(), b"v=0\r\nm=audio 9 RTP/SAVPF 0\r\na=rtcp-mux\r\n"],
        "header": [bytes([n]) + b'"A" <sip:a@b;c=d>;tag=e, 12 INVITE' for n in range(80)],
        "stream": [b"\x05" + message for message in messages],
        "engine": [*messages, *EVENTS],
        "conference": CONFERENCE,
        "feedback": FEEDBACK,
        **RECEIVED,
        "arrivals": ARRIVALS,
    }.get(name, messages)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)
        TARGETS[name](b"")


def test_seeds_reach_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[type] = set()
    handle = UserAgent.handle

    def noting(agent: UserAgent, what: i.Input, now: float) -> tuple[o.Output, ...]:
        out = handle(agent, what, now)
        seen.update(map(type, out))
        return out

    monkeypatch.setattr(UserAgent, "handle", noting)
    for seed in EVENTS:
        TARGETS["engine"](seed)
    assert set(get_args(o.EventEvent)) <= seen


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    random = Random(name)
    for seed in [*seeds(name)[::4], *EVENTS] if name == "engine" else seeds(name):
        for _ in range(ROUNDS[name] if len(seeds(name)) > 4 else ROUNDS[name] // 2):
            data = mutate(seed, random)
            try:
                TARGETS[name](data)
            except BaseException:
                print(name, data)
                raise


@pytest.mark.parametrize("crasher", CRASHERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_crashers_stay_fixed(crasher: Path) -> None:
    TARGETS[crasher.parent.name](crasher.read_bytes())
