"""How video is encoded for given wishes, bits and time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from attrs import evolve

from sipproto.agent.parameters import (
    ContentHint,
    DegradationPreference,
    EffectiveParameters,
    Encoding,
    SenderParameters,
)
from sipproto.media import (
    MINIMUM_BITRATE,
    SACRIFICES,
    START_BITRATE,
    Bandwidth,
    VideoControl,
    VideoTarget,
    ample_bitrate,
    chosen_encoding,
    effective_parameters,
    video_target,
)

HINT, KEEP = ContentHint, DegradationPreference
PLENTY = 100_000_000


def target(
    available: int = PLENTY,
    *,
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    keep: DegradationPreference = KEEP.BALANCED,
    hint: ContentHint = HINT.NONE,
    codec: str = "VP8",
    width: int = 1280,
    height: int = 720,
    **more: Any,
) -> VideoTarget:
    arguments: dict[str, Any] = {"frame_rate": 30.0, **more}
    return video_target(
        encoding=encoding,
        preference=keep,
        hint=hint,
        codec=codec,
        available=available,
        width=width,
        height=height,
        **arguments,
    )


def test_with_plenty_of_everything_nothing_is_given_up() -> None:
    for hint, keep, codec in itertools.product(HINT, KEEP, ("VP8", "VP9", "H264")):
        got = target(hint=hint, keep=keep, codec=codec)
        assert (got.width, got.height, got.frame_rate, got.scale) == (1280, 720, 30.0, 1.0)
        assert got.bitrate == ample_bitrate(1280, 720) == 2_488_320


def test_wishes_are_kept_to_exactly_when_they_cost_less_than_there_is() -> None:
    wish = Encoding(max_bitrate=600_000, max_framerate=12.5, scale_resolution_down_by=2)
    got = target(encoding=wish)
    assert (got.width, got.height, got.frame_rate, got.bitrate) == (640, 360, 12.5, 600_000)
    assert target(encoding=Encoding(max_framerate=60)).frame_rate == 30.0
    assert target(MINIMUM_BITRATE, encoding=wish).bitrate == MINIMUM_BITRATE


def test_every_hint_and_preference_has_its_sacrifice() -> None:
    assert set(SACRIFICES) == set(HINT)
    for row in SACRIFICES.values():
        assert set(row) == set(KEEP)
        shares = [row[keep].frame_rate_share for keep in (KEEP.MAINTAIN_FRAMERATE, KEEP.BALANCED)]
        assert 0 == shares[0] < shares[1] <= row[KEEP.MAINTAIN_RESOLUTION].frame_rate_share == 1
    assert SACRIFICES[HINT.NONE] == SACRIFICES[HINT.MOTION]


@pytest.mark.parametrize("hint", HINT)
def test_what_is_maintained_when_bits_are_lacking(hint: ContentHint) -> None:
    frame_rate = target(300_000, hint=hint, keep=KEEP.MAINTAIN_FRAMERATE)
    balanced = target(300_000, hint=hint, keep=KEEP.BALANCED)
    resolution = target(300_000, hint=hint, keep=KEEP.MAINTAIN_RESOLUTION)
    assert (frame_rate.frame_rate, resolution.width) == (30.0, 1280)
    assert frame_rate.width <= balanced.width <= resolution.width
    assert frame_rate.frame_rate >= balanced.frame_rate >= resolution.frame_rate
    assert frame_rate.width < 640 and resolution.frame_rate < 8


def test_both_give_way_when_balanced() -> None:
    got = target(300_000)
    assert (got.width, got.height) == (640, 360) and 15 <= got.frame_rate < 20


def test_below_the_floor_of_the_frame_rate_the_picture_gets_smaller() -> None:
    got = target(MINIMUM_BITRATE, keep=KEEP.MAINTAIN_RESOLUTION, hint=HINT.MOTION)
    assert got.frame_rate == pytest.approx(5, rel=0.3) and got.width < 1280
    still = target(MINIMUM_BITRATE, keep=KEEP.MAINTAIN_RESOLUTION, hint=HINT.TEXT)
    assert still.frame_rate == pytest.approx(1, rel=0.5) and still.width > got.width


def test_no_picture_gets_too_small_and_no_frame_rate_too_low() -> None:
    for hint, keep, size in itertools.product(HINT, KEEP, ((1920, 1080), (320, 240), (160, 90), (64, 48), (16, 16))):
        got = target(1000, hint=hint, keep=keep, width=size[0], height=size[1])
        assert got.frame_rate >= 1
        assert got.width * got.height >= min(160 * 90, size[0] * size[1]) * 0.97
        assert got.width % 2 == got.height % 2 == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1279, 719), (17, 4000)])
def test_odd_sizes_become_even_ones(size: tuple[int, int]) -> None:
    got = target(width=size[0], height=size[1], encoding=Encoding(scale_resolution_down_by=3))
    assert got.width >= 2 and got.height >= 2 and got.width % 2 == got.height % 2 == 0


def test_the_need_of_bits_differs_by_codec() -> None:
    areas = {c: (t := target(300_000, codec=c)).width * t.frame_rate for c in ("VP8", "H264", "VP9", "unheard of")}
    assert areas["VP8"] < areas["H264"] <= areas["VP9"]
    assert areas["unheard of"] == areas["VP8"]


def test_a_slow_encoder_is_given_less() -> None:
    pixels = 1280 * 720 * 30
    slow = target(pixel_rate=pixels / 4)
    assert slow.width * slow.height * slow.frame_rate <= pixels / 4 * 1.01
    assert slow.bitrate == target().bitrate
    assert target(pixel_rate=pixels * 1.1) == target()


def test_for_want_of_time_a_picture_is_halved_at_the_most() -> None:
    for keep in KEEP:
        slow = target(pixel_rate=1_000_000, keep=keep)
        assert slow.width in (640, 1280) and slow.frame_rate < 5
    assert target(300_000, pixel_rate=1_000_000, keep=KEEP.MAINTAIN_FRAMERATE).width == 512  # the bits want that


def test_growing_needs_a_reserve_and_small_changes_change_nothing() -> None:
    small = target(600_000, keep=KEEP.MAINTAIN_FRAMERATE)
    assert small.scale == 1.5
    for available in (600_000 * 0.91, 600_000 * 1.24):
        assert target(int(available), keep=KEEP.MAINTAIN_FRAMERATE, previous=small) == small
    fresh = target(800_000, keep=KEEP.MAINTAIN_FRAMERATE)
    kept = target(800_000, keep=KEEP.MAINTAIN_FRAMERATE, previous=small)
    assert (fresh.scale, kept.scale, kept.bitrate) == (1.25, 1.5, 800_000)
    assert target(1_100_000, keep=KEEP.MAINTAIN_FRAMERATE, previous=small).scale == 1.25
    assert target(300_000, keep=KEEP.MAINTAIN_FRAMERATE, previous=small).scale == 2.5


# -- the path --------------------------------------------------------------------------------------------------------


def report(path: Bandwidth, *losses: float, wanted: int = 5_000_000, start: float = 0.0) -> None:
    for number, loss in enumerate(losses):
        path.report(loss, used=min(path.available, wanted), wanted=wanted, now=start + number)


def test_the_path_is_believed_to_take_more_until_it_loses_packets() -> None:
    path = Bandwidth()
    assert path.available == START_BITRATE
    report(path, 0, 0)
    assert path.available == pytest.approx(START_BITRATE * 1.5**2)
    report(path, 0, 0, 0, 0, start=10)
    assert path.available == 5_000_000  # nobody wants more
    report(path, 0.2, start=20)
    assert path.available == 4_500_000
    report(path, 0.05, start=30)
    assert path.available == 4_500_000
    report(path, 0, start=40)
    assert path.available == pytest.approx(4_725_000)


def test_reports_in_quick_succession_count_once_and_a_lossy_path_has_a_floor() -> None:
    path = Bandwidth()
    for moment in (0.0, 0.1, 0.2, 0.39):
        path.report(1.0, used=1_000_000, wanted=5_000_000, now=moment)
    assert path.available == 500_000
    report(path, *[1.0] * 20, start=10)
    assert path.available == MINIMUM_BITRATE


def test_the_peers_own_estimate_is_an_upper_bound() -> None:
    path = Bandwidth()
    path.remb(400_000)
    report(path, 0, 0, 0)
    assert path.available == 400_000
    path.remb(10)
    assert path.available == MINIMUM_BITRATE
    path.remb(1 << 62)
    assert path.available == 5_000_000


def test_the_estimate_by_delay_is_an_upper_bound_and_a_probe_that_went_well_saves_the_growth() -> None:
    path = Bandwidth()
    path.path(300_000, probed=False)
    report(path, 0, 0, 0)
    assert path.available == 300_000
    path.path(10, probed=False)
    assert path.available == MINIMUM_BITRATE
    path.path(8_000_000, probed=False)
    assert path.available == 5_000_000
    path.path(8_000_000, probed=True)
    assert path.available == 8_000_000
    report(path, 0.05, start=10)
    path.path(9_000_000, probed=True)
    assert path.available == 8_000_000  # what is lost was not probed for
    path.path(None, probed=False)
    path.remb(400_000)
    assert path.available == 400_000


def test_losses_count_from_what_was_sent() -> None:
    path = Bandwidth()
    path.report(0.5, used=100_000, wanted=100_000, now=0)
    assert path.available == 75_000


# -- the wishes ------------------------------------------------------------------------------------------------------


def test_the_best_active_encoding_is_chosen() -> None:
    low, high = Encoding(rid="l", max_bitrate=200_000), Encoding(rid="h", max_bitrate=2_000_000)
    free = Encoding(rid="f")
    assert chosen_encoding((low, high)) is high
    assert chosen_encoding((low, high, free)) is free
    assert chosen_encoding((low, evolve(high, active=False))) is low
    assert chosen_encoding((evolve(low, active=False), evolve(high, active=False))).rid == "h"
    half = evolve(free, scale_resolution_down_by=2, rid="half")
    assert chosen_encoding((half, free)) is free
    assert chosen_encoding((evolve(free, max_framerate=5), evolve(free, rid="second"))).rid == "second"
    assert chosen_encoding((free, evolve(free, rid="second"))) is free


def effective(kind: str, codec: str, *encodings: Encoding, **more: Any) -> EffectiveParameters:
    return effective_parameters(kind, codec, SenderParameters(encodings=encodings, **more))


def test_what_is_possible_is_not_ignored() -> None:
    wish = Encoding(rid="h", max_bitrate=1_000_000, max_framerate=10, scale_resolution_down_by=2)
    got = effective("video", "VP8", wish, content_hint=HINT.TEXT, degradation_preference=KEEP.MAINTAIN_FRAMERATE)
    assert got == EffectiveParameters(
        encodings=(wish,), content_hint=HINT.TEXT, degradation_preference=KEEP.MAINTAIN_FRAMERATE
    )
    assert effective("audio", "opus", Encoding(max_bitrate=24_000, active=False)).ignored == ()
    assert effective("video", "VP8", Encoding(scalability_mode="L1T1")).ignored == ()


def test_what_is_not_possible_is_named() -> None:
    several = effective("video", "VP9", Encoding(max_bitrate=90_000), Encoding(scalability_mode="L3T3_KEY"))
    assert several.encodings == (Encoding(),)
    assert several.ignored == (
        "2 encodings: only one is sent, the best of the active ones",
        "scalability mode L3T3_KEY: pictures are sent in one layer (L1T1)",
    )
    pictures = Encoding(scale_resolution_down_by=2, max_framerate=3)
    sound = effective("audio", "opus", pictures, content_hint=HINT.TEXT, degradation_preference=KEEP.MAINTAIN_FRAMERATE)
    assert sound == EffectiveParameters(
        encodings=(Encoding(),),
        degradation_preference=KEEP.BALANCED,
        content_hint=HINT.NONE,
        ignored=tuple(
            f"{name}: an audio line has no pictures"
            for name in ("scaling", "maximum frame rate", "degradation preference", "content hint")
        ),
    )


@pytest.mark.parametrize(
    ("kind", "codec", "asked", "got"),
    [
        ("audio", "PCMU", 64_000, None),
        ("audio", "opus", 1, 6_000),
        ("audio", "opus", 1_000_000, 510_000),
        ("video", "H264", 1, 30_000),
        ("video", "H264", 10**9, 50_000_000),
    ],
)
def test_impossible_bit_rates(kind: str, codec: str, asked: int, got: int | None) -> None:
    answer = effective(kind, codec, Encoding(max_bitrate=asked))
    assert answer.encodings[0].max_bitrate == got
    assert len(answer.ignored) == 1 and answer.ignored[0].startswith("maximum bit rate")


# -- picture by picture ----------------------------------------------------------------------------------------------


def control(encoding: Encoding = Encoding(), **more: Any) -> VideoControl:  # noqa: B008 - frozen
    return VideoControl(effective("video", "VP8", encoding, **more), "VP8")


def sent(one: VideoControl, seconds: float, *, source: float = 30.0, start: float = 0.0) -> list[VideoTarget]:
    moments = [start + number / source for number in range(int(seconds * source))]
    return [found for moment in moments if (found := one.picture(640, 360, moment, 30.0)) is not None]


@pytest.mark.parametrize("wanted", [29, 24, 20, 15, 12.5, 7, 1])
def test_pictures_are_left_out_to_keep_the_frame_rate(wanted: float) -> None:
    assert len(sent(control(Encoding(max_framerate=wanted)), 20)) == pytest.approx(20 * wanted, abs=2 + wanted / 10)


def test_a_slow_source_is_measured_and_a_pause_forgotten() -> None:
    one = control()
    assert [round(t.frame_rate) for t in sent(one, 4, source=5)][-1] == 5
    assert one.picture(640, 360, 100.0, 30.0) == evolve(sent(control(), 0.1)[0])


def test_an_inactive_line_sends_nothing_and_begins_again_with_a_key_frame() -> None:
    one = control(Encoding(active=False))
    assert sent(one, 1) == [] and not one.active
    one.use(effective("video", "VP8", Encoding()), "VP8")
    assert len(sent(one, 1, start=1)) == 30
    assert one.key_frame(1.0) and not one.key_frame(1.1)


def test_key_frames_that_are_asked_for_keep_a_distance() -> None:
    one = control()
    assert not one.key_frame(0.0)
    asked: list[float] = []
    for number in range(90):
        one.ask_key_frame()
        if one.key_frame(number / 30):
            asked.append(number / 30)
    assert len(asked) == 10 and asked[1] == pytest.approx(0.3)


def test_new_wishes_hold_from_the_next_picture_on() -> None:
    one = control()
    assert sent(one, 1)[-1].width == 640
    one.use(effective("video", "VP8", Encoding(scale_resolution_down_by=2, max_bitrate=100_000)), "VP8")
    got = sent(one, 1, start=1)[0]
    assert (got.width, got.bitrate) == (320, 100_000)
    one.use(effective("video", "VP8", Encoding()), "VP9")
    assert sent(one, 1, start=2)[0].width == 640


@pytest.mark.parametrize("octets", [1_000, 5_000, 60_000])
def test_an_encoder_that_exceeds_its_bit_rate_has_to_pause(octets: int) -> None:
    one = control(Encoding(max_bitrate=300_000))
    total = 0
    for number in range(600):
        got = one.picture(640, 360, number / 30, 30.0)
        if got is not None:
            total += octets
            one.encoded(got, octets, 0.0)
    assert total * 8 / 20 <= 300_000 + (0.75 * 300_000 + octets * 8) / 20


def test_a_picture_that_shrank_does_not_grow_at_once() -> None:
    one = control()
    assert sent(one, 1)[-1].width == 640
    one.bandwidth.remb(100_000)
    small = sent(one, 1, start=1)[-1].width
    one.bandwidth.remb(10_000_000)
    assert small < 640
    assert {got.width for got in sent(one, 3.9, start=2)} == {small}
    assert sent(one, 1, start=7)[-1].width == 640


def test_the_path_and_the_encoder_bound_what_is_sent() -> None:
    one = control()
    assert sent(one, 1)[-1].bitrate == ample_bitrate(640, 360)
    one.bandwidth.remb(200_000)
    assert sent(one, 1, start=1)[-1].bitrate == 200_000
    two = control()
    for number in range(20):
        two.report(0.5, number)
    assert sent(two, 1)[-1].bitrate < 100_000
    three = control()
    for got in sent(three, 1):
        three.encoded(got, 1000, 0.1)  # seven pictures a second at the most
        three.encoded(got, 0, 0.0)
    slow = sent(three, 1, start=1)[-1]
    assert slow.width * slow.height * slow.frame_rate < 640 * 360 * 7.1
    assert not math.isnan(slow.frame_rate)


def test_a_still_picture_does_not_lower_what_the_path_takes() -> None:
    """The estimate of a peer follows what it receives; it counts when that is what limits us."""
    path = Bandwidth()
    path.remb(60_000, sent=20_000)
    assert path.available == START_BITRATE
    path.remb(400_000, sent=450_000)
    assert path.available == 400_000
    path.remb(60_000, sent=20_000)  # slides that do not change
    assert path.available == 400_000
    path.remb(500_000, sent=20_000)
    assert path.available == 500_000
    path.remb(300_000, sent=450_000)
    assert path.available == 300_000


def test_a_limit_that_is_said_once_holds_soon() -> None:
    """Janus says what it allows when it is configured, however little is sent then, and not again."""
    path = Bandwidth()
    path.remb(150_000, sent=20_000)
    report(path, 0, 0)
    assert path.available > 150_000
    report(path, 0, start=2)
    assert path.available == 150_000
    path.remb(400_000, sent=20_000)
    assert path.available == 400_000


def test_what_is_sent_is_counted_over_a_short_time() -> None:
    one = control()
    for n in range(60):
        target = one.picture(1280, 720, n / 30, 30.0)
        if target is not None:
            one.encoded(target, 100, 0.0)
    one.remb(200_000)  # 24 kbit/s are sent
    assert one.bandwidth.available == START_BITRATE
    for n in range(60, 120):
        target = one.picture(1280, 720, n / 30, 30.0)
        if target is not None:
            one.encoded(target, 2000, 0.0)
    one.remb(200_000)  # 480 kbit/s are
    assert one.bandwidth.available == 200_000
