"""Payload formats to the octet, and what hostile payloads do: nothing."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy
import pytest
from aiortc import RTCRtpCodecParameters, rtcrtpreceiver
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame
from av.error import FFmpegError
from hypothesis import given
from hypothesis import strategies as st

from sipproto.media import VideoTarget
from sipproto.sdp import Codec
from sipproto_aiortc._av1 import av1_depayload, av1_is_key_frame, av1_picture
from sipproto_aiortc._decoders import get_decoder
from sipproto_aiortc._payload import PAYLOAD_MAX, h264_payloads, nal_units, vp8_payloads
from sipproto_aiortc._sender import new_encoder
from sipproto_aiortc._vp9 import vp9_depayload, vp9_payloads
from tests.media import _av1
from tests.media._detail import texture

VIDEO = ("VP8", "VP9", "H264")


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.replace("|", ""))


def test_vp8() -> None:
    assert vp8_payloads(b"abc", 0x1234) == [hexed("90 80 9234") + b"abc"]
    parts = vp8_payloads(bytes(2500), 1)
    assert [len(part) for part in parts] == [1200, 1200, 2500 - 2 * 1196 + 4]
    assert [part[:4] for part in parts] == [hexed("90 80 8001"), hexed("80 80 8001"), hexed("80 80 8001")]
    assert vp8_payloads(b"", 1) == []


def test_vp9() -> None:
    assert vp9_payloads(b"abc", 0x1234, key_frame=True) == [hexed("8c 9234") + b"abc"]
    parts = vp9_payloads(bytes(2500), 0x7FFF, key_frame=False)
    assert [part[:3] for part in parts] == [hexed("c8 ffff"), hexed("c0 ffff"), hexed("c4 ffff")]
    assert b"".join(vp9_depayload(part) for part in parts) == bytes(2500)
    assert max(len(part) for part in parts) == PAYLOAD_MAX
    assert vp9_payloads(b"", 1, key_frame=True) == []


@pytest.mark.parametrize(
    "descriptor",
    [
        "0c",  # nothing but start and end
        "8c 05",  # picture id of 7 bits
        "8c 8505",  # of 15 bits
        "ac 05 | 20 07",  # layer indices and TL0PICIDX, non-flexible
        "bc 05 | 20",  # layer indices, flexible: no TL0PICIDX
        "fc 05 | 20 | 03 05 06",  # three references
        "fc 05 | 20 | 02",  # one
        "1c",  # flexible without prediction: no references
        "8e 05 | 00",  # an empty structure
        "8e 05 | 18 | 0280 0168 | 02 | 00 | 04 01",  # a resolution, a group of two of which one has a reference
        "8e 05 | 58 | 0140 00b4 0280 0168 0500 02d0 | 01 | 0c 01 02 03",  # three layers
    ],
)
def test_vp9_descriptors(descriptor: str) -> None:
    data = hexed(descriptor)
    assert vp9_depayload(data + b"\x82picture") == b"\x82picture"
    assert vp9_depayload(data) == b""
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cut off"):
            vp9_depayload(data[:end])


def test_vp9_with_endless_references_is_refused() -> None:
    with pytest.raises(ValueError, match="three references"):
        vp9_depayload(hexed("dc 05 | 01 01 01 01") + bytes(100))


def test_h264_units() -> None:
    stream = b"\x00\x00\x00\x01\x67ab\x00\x00\x01\x68c\x00\x00\x00\x00\x01\x65d\x00\x03\x00"
    assert list(nal_units(stream)) == [b"\x67ab", b"\x68c", b"\x65d\x00\x03"]
    assert list(nal_units(b"no start code")) == []
    assert list(nal_units(b"\x00\x00\x01\x00\x00\x01")) == []


def test_h264_single_and_aggregated() -> None:
    stream = b"\x00\x00\x01\x67ab\x00\x00\x01\x28c\x00\x00\x01\x65d"
    assert h264_payloads(stream, single=True) == [b"\x67ab", b"\x28c", b"\x65d"]
    assert h264_payloads(stream, single=False) == [hexed("78 0003") + b"\x67ab" + hexed("0002") + b"\x28c\x00\x02\x65d"]
    assert h264_payloads(b"\x00\x00\x01\x65d", single=False) == [b"\x65d"]
    assert h264_payloads(b"", single=False) == []


def test_h264_fragments() -> None:
    unit = b"\x65" + bytes(range(1, 256)) * 10
    parts = h264_payloads(b"\x00\x00\x01\x67ab\x00\x00\x01" + unit, single=False)
    assert parts[0] == b"\x67ab"
    assert [part[:2] for part in parts[1:]] == [hexed("7c 85"), hexed("7c 05"), hexed("7c 45")]
    assert b"\x65" + b"".join(part[2:] for part in parts[1:]) == unit
    assert max(len(part) for part in parts) == PAYLOAD_MAX


def test_h264_units_that_fill_a_packet_exactly() -> None:
    unit = b"\x61" + b"x" * (PAYLOAD_MAX - 1)
    stream = b"\x00\x00\x01\x67ab\x00\x00\x01" + unit + b"\x00\x00\x01\x67cd"
    assert h264_payloads(stream, single=False) == [b"\x67ab", unit, b"\x67cd"]


# -- AV1 -------------------------------------------------------------------------------------------------------------------

DELIMITER, SEQUENCE, KEY = "12 00", "0a 0b 0000000cc4ff6712be4010", "32 04 10aabbcc"


def av1_parts(*payloads: str) -> bytes:
    return b"".join(av1_depayload(hexed(payload)) for payload in payloads)


@pytest.mark.parametrize(
    "payload",
    [
        "28 | 0c 08 0000000cc4ff6712be4010 | 30 10aabbcc",  # the last of two elements has no length
        "08 | 0c 08 0000000cc4ff6712be4010 | 05 30 10aabbcc",  # each has one
    ],
)
def test_av1_one_packet(payload: str) -> None:
    assert av1_picture(av1_parts(payload)) == hexed(DELIMITER + SEQUENCE + KEY)


def test_av1_fragments() -> None:
    frame = hexed("32 c413") + bytes(2500)
    parts = _av1.payloads(hexed(DELIMITER + SEQUENCE) + frame, key_frame=True)
    assert [part[0] for part in parts] == [0x68, 0xD0, 0x90]  # Y, W 2 and N; Z and Y; Z
    whole = b"".join(av1_depayload(part) for part in parts)
    assert av1_picture(whole) == hexed(DELIMITER + SEQUENCE) + frame
    for found in (parts[:-1], parts[1:]):  # that none in the middle is missing, the sequence numbers say
        with pytest.raises(ValueError, match="missing"):
            av1_picture(b"".join(av1_depayload(part) for part in found))


def test_av1_size_fields_and_extensions_of_a_peer_are_taken() -> None:
    """Size fields are allowed (4.5); temporal layers have a header extension (AV1 5.3.3)."""
    assert av1_picture(av1_parts(f"10 {KEY}")) == hexed(DELIMITER + KEY)
    assert av1_picture(av1_parts("10 34 20 30aabbcc")) == hexed(DELIMITER + "36 20 04 30aabbcc")
    assert av1_picture(av1_parts("50 32 04 10aa", "90 bbcc")) == hexed(DELIMITER + KEY)
    assert av1_picture(av1_parts("20 01 10 | 30 10aabbcc")) == hexed(DELIMITER + KEY)  # a temporal delimiter is ignored
    assert av1_picture(av1_parts("10 10")) == b""


@pytest.mark.parametrize(
    ("payloads", "key"),
    [
        (["28 0c 08 0000000cc4ff6712be4010 30 10aabbcc"], True),
        (["28 0c 08 0000000cc4ff6712be4010 32 04 10aabbcc"], True),
        (["68 0c 08 0000000cc4ff6712be4010 32 90", "90 1110aa"], False),  # it is not worth looking into two packets
        (["68 0c 08 0000000cc4ff6712be4010 30 10", "90 aabbcc"], True),
        (["28 0c 08 0000000cc4ff6712be4010 30 30aabbcc"], False),  # the same sequence header again
        (["28 0c 08 0000000cc4ff6712be4010 18 90"], False),
        (["10 30 10aabbcc"], False),  # a key frame without a sequence header
        (["18 08 0000000cc4ff6712be4010"], False),
        (["10 30"], False),
    ],
)
def test_av1_key_frames(payloads: list[str], key: bool) -> None:
    assert av1_is_key_frame(av1_parts(*payloads)) is key


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "10",  # nothing behind the aggregation header
        "98 30aa",  # the first packet of a sequence continues something
        "20 30aa",  # two elements of which the second is missing
        "20 05 30aa",
        "00 00",  # an empty element
        "00 03 30aa",
        "00 ffffffffffffffff 30",  # a length without an end
        "00 80",
    ],
)
def test_av1_payloads_that_are_none(payload: str) -> None:
    with pytest.raises(ValueError, match="AV1"):
        av1_depayload(hexed(payload))


@pytest.mark.parametrize("payload", ["10 b0aa", "10 32 05 10aabbcc", "10 32 80", "10 34", "90 aa", "50 30aa"])
def test_av1_pictures_that_are_none(payload: str) -> None:
    """A forbidden header, a size beyond the end or without one, an extension that is not there, halves."""
    with pytest.raises(ValueError, match=r"OBU|AV1"):
        av1_picture(av1_parts(payload))


def obu(kind: int, layer: int | None, content: bytes) -> bytes:
    """With a size field of two octets, which need not be the shortest."""
    header = bytes([kind << 3 | 2]) if layer is None else bytes([kind << 3 | 6, layer << 5])
    return header + bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content


def shortest(obu: bytes) -> bytes:
    """The same with the shortest size field, as we write it."""
    start = 2 if obu[0] & 4 else 1
    size = len(obu) - start - 2
    return obu[:start] + (bytes([size]) if size < 128 else obu[start : start + 2]) + obu[start + 2 :]


@given(
    st.lists(
        st.builds(
            obu,
            st.sampled_from([1, 3, 4, 5, 6, 7]),
            st.none() | st.integers(0, 2),
            st.builds(bytes, st.integers(0, 4000)) | st.binary(max_size=40),
        ),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_av1_comes_out_as_it_went_in(obus: list[bytes], key: bool) -> None:
    payloads = _av1.payloads(b"".join(obus), key_frame=key)
    assert max(len(payload) for payload in payloads) <= PAYLOAD_MAX
    parts = b"".join(av1_depayload(payload) for payload in payloads)
    assert av1_picture(parts) == hexed(DELIMITER) + b"".join(shortest(one) for one in obus)


@given(st.binary(max_size=200), st.lists(st.binary(max_size=60), max_size=5))
def test_av1_of_anybody_is_refused_with_value_errors_only(octets: bytes, payloads: list[bytes]) -> None:
    def refused(reader: Callable[[bytes], bytes], data: bytes) -> bytes:
        try:
            return reader(data)
        except ValueError:
            return b""

    for parts in (octets, b"".join(refused(av1_depayload, payload) for payload in payloads)):
        assert av1_is_key_frame(parts) in (True, False)
        picture = refused(av1_picture, parts)
        if picture:  # then it can be sent on
            again = b"".join(av1_depayload(one) for one in _av1.payloads(picture, key_frame=False))
            assert av1_picture(again) == picture


# -- encoded here, decoded as received ---------------------------------------------------------------------------------


def received(name: str) -> tuple[Callable[[bytes], bytes], Decoder]:
    """What a receiver makes of a codec: its payload format and its decoder, as aiortc looks them up."""
    module: Any = rtcrtpreceiver
    codec = RTCRtpCodecParameters(mimeType=f"video/{name}", clockRate=90000, payloadType=96)
    return lambda payload: module.depayload(codec, payload), module.get_decoder(codec)


def pictures(count: int, width: int = 320, height: int = 180) -> list[av.VideoFrame]:
    rows = texture(width, height * 3 // 2)
    frames = [av.VideoFrame.from_ndarray(numpy.roll(rows, 4 * n, 1), format="yuv420p") for n in range(count)]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number * 3000, Fraction(1, 90000)
    return frames


def h264(profile: str = "42e01f", mode: int = 1) -> Codec:
    parameters = f"packetization-mode={mode};profile-level-id={profile}"
    return Codec(payload_type=96, name="H264", clock_rate=90000, parameters=parameters)


@pytest.mark.parametrize(
    "codec",
    [
        Codec(payload_type=96, name="VP8", clock_rate=90000),
        Codec(payload_type=96, name="VP9", clock_rate=90000),
        h264(),
        h264(mode=0),
        h264("64001f"),
        h264("640c1f", mode=0),
        h264("4d001f"),
    ],
    ids=lambda codec: f"{codec.name} {codec.parameters}",
)
def test_what_is_encoded_can_be_decoded(codec: Codec) -> None:
    encoder = new_encoder("video", codec)
    depayload, decoder = received(codec.name)
    sizes: list[tuple[int, int]] = []
    for number, frame in enumerate(pictures(8)):
        size = (320, 180) if number < 4 else (160, 90)
        target = VideoTarget(width=size[0], height=size[1], frame_rate=30, bitrate=2_000_000)
        payloads, timestamp = encoder.encode(frame, target, number == 2)
        assert timestamp == number * 3000
        assert payloads and all(0 < len(payload) <= PAYLOAD_MAX for payload in payloads)
        if codec.name == "H264" and "mode=0" in codec.parameters:
            assert all(payload[0] & 0x1F < 24 for payload in payloads)
        data = b"".join(depayload(payload) for payload in payloads)
        sizes += [
            (got.width, got.height)
            for got in decoder.decode(JitterFrame(data, timestamp))
            if isinstance(got, av.VideoFrame)
        ]
    assert sizes == [(320, 180)] * 4 + [(160, 90)] * 4


def test_the_profile_that_was_agreed_on_is_the_one_in_the_stream() -> None:
    target = VideoTarget(width=1920, height=1080, frame_rate=30, bitrate=6_000_000)
    found = {}
    for profile in ("42e01f", "4d001f", "64001f"):
        encoder = new_encoder("video", h264(profile, mode=0))
        payloads, _ = encoder.encode(pictures(1, 1920, 1080)[0], target, False)
        found[profile] = next(payload[1:4] for payload in payloads if payload[0] & 0x1F == 7)
    assert {profile: sps[0] for profile, sps in found.items()} == {"42e01f": 0x42, "4d001f": 0x4D, "64001f": 0x64}
    assert found["42e01f"][1] & 0x40  # constraint_set1: decodable as Main, so constrained baseline
    assert {sps[2] for sps in found.values()} == {40}  # level 4: 1920x1080 at 30 a second


def test_recorded_av1_is_decoded_picture_by_picture() -> None:
    depayload, decoder = received("AV1")
    sizes, keys = [], []
    for number, unit in enumerate(_av1.recorded()):
        parts = b"".join(depayload(payload) for payload in _av1.payloads(unit, key_frame=number % 6 == 0))
        assert av1_picture(parts) == unit
        keys.append(av1_is_key_frame(parts))
        (frame,) = decoder.decode(JitterFrame(parts, 3000 * number))  # none waits for a later one
        assert isinstance(frame, av.VideoFrame) and frame.pts == 3000 * number
        sizes.append((frame.width, frame.height))
    assert sizes == [(320, 180)] * 6 + [(160, 90)] * 6
    assert keys == ([True] + [False] * 5) * 2


def test_hostile_av1_raises_only_what_aiortc_handles() -> None:
    depayload, decoder = received("AV1")
    chance = random.Random(7)
    good = [_av1.payloads(unit, key_frame=False) for unit in _av1.recorded()]
    for _ in range(500):
        changed = [bytearray(payload) for payload in chance.choice(good)]
        for _ in range(chance.randrange(4)):
            payload = chance.choice(changed)
            payload[chance.randrange(min(len(payload), 30))] = chance.randrange(256)
        cut = [bytes(payload[: chance.randrange(len(payload) + 1)]) for payload in changed]
        for hostile in ([bytes(payload) for payload in changed], cut, [chance.randbytes(chance.randrange(40))]):
            try:
                decoder.decode(JitterFrame(b"".join(map(depayload, hostile)), 0))
            except (ValueError, FFmpegError):
                pass
        for other in (chance.randbytes(chance.randrange(40)), b"".join(map(bytes, changed))):  # of another codec
            try:
                decoder.decode(JitterFrame(other, 0))
            except FFmpegError:  # from a decoder aiortc handles nothing else
                pass
    assert decoder.decode(JitterFrame(b"".join(map(depayload, good[0])), 0))


@pytest.mark.parametrize("name", VIDEO)
def test_hostile_payloads_raise_only_what_aiortc_handles(name: str) -> None:
    """ValueError of a payload, FFmpegError of a picture; and afterwards a good picture can be decoded."""
    depayload, decoder = received(name)
    chance = random.Random(7)
    codec = h264() if name == "H264" else Codec(payload_type=96, name=name, clock_rate=90000)
    target = VideoTarget(width=320, height=180, frame_rate=30, bitrate=2_000_000)
    frames = pictures(3)
    encoder = new_encoder("video", codec)
    good = [encoder.encode(frame, target, False)[0] for frame in frames[:2]]
    for _ in range(300):
        payload = bytearray(chance.choice(chance.choice(good)))
        for _ in range(chance.randrange(4)):
            payload[chance.randrange(min(len(payload), 20))] = chance.randrange(256)
        cut = bytes(payload[: chance.randrange(len(payload) + 1)])
        for hostile in (cut, chance.randbytes(chance.randrange(40))):
            try:
                decoder.decode(JitterFrame(depayload(hostile), 0))
            except (ValueError, FFmpegError):
                pass
    payloads, _ = new_encoder("video", codec).encode(frames[2], target, True)
    frame = JitterFrame(b"".join(depayload(payload) for payload in payloads), 0)
    assert decoder.decode(frame)


@pytest.mark.parametrize("codec", ["video/VP8", "video/VP9", "video/H264", "video/AV1", "audio/opus"])
def test_a_packet_without_content_does_not_end_a_decoder(codec: str) -> None:
    """To FFmpeg an empty packet is the end; RTP has them as padding."""
    module: Any = rtcrtpreceiver
    decoder = module.get_decoder(RTCRtpCodecParameters(mimeType=codec, clockRate=90000, payloadType=96))
    assert decoder.decode(JitterFrame(b"", 0)) == []
    if codec == "audio/opus":
        assert decoder.decode(JitterFrame(b"\xfc\xff\xfe", 960))
        return
    name = codec.partition("/")[2]
    depayload, _ = received(name)
    if name == "AV1":
        (first, *_) = _av1.recorded()
        assert decoder.decode(JitterFrame(av1_parts("10 10"), 0)) == []  # nothing but a temporal delimiter
        payloads = _av1.payloads(first, key_frame=True)
        assert decoder.decode(JitterFrame(b"".join(depayload(payload) for payload in payloads), 0))
        return
    sent = h264() if name == "H264" else Codec(payload_type=96, name=name, clock_rate=90000)
    target = VideoTarget(width=320, height=180, frame_rate=30, bitrate=2_000_000)
    payloads, _ = new_encoder("video", sent).encode(pictures(1)[0], target, False)
    assert decoder.decode(JitterFrame(b"".join(depayload(payload) for payload in payloads), 0))


@pytest.mark.parametrize("name", [*VIDEO, "AV1"])
def test_a_picture_that_is_too_large_is_refused(name: str) -> None:
    depayload, _ = received(name)
    if name == "AV1":
        payloads = _av1.payloads(_av1.recorded()[0], key_frame=True)
    else:
        sent = h264() if name == "H264" else Codec(payload_type=96, name=name, clock_rate=90000)
        target = VideoTarget(width=320, height=180, frame_rate=30, bitrate=2_000_000)
        payloads, _ = new_encoder("video", sent).encode(pictures(1)[0], target, False)
    picture = JitterFrame(b"".join(depayload(payload) for payload in payloads), 0)
    codec = RTCRtpCodecParameters(mimeType=f"video/{name}", clockRate=90000, payloadType=96)
    assert get_decoder(codec, most_pixels=320 * 192).decode(picture)  # H.264 codes whole macroblocks
    with pytest.raises(FFmpegError):
        get_decoder(codec, most_pixels=320 * 180 - 1).decode(picture)


def _vp8_of(side: int) -> bytes:
    """The header of a key frame, and nothing that makes sense behind it (RFC 6386 9.1)."""
    size = side.to_bytes(2, "little")
    return (3000 << 5 | 1 << 4).to_bytes(3, "little") + b"\x9d\x01\x2a" + 2 * size + bytes(3020)


def _vp9_of(side: int) -> bytes:
    bits = "10000010" + f"{0x498342:024b}" + "0010" + 2 * f"{side - 1:016b}" + "0" * 204
    return int(bits, 2).to_bytes(len(bits) // 8, "big") + bytes(3000)


@pytest.mark.parametrize("make", [_vp8_of, _vp9_of])
def test_a_header_that_claims_a_huge_picture_takes_no_memory(make: Callable[[int], bytes]) -> None:
    def most() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB, of Linux

    _, decoder = received(make.__name__[1:4])
    before = most()
    for _ in range(3):
        with pytest.raises(FFmpegError):
            decoder.decode(JitterFrame(make(16383), 0))
    assert most() < before + 100
