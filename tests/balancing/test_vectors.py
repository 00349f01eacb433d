"""What was measured of the original clients of conference servers, as tables, against our decisions.

Each row is a run of theirs. Where ours has another result on purpose, the row says ours, and why.
"""

from __future__ import annotations

import pytest

from sipproto.agent.parameters import DegradationPreference, Encoding, SenderParameters
from sipproto.conference import MainCam, MainCamControl
from sipproto.media.balancing import balanced, is_ignored
from sipproto.media.bitrates import balanced_bitrate, maximum_bitrate, minimum_bitrate
from sipproto.media.resolution import Resolution, parse_resolution, scale_to_fit
from sipproto.media.send_encodings import (
    EncodingLimits,
    fit_encoding,
    merged,
    resolve_send_encodings,
)

R = Resolution


# -- bit rates (1.4) -------------------------------------------------------------------------------------------------

# width, bit rate, bit rate with AV1
BY_WIDTH = [
    (0, 60_000, 36_000),
    (64, 60_000, 36_000),
    (65, 120_000, 72_000),
    (128, 120_000, 72_000),
    (129, 250_000, 150_000),
    (256, 250_000, 150_000),
    (257, 320_000, 192_000),
    (320, 320_000, 192_000),
    (384, 320_000, 192_000),
    (385, 380_000, 228_000),
    (426, 380_000, 228_000),
    (427, 500_000, 300_000),
    (480, 500_000, 300_000),
    (640, 500_000, 300_000),
    (641, 700_000, 420_000),
    (848, 700_000, 420_000),
    (849, 1_000_000, 600_000),
    (960, 1_000_000, 600_000),
    (1280, 1_000_000, 600_000),
    (1281, 2_000_000, 1_200_000),
    (1920, 2_000_000, 1_200_000),
    (1921, 4_000_000, 2_400_000),
    (2560, 4_000_000, 2_400_000),
    (3840, 4_000_000, 2_400_000),
]


@pytest.mark.parametrize(("width", "bitrate", "with_av1"), BY_WIDTH)
def test_bitrate_by_width(width: int, bitrate: int, with_av1: int) -> None:
    for codec in ("video/VP8", "video/VP9", "H264", ""):
        assert balanced_bitrate(width, codec) == bitrate
    for codec in ("video/AV1", "av1", "video/AV1X"):
        assert balanced_bitrate(width, codec) == with_av1
    if width > 1:  # landscape, of which the width is the longer side
        assert balanced_bitrate(R(width, width // 2), "VP8") == bitrate


def test_the_least_and_the_most() -> None:
    assert (minimum_bitrate("VP8"), minimum_bitrate("AV1")) == (60_000, 36_000)
    assert (maximum_bitrate("VP8"), maximum_bitrate("AV1")) == (4_000_000, 2_400_000)
    assert balanced_bitrate(None, "VP8") == 4_000_000


def test_portrait_counts_as_much_as_landscape() -> None:
    """Fault 7: by its width 1080x1920 has 1 Mbit/s, half of what 1920x1080 has."""
    assert balanced_bitrate(R(1080, 1920), "VP8") == balanced_bitrate(R(1920, 1080), "VP8") == 2_000_000


# -- sizes (1.5) -----------------------------------------------------------------------------------------------------

# Sizes of which only one side is known, which the original counts with that side, do not exist here.
SCALES = [
    (R(1920, 1080), R(1280, 720), 1.5),
    (R(1280, 720), R(1280, 720), 1.0),
    (R(640, 480), R(1280, 720), 1.0),
    (R(1920, 1080), R(640, 480), 3.0),
    (R(1080, 1920), R(640, 360), 5.333333333333333),
    (R(1280, 720), R(1280, 360), 2.0),
    (None, R(640, 360), 1.0),
    (R(1920, 1080), R(426, 240), 4.507042253521127),
    (R(1280, 960), R(848, 480), 2.0),
]


@pytest.mark.parametrize(("current", "target", "scale"), SCALES)
def test_scale_to_fit(current: Resolution | None, target: Resolution, scale: float) -> None:
    assert scale_to_fit(current, target) == scale


TEXTS: list[tuple[str, Resolution | None]] = [
    ("1280x720", R(1280, 720)),
    ("1280X720", R(1280, 720)),
    ("  640 x 360 ", R(640, 360)),
    ("0640x0360", R(640, 360)),
    ("16384x16384", R(16384, 16384)),
    # Fault 6: the original makes NaN and Infinity of these.
    ("abc", None),
    ("", None),
    ("x", None),
    ("1280", None),
    ("1280x", None),
    ("0x0", None),
    ("1280x0", None),
    ("-1280x720", None),
    ("1280.5x720", None),
    ("1e3x720", None),
    ("1280x720x3", None),
    ("16385x720", None),
    ("99999999999999999999x1", None),
    ("١٢٨٠x٧٢٠", None),
]


@pytest.mark.parametrize(("text", "resolution"), TEXTS)
def test_parse_resolution(text: str, resolution: Resolution | None) -> None:
    assert parse_resolution(text) == resolution


def test_a_resolution_is_written_as_it_is_read() -> None:
    assert parse_resolution(str(R(854, 480))) == R(854, 480)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-1, 1)])
def test_there_are_no_pictures_without_pixels(width: int, height: int) -> None:
    with pytest.raises(ValueError):
        R(width, height)


# -- decisions (1.3, 1.8) --------------------------------------------------------------------------------------------

PAUSE, RESUME, LARGEST = MainCam.PAUSE, MainCam.RESUME, MainCam.MAX_RESOLUTION

# track, codec, command, resolution, bit rate, scale
DECISIONS: list[tuple[Resolution | None, str, MainCam | None, str | None, int, float]] = [
    (R(1280, 720), "video/H264", None, None, 1_000_000, 1.0),
    (R(1920, 1080), "video/AV1", None, None, 1_200_000, 1.0),
    (R(640, 480), "video/VP8", None, None, 500_000, 1.0),
    (None, "video/VP8", None, None, 4_000_000, 1.0),
    (R(1280, 720), "video/VP8", PAUSE, None, 60_000, 200.0),
    (R(1280, 720), "video/AV1", PAUSE, None, 36_000, 200.0),
    (R(1280, 720), "video/VP8", RESUME, None, 1_000_000, 1.0),
    (R(1920, 1080), "video/VP8", LARGEST, "1280x720", 1_000_000, 1.5),
    (R(1920, 1080), "video/AV1", LARGEST, "640x360", 300_000, 3.0),
    (R(640, 360), "video/VP8", LARGEST, "1280x720", 1_000_000, 1.0),
    (R(1280, 720), "video/VP8", LARGEST, None, 1_000_000, 1.0),
    (R(1280, 720), "video/VP8", None, "640x360", 1_000_000, 1.0),
    # An unknown command is none (sipproto.conference); those of the camera say nothing of the picture.
    (R(1280, 720), "video/VP8", MainCam.ADMIN_STOP, None, 1_000_000, 1.0),
    (R(1280, 720), "video/VP8", MainCam.ADMIN_START, "640x360", 1_000_000, 1.0),
    # Fault 6: 4 Mbit/s and a scale of NaN, or of Infinity.
    (R(1280, 720), "video/VP8", LARGEST, "abc", 1_000_000, 1.0),
    (R(1280, 720), "video/VP8", LARGEST, "0x0", 1_000_000, 1.0),
    # Fault 7: 1 Mbit/s.
    (R(1080, 1920), "video/VP8", None, None, 2_000_000, 1.0),
]


def control(what: MainCam | None, resolution: str | None) -> MainCamControl | None:
    return None if what is None and resolution is None else MainCamControl(command=what, resolution=resolution)


@pytest.mark.parametrize(("track", "codec", "what", "resolution", "bitrate", "scale"), DECISIONS)
def test_decision(
    track: Resolution | None, codec: str, what: MainCam | None, resolution: str | None, bitrate: int, scale: float
) -> None:
    changed = balanced(control(what, resolution), track, codec, SenderParameters())
    assert changed == SenderParameters(encodings=(Encoding(max_bitrate=bitrate, scale_resolution_down_by=scale),))
    assert balanced(control(what, resolution), track, codec, changed) is None, "nothing to change any more"


# What the original sets when balancing stops (of the later state); here `balanced` does so once the server has taken its
# word back. VideoBalancer itself gives the line what it had before (fault 8).
AFTER_STOP: list[tuple[Resolution, str, MainCam, str | None, Resolution | None, int, float]] = [
    (R(1280, 720), "VP8", PAUSE, None, None, 1_000_000, 1.0),
    (R(1280, 720), "AV1", PAUSE, None, None, 600_000, 1.0),
    (R(1920, 1080), "VP8", LARGEST, "1280x720", None, 2_000_000, 1.0),
    (R(1920, 1080), "AV1", LARGEST, "640x360", None, 1_200_000, 1.0),
    (R(640, 360), "VP8", LARGEST, "1280x720", None, 500_000, 1.0),
    (R(1920, 1080), "VP8", PAUSE, None, R(1280, 720), 1_000_000, 1.5),
    (R(1920, 1080), "VP8", LARGEST, "1280x720", R(640, 360), 500_000, 3.0),
]


@pytest.mark.parametrize(("track", "codec", "what", "resolution", "largest", "bitrate", "scale"), AFTER_STOP)
def test_without_the_word_of_the_server(
    track: Resolution,
    codec: str,
    what: MainCam,
    resolution: str | None,
    largest: Resolution | None,
    bitrate: int,
    scale: float,
) -> None:
    limited = balanced(control(what, resolution), track, codec, SenderParameters(), max_resolution=largest)
    assert limited is not None
    after = balanced(None, track, codec, limited, max_resolution=largest)
    assert after == SenderParameters(encodings=(Encoding(max_bitrate=bitrate, scale_resolution_down_by=scale),))


# track, largest, command, resolution, bit rate, scale; with VP8
MAX_RESOLUTION: list[tuple[Resolution | None, Resolution, MainCam | None, str | None, int, float]] = [
    (R(1920, 1080), R(1280, 720), None, None, 1_000_000, 1.5),
    (R(1280, 720), R(1920, 1080), None, None, 1_000_000, 1.0),
    (R(1920, 1080), R(1280, 720), PAUSE, None, 60_000, 200.0),
    (R(1920, 1080), R(640, 360), LARGEST, "1280x720", 1_000_000, 1.5),
    (None, R(640, 360), None, None, 4_000_000, 1.0),
    (R(1280, 960), R(854, 480), None, None, 500_000, 2.0),
    (R(1920, 1080), R(1280, 720), LARGEST, None, 1_000_000, 1.5),
    # Fault 7: 320000, for a width of 360.
    (R(1080, 1920), R(640, 640), None, None, 500_000, 3.0),
]


@pytest.mark.parametrize(("track", "largest", "what", "resolution", "bitrate", "scale"), MAX_RESOLUTION)
def test_the_largest_resolution_of_our_own(
    track: Resolution | None,
    largest: Resolution,
    what: MainCam | None,
    resolution: str | None,
    bitrate: int,
    scale: float,
) -> None:
    changed = balanced(control(what, resolution), track, "VP8", SenderParameters(), max_resolution=largest)
    assert changed == SenderParameters(encodings=(Encoding(max_bitrate=bitrate, scale_resolution_down_by=scale),))


@pytest.mark.parametrize("limit", [width for width, _, _ in BY_WIDTH if width > 1])
def test_a_width_that_was_divided_twice_stays_in_its_row(limit: int) -> None:
    """7680 divided by the scale for 426 may be 426.00000000000006."""
    for width in (1280, 1366, 1921, 2560, 4096, 7680):
        if width > limit:
            changed = balanced(None, R(width, 2), "VP8", SenderParameters(), max_resolution=R(limit, 2))
            assert changed is not None
            assert changed.encodings[0].max_bitrate == balanced_bitrate(limit, "VP8")


@pytest.mark.parametrize(
    ("codec", "ignored", "result"),
    [
        ("video/H264", "h264", True),
        ("video/h264", "H264", True),
        ("video/H264", "264", True),
        ("video/VP8", "h264", False),
        ("", "h264", False),
        ("video/H264", "", False),
        ("video/H264", None, False),
    ],
)
@pytest.mark.parametrize("what", [None, PAUSE, RESUME, LARGEST])
def test_an_ignored_codec(codec: str, ignored: str | None, result: bool, what: MainCam | None) -> None:
    assert is_ignored(codec, ignored) is result
    changed = balanced(control(what, "640x360"), R(1280, 720), codec, SenderParameters(), ignore_for_codec=ignored)
    assert (changed is None) is result


def test_several_encodings() -> None:
    both = (
        Encoding(rid="h", max_bitrate=5_000_000, scale_resolution_down_by=2.0),
        Encoding(rid="l", max_bitrate=200_000, scale_resolution_down_by=4.0),
    )
    changed = balanced(None, R(1280, 720), "H264", SenderParameters(encodings=both))
    assert changed is not None
    assert changed.encodings == (Encoding(rid="h", max_bitrate=1_000_000), both[1])
    assert balanced(None, R(1280, 720), "H264", changed) is None


def test_no_encoding_goes_beyond_the_first() -> None:
    """Fault 7: the original balances the first one only, so that a pause leaves the others as they are."""
    both = SenderParameters(encodings=(Encoding(rid="h"), Encoding(rid="l", max_bitrate=200_000)))
    changed = balanced(control(PAUSE, None), R(1280, 720), "VP8", both)
    assert changed is not None
    assert {(one.max_bitrate, one.scale_resolution_down_by) for one in changed.encodings} == {(60_000, 200.0)}


def test_resume_from_a_pause() -> None:
    paused = SenderParameters(encodings=(Encoding(max_bitrate=60_000, scale_resolution_down_by=200.0),))
    resumed = SenderParameters(encodings=(Encoding(max_bitrate=1_000_000),))
    assert balanced(None, R(1280, 720), "H264", paused) == resumed


# -- merging (1.6) ---------------------------------------------------------------------------------------------------

E, L = Encoding, EncodingLimits
_RICH = E(active=True, rid="a", max_framerate=30)

# encodings, limits, result; an absent scale is 1 here
MERGES: list[tuple[tuple[Encoding, ...], tuple[EncodingLimits, ...], tuple[Encoding, ...]]] = [
    ((E(),), (L(max_bitrate=1_000_000, scale_resolution_down_by=1.0),), (E(max_bitrate=1_000_000),)),
    ((E(),), (L(scale_resolution_down_by=0.5),), (E(),)),
    ((E(scale_resolution_down_by=2),), (L(scale_resolution_down_by=0.5),), (E(),)),
    ((E(max_bitrate=5),), (L(),), (E(max_bitrate=5),)),
    (
        (E(),),
        (L(max_bitrate=1), L(max_bitrate=2, scale_resolution_down_by=4)),
        (E(max_bitrate=1), E(max_bitrate=2, scale_resolution_down_by=4)),
    ),
    ((E(max_bitrate=1), E(max_bitrate=2)), (L(max_bitrate=9),), (E(max_bitrate=9), E(max_bitrate=2))),
    # The other fields of a target, which the original ignores, cannot be given.
    ((_RICH,), (L(max_bitrate=7),), (E(active=True, rid="a", max_framerate=30, max_bitrate=7),)),
    ((E(),), (), (E(),)),
    ((E(max_bitrate=7),), (L(max_bitrate=7),), (E(max_bitrate=7),)),
    ((E(scale_resolution_down_by=3),), (L(max_bitrate=7),), (E(scale_resolution_down_by=3, max_bitrate=7),)),
]


@pytest.mark.parametrize(("current", "limits", "result"), MERGES)
def test_merge(current: tuple[Encoding, ...], limits: tuple[EncodingLimits, ...], result: tuple[Encoding, ...]) -> None:
    assert merged(SenderParameters(encodings=current), limits) == SenderParameters(encodings=result)


def test_merge_that_takes_a_limit_away() -> None:
    current = SenderParameters(encodings=(E(max_bitrate=5, scale_resolution_down_by=2),))
    assert merged(current, (L(),), resets=True).encodings == (E(scale_resolution_down_by=2),)


def test_merge_of_a_degradation_preference() -> None:
    """Fault 5: the original clears it whenever it sets a bit rate."""
    balancing, keeping = DegradationPreference.MAINTAIN_FRAMERATE, DegradationPreference.MAINTAIN_RESOLUTION
    current = SenderParameters(degradation_preference=keeping)
    assert merged(current, (L(max_bitrate=7),)).degradation_preference is keeping
    assert merged(current, (), degradation_preference=balancing).degradation_preference is balancing
    changed = balanced(control(PAUSE, None), None, "VP8", current)
    assert changed is not None and changed.degradation_preference is keeping


# -- encodings that are asked for (6.6, 8.3) -------------------------------------------------------------------------

# encodings, track, largest, result
SEND_ENCODINGS: list[tuple[tuple[Encoding, ...], Resolution | None, Resolution | None, tuple[Encoding, ...]]] = [
    ((), R(1920, 1080), R(1280, 720), (E(scale_resolution_down_by=1.5),)),
    (
        (E(max_bitrate=1, scale_resolution_down_by=2),),
        R(1920, 1080),
        R(1280, 720),
        (E(max_bitrate=1, scale_resolution_down_by=2),),
    ),
    (
        (E(scale_resolution_down_by=1.2), E(rid="l")),
        R(1920, 1080),
        R(1280, 720),
        (E(scale_resolution_down_by=1.5), E(rid="l", scale_resolution_down_by=1.5)),
    ),
    ((), R(1280, 720), R(1920, 1080), (E(),)),
    # Fault 19: [{}], the stricter wish of the caller is lost where the limit does not apply.
    ((E(scale_resolution_down_by=4),), R(1280, 720), R(1920, 1080), (E(scale_resolution_down_by=4),)),
    ((), None, R(1280, 720), (E(),)),
    ((), R(1920, 1080), None, ()),
    ((E(max_bitrate=1),), R(1920, 1080), None, (E(max_bitrate=1),)),
]


@pytest.mark.parametrize(("encodings", "track", "largest", "result"), SEND_ENCODINGS)
def test_resolve_send_encodings(
    encodings: tuple[Encoding, ...],
    track: Resolution | None,
    largest: Resolution | None,
    result: tuple[Encoding, ...],
) -> None:
    assert resolve_send_encodings(encodings, track, largest) == result


def test_encodings_by_width_and_height() -> None:
    """As the documentation of the original has them; its code does not know them."""
    track = R(1920, 1080)
    assert fit_encoding(E(scalability_mode="L3T3_KEY"), R(1920, 1080), track) == E(scalability_mode="L3T3_KEY")
    assert fit_encoding(E(), R(1280, 720), track) == E(scale_resolution_down_by=1.5)
    assert fit_encoding(E(scale_resolution_down_by=2), R(1280, 720), track) == E(scale_resolution_down_by=2)
    assert fit_encoding(E(), R(1280, 720), None) == E()
