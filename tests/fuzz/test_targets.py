"""The fuzz targets over all seeds, over saved crashers, and over mutations of both from fixed seeds."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fuzz.mutators import mutate
from fuzz.targets import TARGETS
from tests.benchmarks.corpus import MESSAGES, SDP

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
    }.get(name, messages)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)
        TARGETS[name](b"")


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    random = Random(name)
    for seed in seeds(name)[:: 4 if name == "engine" else 1]:
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
