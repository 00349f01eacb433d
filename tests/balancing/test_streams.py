"""What is received: streams made of lines, samples made of reports, what is told of them, and preferences of codecs."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent.media import LineStats, MediaReport, MediaState
from sipproto.agent.outputs import LineInfo
from sipproto.agent.stats import (
    CandidatePairStats,
    CertificateStats,
    CodecStats,
    InboundRtpStats,
    LocalCandidateStats,
    MediaSourceStats,
    OutboundRtpStats,
    RemoteCandidateStats,
    RemoteInboundRtpStats,
    RemoteOutboundRtpStats,
    Stats,
    TransportStats,
)
from sipproto.conference import Share, ShareState
from sipproto.media.remote_streams import Content, RemoteStream, RemoteStreams, content_after, select_streams
from sipproto.media.sample import BitrateReports, StatsSample, available_incoming_bitrate, stats_sample
from sipproto.media.stream_health import ProblemDetected, ProblemOver, StreamHealth, StreamProblem
from sipproto.negotiation import CodecPreferences
from sipproto.negotiation._codecs import preferred
from sipproto.sdp import Codec, Direction

# -- streams of lines (7.1) ------------------------------------------------------------------------------------------


def received(text: str) -> tuple[LineInfo, ...]:
    """Lines by their mids, each with the name of its stream behind a colon, if the peer says one: "a1:s v1:s v2"."""
    lines = []
    for word in text.split():
        mid, _, name = word.partition(":")
        lines.append(
            LineInfo(
                mid=mid,
                kind="audio" if mid.startswith("a") else "video",
                direction=Direction.SENDRECV,
                remote_direction=Direction.SENDRECV,
                codec="",
                remote_streams=(name,) if name else (),
            )
        )
    return tuple(lines)


def shown(streams: tuple[RemoteStream, ...]) -> str:
    return " ".join(f"[{' '.join(mid for mid in (one.audio, one.video) if mid)}]" for one in streams)


BY_ADJACENCY = [
    ("a1 v1", "[a1 v1]"),
    ("a1 v1 v2", "[a1 v1] [v2]"),
    ("a1 v1 a2 v2", "[a1 v1] [a2 v2]"),
    ("v1", "[v1]"),
    ("a1 a2", "[a1] [a2]"),
    ("", ""),
    # Fault 16: the original loses a1, a1 and a2. One that has no video before it without audio is a stream of its own.
    ("v1 a1", "[a1 v1]"),
    ("a1 a2 v1", "[a2 v1] [a1]"),
    ("a1 v1 a2", "[a1 v1] [a2]"),
    ("v1 a1 v2", "[v1] [a1 v2]"),
    ("a1 v1 v2 a2", "[a1 v1] [a2 v2]"),
    ("v1 a1 a2", "[a1 v1] [a2]"),
]
BY_NAME = [
    ("a1:s v1:s", "[a1 v1]"),
    ("v1:s v2:t a2:t a1:s", "[a1 v1] [a2 v2]"),
    ("a1:s v1:t", "[v1] [a1]"),  # the peer says that they do not belong together
    ("a1:s v1:s v2:s", "[a1 v1] [v2]"),
    ("a1:s v1 a2 v2:s", "[a2 v1] [a1 v2]"),
    ("a1 v1:s", "[v1] [a1]"),
]


@pytest.mark.parametrize(("lines", "streams"), [*BY_ADJACENCY, *BY_NAME])
def test_streams_of_lines(lines: str, streams: str) -> None:
    found = RemoteStreams().negotiated(received(lines))
    assert shown(found) == streams
    mids = [mid for one in found for mid in (one.audio, one.video) if mid is not None]
    assert sorted(mids) == sorted(word.partition(":")[0] for word in lines.split())
    assert len({one.id for one in found}) == len(found)


def test_lines_that_are_not_received_belong_to_no_stream() -> None:
    a1, v1, v2 = received("a1 v1 v2")
    away = (evolve(a1, direction=Direction.SENDONLY), evolve(v1, direction=Direction.INACTIVE), v2)
    assert shown(RemoteStreams().negotiated(away)) == "[v2]"
    assert shown(RemoteStreams().negotiated((a1, evolve(v1, direction=Direction.RECVONLY)))) == "[a1 v1]"


# Negotiations one after the other, and the ids after each.
IDS = [
    ("the same ones have the same ids", [("a1 v1 v2", ["v1", "v2"]), ("a1 v1 v2", ["v1", "v2"])]),
    ("a second video changes nothing", [("a1 v1", ["v1"]), ("a1 v1 v2", ["v1", "v2"]), ("a1 v1", ["v1"])]),
    ("video is added to audio", [("a1", ["a1"]), ("a1 v1", ["a1"]), ("a1 v1 v2", ["a1", "v2"])]),
    ("video is taken away", [("a1 v1", ["v1"]), ("a1", ["v1"])]),
    ("the name of the peer", [("a1:s v1:s", ["s"]), ("a1:s v1:s v2:t", ["s", "t"]), ("v2:t", ["t"])]),
    ("another name is another stream", [("a1:s v1:s", ["s"]), ("a1:t v1:t", ["t"])]),
    ("several of one name", [("v1:s v2:s", ["s", "s/v2"]), ("v2:s", ["s/v2"]), ("v3:s v2:s", ["s", "s/v2"])]),
    ("a stream that is parted", [("v1 a1", ["v1"]), ("v1 a1 v2", ["v1", "v2"])]),
    ("names like mids", [("v1 v2:v1", ["v1", "v1/v2"]), ("v3:v1 v1 v2:v1", ["v1/v3", "v1", "v1/v2"])]),
    ("names like names with mids", [("v1:s v2:s v3:s/v2", ["s", "s/v2", "s/v2/v3"])]),
]


@pytest.mark.parametrize("negotiations", [one for _, one in IDS], ids=[name for name, _ in IDS])
def test_ids_stay(negotiations: list[tuple[str, list[str]]]) -> None:
    streams = RemoteStreams()
    for lines, ids in negotiations:
        assert [one.id for one in streams.negotiated(received(lines))] == ids


AVAILABLE, ENDED = ShareState(state=Share.AVAILABLE, codec="H264"), ShareState(state=Share.ENDED)


def test_content_is_what_the_server_says() -> None:
    """2.5: it says so again when the codec changes; what else is said of the second stream says nothing of it."""
    assert content_after(None, AVAILABLE) == Content(codec="H264")
    assert content_after(Content(codec="H264"), ShareState(state=Share.AVAILABLE, codec="VP8")) == Content(codec="VP8")
    assert content_after(None, ShareState(state=Share.AVAILABLE)) == Content()
    assert content_after(Content(), ENDED) is None and content_after(None, ENDED) is None
    assert content_after(Content(), ShareState(state=Share.MUST_STOP)) == Content()


@pytest.mark.parametrize(
    ("lines", "content", "main", "contented"),
    [
        ("a1 v1 v2", None, "v1", None),
        ("a1 v1 v2", Content(codec="H264"), "v1", "v2"),
        ("a1 v1", Content(codec="H264"), "v1", None),
        ("a1 v1 a2", Content(), "v1", None),  # audio is no content
        ("a1 a2", Content(), "a1", None),
        ("", Content(), None, None),
    ],
)
def test_main_and_contented(lines: str, content: Content | None, main: str | None, contented: str | None) -> None:
    selected = select_streams(RemoteStreams().negotiated(received(lines)), content)
    assert (selected.main.id if selected.main else None) == main
    assert (selected.contented.id if selected.contented else None) == contented


# -- samples (3.2) ---------------------------------------------------------------------------------------------------

PAIRS = [
    CandidatePairStats(
        id=name, timestamp=1.0, transport_id="T", local_candidate_id="l" + name, remote_candidate_id="r" + name,
        state=state, nominated=nominated, available_incoming_bitrate=bitrate,
    )
    for name, state, nominated, bitrate in (
        ("P1", "succeeded", True, 300_000.0), ("P2", "succeeded", True, 900_000.0), ("P3", "failed", False, None),
    )
]  # fmt: skip


def line_stats(number: int, kind: str) -> tuple[Stats, ...]:
    """What is measured of one line, with its number in all ids."""
    one = str(number)
    return (
        OutboundRtpStats(
            id="o" + one, timestamp=1.0, ssrc=number, kind=kind, transport_id="T", codec_id="c" + one, mid=one,
            media_source_id="m" + one, remote_id="ri" + one,
        ),
        InboundRtpStats(
            id="i" + one, timestamp=1.0, ssrc=10 + number, kind=kind, transport_id="T", codec_id="c" + one, mid=one,
            remote_id="ro" + one,
        ),
        CodecStats(id="c" + one, timestamp=1.0, payload_type=96 + number, mime_type=f"{kind}/x", clock_rate=1),
        MediaSourceStats(id="m" + one, timestamp=1.0, kind=kind, track_identifier=one),
        RemoteInboundRtpStats(id="ri" + one, timestamp=1.0, ssrc=number, kind=kind),
        RemoteOutboundRtpStats(id="ro" + one, timestamp=1.0, ssrc=10 + number, kind=kind),
    )  # fmt: skip


def report(*kinds: str, stats: tuple[Stats, ...] | None = None) -> MediaReport:
    lines = tuple(LineStats(mid=str(number), kind=kind, direction="sendrecv") for number, kind in enumerate(kinds))
    transport = TransportStats(
        id="T", timestamp=1.0, selected_candidate_pair_id="P1", local_certificate_id="C1", remote_certificate_id="C2"
    )
    ways: tuple[Stats, ...] = (
        *PAIRS,
        transport,
        *(
            LocalCandidateStats(id="l" + one.id, timestamp=1.0, transport_id="T", candidate_type="host")
            for one in PAIRS
        ),
        *(
            RemoteCandidateStats(id="r" + one.id, timestamp=1.0, transport_id="T", candidate_type="host")
            for one in PAIRS
        ),
        *(CertificateStats(id=one, timestamp=1.0, fingerprint="", fingerprint_algorithm="") for one in ("C1", "C2")),
    )
    entries = [entry for number, kind in enumerate(kinds) for entry in line_stats(number, kind)]
    return MediaReport(state=MediaState.CONNECTED, lines=lines, stats=(*entries, *ways) if stats is None else stats)


def ident(entry: Stats | None) -> str | None:
    return entry.id if entry is not None else None


def test_a_sample_of_all_lines() -> None:
    sample = stats_sample(report("audio", "video", "video"))
    for number, out in enumerate((sample.outbound.audio, sample.outbound.video, sample.outbound.second_video)):
        ids = [ident(one) for one in (out.outbound_rtp, out.media_source, out.codec, out.remote_inbound_rtp)]
        assert ids == [f"o{number}", f"m{number}", f"c{number}", f"ri{number}"]
    # Fault 13: the second video has its own figures throughout.
    for number, into in enumerate((sample.inbound.audio, sample.inbound.video, sample.inbound.second_video)):
        assert [ident(one) for one in (into.inbound_rtp, into.codec, into.remote_outbound_rtp)] == [
            f"i{number}", f"c{number}", f"ro{number}",
        ]  # fmt: skip


def test_the_way_is_that_in_use() -> None:
    """Fault 12: the original takes the pair that stands last."""
    sample = stats_sample(report("audio", "video"))
    ways = sample.outbound.additional, sample.inbound.additional
    for way, certificate in zip(ways, ("C1", "C2"), strict=True):
        ids = [ident(one) for one in (way.candidate_pair, way.local_candidate, way.remote_candidate, way.transport)]
        assert [*ids, ident(way.certificate)] == ["P1", "lP1", "rP1", "T", certificate]
    assert available_incoming_bitrate(sample) == 300_000.0


@pytest.mark.parametrize("kinds", [("video",), ("audio",), ("video", "video")])
def test_the_way_is_known_with_any_line(kinds: tuple[str, ...]) -> None:
    sample = stats_sample(report(*kinds))
    assert ident(sample.outbound.additional.candidate_pair) == ident(sample.inbound.additional.candidate_pair) == "P1"
    assert sample.outbound.audio.outbound_rtp is None or kinds == ("audio",)


def test_what_is_not_measured_is_absent() -> None:
    assert stats_sample(report("audio", "video", stats=())) == StatsSample()
    assert stats_sample(report()) == StatsSample()
    assert available_incoming_bitrate(StatsSample()) is None
    without = tuple(entry for entry in line_stats(0, "video") if not isinstance(entry, CodecStats))
    sample = stats_sample(report("video", stats=without))
    assert sample.outbound.video.codec is None and ident(sample.outbound.video.outbound_rtp) == "o0"
    assert sample.outbound.additional.transport is None


def test_what_is_told_of_the_bitrate() -> None:
    """3.5: by a quarter more or less than the sample before."""
    samples = [1000, 1249, 1300, 1625, 0, 0, 5, None, 100, 130]
    told = [None, None, None, 1625, 0, None, 5, None, None, 130]
    reports = BitrateReports()
    assert [reports.sample(value) for value in samples] == told


# -- health (8.4) ----------------------------------------------------------------------------------------------------

Health = ProblemDetected | ProblemOver | None
_NO_TRAFFIC, _INVALID, _STALLED = StreamProblem.NO_TRAFFIC, StreamProblem.INVALID_FRAMES, StreamProblem.STALLED


def inbound(packets: int, octets: int, received_: int | None, decoded: int | None) -> InboundRtpStats:
    return InboundRtpStats(
        id="i", timestamp=1.0, ssrc=1, kind="video", packets_received=packets, bytes_received=octets,
        frames_received=received_, frames_decoded=decoded,
    )  # fmt: skip


# packets, bytes, frames received, frames decoded, and what is told
HEALTH: list[tuple[tuple[int, int, int | None, int | None], Health]] = [
    ((0, 0, 0, 0), None),
    ((0, 0, 0, 0), None),
    ((0, 0, 0, 0), ProblemDetected(problem=_NO_TRAFFIC)),
    ((0, 0, 0, 0), None),
    ((100, 10_000, 10, 10), ProblemOver(problem=_NO_TRAFFIC, resolved=True)),
    ((600, 60_000, 10, 10), None),
    ((700, 70_000, 10, 10), None),
    ((800, 80_000, 10, 10), ProblemDetected(problem=_INVALID)),
    ((800, 80_000, 10, 10), None),  # stalled, for the first time
    # The original is silent: another problem in between makes it forget the one that was told of.
    ((900, 90_000, 20, 20), ProblemOver(problem=_INVALID, resolved=True)),
    ((900, 90_000, 20, 20), None),
    ((900, 90_000, 20, 20), None),
    ((900, 90_000, 20, 20), ProblemDetected(problem=_STALLED)),
    ((950, 95_000, 20, 20), None),
    ((970, 97_000, 20, 20), None),
    ((990, 99_000, 20, 20), ProblemDetected(problem=_INVALID)),  # in place of the other
    # An engine that does not know its frames says nothing of them; the original takes that for a problem.
    ((1000, 100_000, None, None), ProblemOver(problem=_INVALID, resolved=True)),
]


def test_health() -> None:
    health = StreamHealth()
    for values, told in HEALTH:
        assert health.sample(inbound(*values)) == told, values


def test_health_of_another_call() -> None:
    health = StreamHealth(samples=1)
    assert health.reset() is None
    assert health.sample(None) == ProblemDetected(problem=_NO_TRAFFIC)
    assert health.reset() == ProblemOver(problem=_NO_TRAFFIC, resolved=False)
    assert health.sample(inbound(9, 9, 1, 1)) is None
    health.reset()
    assert health.sample(inbound(9, 9, 1, 1)) is None  # the same figures, of another line


def test_frames_that_do_not_come_are_no_problem_while_a_picture_is_shown() -> None:
    health = StreamHealth(samples=1)
    health.sample(inbound(600, 60_000, 10, 10), muted=False)
    assert health.sample(inbound(700, 70_000, 10, 10), muted=False) is None
    assert health.sample(inbound(800, 80_000, 10, 10), muted=True) == ProblemDetected(problem=_INVALID)


def test_impossible_number_of_samples() -> None:
    with pytest.raises(ValueError):
        StreamHealth(samples=0)


# -- preferences of codecs (5) ---------------------------------------------------------------------------------------

# What both directions have; here the repetitions follow the codec that they repeat, as they do there.
CODECS = tuple(
    Codec(payload_type=number, name=name, clock_rate=90000, parameters=parameters)
    for number, (name, parameters) in enumerate(
        [
            ("VP8", ""),
            ("rtx", "apt=96"),
            ("VP9", "profile-id=0"),
            ("H264", "a"),
            ("AV1", ""),
            ("red", ""),
            ("ulpfec", ""),
        ],
        96,
    )
)
_ALL = ["VP8", "rtx", "VP9", "H264", "AV1", "red", "ulpfec"]
PREFERENCES: list[tuple[str, tuple[str, ...], tuple[str, ...], list[str]]] = [
    ("video", ("video/AV1", "video/VP9"), (), ["AV1", "VP9", "VP8", "rtx", "H264", "red", "ulpfec"]),
    ("video", (), ("video/H264",), ["VP8", "rtx", "VP9", "AV1", "red", "ulpfec"]),
    ("video", ("video/AV1", "video/VP9"), ("video/H264",), ["AV1", "VP9", "VP8", "rtx", "red", "ulpfec"]),
    ("video", (), (), _ALL),
    ("video", ("video/H264",), ("video/H264",), ["VP8", "rtx", "VP9", "AV1", "red", "ulpfec"]),
    ("audio", ("video/AV1",), ("video/VP8",), _ALL),
    # The original compares letter by letter, so that nothing is preferred; MIME types have no case (RFC 2045 5.1).
    ("video", ("video/av1",), (), ["AV1", "VP8", "rtx", "VP9", "H264", "red", "ulpfec"]),
    ("video", (), ("VIDEO/h264",), ["VP8", "rtx", "VP9", "AV1", "red", "ulpfec"]),
    # The original leaves the repetitions of a codec that is excluded.
    ("video", (), ("video/VP8",), ["VP9", "H264", "AV1", "red", "ulpfec"]),
]


@pytest.mark.parametrize(("kind", "prefer", "exclude", "names"), PREFERENCES)
def test_preferences_of_codecs(kind: str, prefer: tuple[str, ...], exclude: tuple[str, ...], names: list[str]) -> None:
    chosen = preferred(kind, CODECS, CodecPreferences(prefer=prefer, exclude=exclude))
    assert [codec.name for codec in chosen] == names
