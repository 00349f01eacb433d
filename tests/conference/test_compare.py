"""The comparison sees what differs, and nothing else."""

from __future__ import annotations

import pytest

from sipproto.message import Request, parse_message

from .compare import Verdict, compare, differences
from .recorded import VERSIONS, recording

MEDIA_STATE = recording("v16").request("media state")
OFFER = recording("v16").request("presentation offer")


def changed(request: Request, old: str, new: str) -> Request:

    octets = request.to_bytes()
    assert old.encode() in octets
    message = parse_message(octets.replace(old.encode(), new.encode()))
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_equal_to_itself(version: str) -> None:
    for frame in recording(version).frames:
        assert {one.verdict for one in compare(frame.message, frame.message)} == {Verdict.EQUAL}
        assert int(frame.message.headers.first("Content-Length") or 0) == len(frame.message.body)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("INFO sip:bob@", "INFO sip:", "uri"),
        ("sip:bob@rig.test;gr=", "sip:bob@rig.test;xx=", "uri"),
        ("X-Vinteo-Mic-State: 0", "X-Vinteo-Mic-State: 1", "x-vinteo-mic-state"),
        ("X-WEBRTC-MEDIA-STATE: currentstate", "X-WEBRTC-MEDIA-STATE: CurrentState", "x-webrtc-media-state"),
        ("X-Vinteo-Mic-State: 0\r\n", "", "x-vinteo-mic-state"),
        ("Max-Forwards: 69", "Max-Forwards: 69\r\nX-Vinteo-Session: 1", "x-vinteo-session"),
        ("vinteo.webrtc.mediastate", "vinteo.webrtc.stats", "content-type"),
        ('"erin" <sip:erin@', '"eve" <sip:erin@', "from"),
        ("Content-Length: 0\r\n\r\n", "Content-Length: 4\r\n\r\ntext", "body"),
    ],
)
def test_differences(old: str, new: str, field: str) -> None:
    found = differences(changed(MEDIA_STATE, old, new), MEDIA_STATE)
    assert {one.what for one in found} == {field}


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("X-Vinteo-Mic-State:", "x-vinteo-mic-state:", Verdict.EQUAL),
        ("branch=z9hG4bK7312609", "branch=z9hG4bKother", Verdict.DYNAMIC),
        ("Call-ID: a42924", "Call-ID: another", Verdict.DYNAMIC),
        ("CSeq: 7591", "CSeq: 2", Verdict.DYNAMIC),
        ("tag=h02gq4rboa", "tag=other", Verdict.DYNAMIC),
        ("ACK,CANCEL", "CANCEL,ACK", Verdict.DYNAMIC),
        ("Max-Forwards: 69", "Max-Forwards: 70", Verdict.JUSTIFIED),
        ("Max-Forwards: 69", "Max-Forwards: 71", Verdict.DIFFERENT),
        ("branch=z9hG4bK7312609", "branch=z9hG4bKx;rport", Verdict.JUSTIFIED),
        ("branch=z9hG4bK7312609", "branch=z9hG4bKx;rport;alias", Verdict.DIFFERENT),
        ("branch=z9hG4bK7312609", "branch=z9hG4bKx;rport=1", Verdict.DIFFERENT),
        ("Supported: outbound\r\n", "", Verdict.JUSTIFIED),
        ("Supported: outbound", "Supported: timer", Verdict.DIFFERENT),
        ("User-Agent: rig-sc\r\n", "", Verdict.DIFFERENT),
        ("CSeq: 7591 INFO", "CSeq: 7591 INFO\r\nSession-Expires: 90", Verdict.DIFFERENT),
        ("CSeq: 7591 INFO", "CSeq: 7591 BYE", Verdict.DIFFERENT),
    ],
)
def test_verdicts(old: str, new: str, verdict: Verdict) -> None:
    found = {one.verdict for one in compare(changed(MEDIA_STATE, old, new), MEDIA_STATE)}
    assert found == {Verdict.EQUAL, verdict}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=mid:2\r\na=sendrecv", "a=mid:2\r\na=sendonly"),
        ("a=group:BUNDLE 0 1 2\r\n", ""),
        ("a=mid:2", "a=mid:3"),
        ("UDP/TLS/RTP/SAVPF 111", "RTP/AVP 111"),
    ],
)
def test_lines_of_a_description(old: str, new: str) -> None:
    assert "body" in {one.what for one in differences(changed(OFFER, old, new), OFFER)}


def test_codecs_are_the_engines() -> None:
    assert not differences(changed(OFFER, "111 63", "63 111"), OFFER)
