"""Session descriptions: nothing lost, and what the attributes mean."""

from __future__ import annotations

import pytest

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError
from sipproto.sdp import (
    Direction,
    build_sdp,
    bundle_groups,
    codecs_of,
    direction_of,
    extensions_of,
    parse_sdp,
    ssrcs_of,
    transport_of,
)

LINES = [
    "v=0",
    "o=- 1 2 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0 1",
    "a=group:LS 0 1",
    "a=ice-ufrag:U",
    "a=ice-pwd:P",
    "a=fingerprint:SHA-256 ab:cd",
    "a=setup:ACTIVE",
    "a=recvonly",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 126 77",
    "c=IN IP4 0.0.0.0",
    "a=mid:0",
    "a=sendonly",
    "a=rtpmap:111 opus/48000/2",
    "a=fmtp:111 minptime=10; useinbandfec=1",
    "a=fmtp:200 nothing=1",
    "a=rtpmap:126 telephone-event/8000",
    "a=extmap:1 urn:a",
    "a=extmap:14/sendonly urn:b x y",
    "a=candidate:1 1 udp 1 192.0.2.1 9 typ host",
    "m=video 0 UDP/TLS/RTP/SAVPF 96 97",
    "a=mid:1",
    "a=rtpmap:96 VP8/90000",
    "a=rtcp-fb:96 nack",
    "a=rtcp-fb:* ccm fir",
    "a=rtpmap:97 rtx/90000",
    "a=fmtp:97 apt=96",
    "a=ssrc-group:FID 10 20",
    "a=ssrc:10 cname:x",
    "a=ssrc:20 cname:x",
    "a=ssrc:10 msid:y",
    "a=ssrc:4294967296 cname:x",
]
TEXT = "\r\n".join([*LINES, ""])


def test_nothing_is_lost() -> None:
    for text in (TEXT, TEXT.replace("\r\n", "\n"), TEXT.rstrip(), TEXT + "\r\n\r\n", TEXT.replace("s=-", "s=é\udcff")):
        data = text.encode("utf-8", "surrogateescape")
        sdp = parse_sdp(data)
        assert sdp.to_bytes() == data
        assert len(sdp.media) == 2
        assert [line for part in (sdp.session, *(m.section for m in sdp.media)) for line in part.lines][4:] == LINES[4:]
    assert parse_sdp(TEXT) == parse_sdp(TEXT.replace("\r\n", "\n"))
    assert build_sdp(LINES[:11], [LINES[11:22], LINES[22:]]).text == TEXT


def test_codecs() -> None:
    audio, video = parse_sdp(TEXT).media
    opus, pcmu, pcma, events = codecs_of(audio)
    assert (opus.payload_type, opus.name, opus.clock_rate, opus.channels) == (111, "opus", 48000, 2)
    assert (opus.parameter("UseInbandFec"), opus.parameter("minptime"), opus.parameter("x")) == ("1", "10", None)
    assert [(c.name, c.clock_rate) for c in (pcmu, pcma, events)] == [
        ("PCMU", 8000),
        ("PCMA", 8000),
        ("telephone-event", 8000),
    ]
    vp8, rtx = codecs_of(video)
    assert (vp8.feedback, vp8.is_rtx, vp8.apt) == (("nack", "ccm fir"), False, None)
    assert (rtx.is_rtx, rtx.apt, rtx.feedback) == (True, 96, ("ccm fir",))


def test_formats_without_a_meaning_are_left_out() -> None:
    (media,) = parse_sdp("v=0\nm=audio 1 RTP/AVP 77 0 0 128 999 x ٣ 3\na=rtpmap:x y/1\na=rtpmap:77\n").media
    assert [codec.name for codec in codecs_of(media)] == ["PCMU", "GSM"]


def test_ports() -> None:
    audio, video = parse_sdp(TEXT).media
    assert (audio.port, video.port, video.kind, video.protocol) == (9, 0, "video", "UDP/TLS/RTP/SAVPF")
    (media,) = parse_sdp("v=0\nm=AUDIO 49170/2 RTP/AVP 31").media
    assert (media.kind, media.port, media.formats) == ("audio", 49170, ("31",))


def test_directions() -> None:
    sdp = parse_sdp(TEXT)
    audio, video = sdp.media
    assert (direction_of(sdp, audio), direction_of(sdp, video)) == (Direction.SENDONLY, Direction.RECVONLY)
    bare = parse_sdp("v=0\nm=audio 1 X 0")
    assert direction_of(bare, bare.media[0]) is Direction.SENDRECV
    assert [d.reversed for d in Direction] == [
        Direction.SENDRECV,
        Direction.RECVONLY,
        Direction.SENDONLY,
        Direction.INACTIVE,
    ]


def test_transport_extensions_sources_and_groups() -> None:
    sdp = parse_sdp(TEXT)
    audio, video = sdp.media
    transport = transport_of(sdp, audio)
    assert transport is not None
    assert (transport.ice_ufrag, transport.fingerprints, transport.setup) == ("U", (("sha-256", "AB:CD"),), "active")
    assert len(transport.candidates) == 1 and not transport.ice_lite and "'P'" not in repr(transport)
    assert extensions_of(sdp, audio) == {"urn:a": 1, "urn:b": 14}
    assert ssrcs_of(video) == (10,)
    assert bundle_groups(sdp) == [["0", "1"]]
    bare = parse_sdp("v=0\na=group:\nm=audio 1 X 0\na=ssrc-group:\na=ssrc:x\n")
    assert (transport_of(bare, bare.media[0]), ssrcs_of(bare.media[0]), bundle_groups(bare)) == (None, (), [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "v=1",
        "s=-\nv=0",
        "v=0\nnonsense",
        "v=0\n\ns=-",
        "v=0\nm =audio 1 X 0",
        "v=0\nm=audio",
        "v=0\nm=audio 65536 X 0",
        "v=0\nm=audio -1 X 0",
        "v=0\nA=x",
        "v=0\n" + "a=x\n" * 5000,
    ],
)
def test_what_is_no_session_description(text: str) -> None:
    with pytest.raises(MessageSyntaxError) as caught:
        parse_sdp(text)
    assert (caught.value.fault, caught.value.status_hint) == (Fault.BAD_SDP, 400)


@pytest.mark.parametrize("line", ["s=a\r\nm=audio 1 X 0", "s=a\nb", "s=a\rb"])
def test_a_built_line_cannot_hold_another(line: str) -> None:
    with pytest.raises(LocalProtocolError):
        build_sdp(["v=0", line], [])


def test_many_sources_take_no_time() -> None:
    text = "v=0\nm=audio 1 X 0\n" + "".join(f"a=ssrc:{n} cname:x\n" for n in range(4990))
    assert len(ssrcs_of(parse_sdp(text).media[0])) == 4990


def test_an_extension_id_means_one_thing() -> None:
    text = "v=0\ns=-\nm=audio 9 RTP/AVP 0\na=extmap:1 urn:a\na=extmap:1 urn:b\na=extmap:2 urn:a\na=extmap:2 urn:c\n"
    sdp = parse_sdp(text)
    assert extensions_of(sdp, sdp.media[0]) == {"urn:a": 1, "urn:c": 2}
