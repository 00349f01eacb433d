"""Commanded and measured: what video lines are sent with, by codec and content hint. Run with `python -m tests.media.bitrates`.

Two engines in this process over loopback; the source is a detailed moving picture of 1280x720 or 1920x1080 at 30 a second. Each row is
measured for some seconds after as many have passed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from attrs import evolve

from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding, SenderParameters
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup
from tests.media._detail import write_clip
from tests.media._rig import End, connect
from tests.media._sending import measure, only, set_parameters

CODECS = (("VP8", ""), ("VP9", ""), ("H264", "packetization-mode=1"))
FULL, HD = (1920, 1080), (1280, 720)
_RESOLUTION = DegradationPreference.MAINTAIN_RESOLUTION
_FRAME_RATE = DegradationPreference.MAINTAIN_FRAMERATE
_BALANCED = DegradationPreference.BALANCED

Row = tuple[str, SenderParameters]


def row(
    text: str,
    hint: ContentHint = ContentHint.MOTION,
    keep: DegradationPreference = _BALANCED,
    **encoding: float | int | bool,
) -> Row:
    one = evolve(Encoding(), **encoding)  # type: ignore[arg-type]
    return text, SenderParameters(encodings=(one,), degradation_preference=keep, content_hint=hint)


# The rows of a group are one call, one after the other.
GROUPS: tuple[tuple[tuple[int, int], tuple[Row, ...]], ...] = (
    (
        HD,
        (
            row("2500k", max_bitrate=2_500_000),
            row("1000k", max_bitrate=1_000_000),
            row("1000k, scale 2", max_bitrate=1_000_000, scale_resolution_down_by=2.0),
            row("1000k, 10 fps", max_bitrate=1_000_000, max_framerate=10),
        ),
    ),
    (
        HD,
        tuple(
            row("300k", hint, keep, max_bitrate=300_000)
            for hint in (ContentHint.MOTION, ContentHint.DETAIL, ContentHint.TEXT)
            for keep in (_FRAME_RATE, _BALANCED, _RESOLUTION)
        ),
    ),
    (
        HD,
        (
            row("100k, scale 4", max_bitrate=100_000, scale_resolution_down_by=4.0),
            row("not active", active=False),
            row("active again, 100k, scale 4", max_bitrate=100_000, scale_resolution_down_by=4.0),
        ),
    ),
    (FULL, (row("4000k", max_bitrate=4_000_000), row("6000k", max_bitrate=6_000_000))),
    (FULL, (row("4000k", ContentHint.DETAIL, _RESOLUTION, max_bitrate=4_000_000),)),
)


def run(codec: str, parameters: str, size: tuple[int, int], clip: str, rows: tuple[Row, ...], seconds: float) -> None:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    a = End(left, MediaSetup(video=FileSource(clip)), only(left.capabilities, "video", codec, parameters))
    b = End(right)
    connect(a, b, "video")
    for text, sender in rows:
        effective = set_parameters(a, sender)
        time.sleep(seconds)
        got = measure(b, seconds)
        width, height = got.size
        print(
            f"| {codec} | {size[1]}p | {text} | {effective.content_hint.value} | "
            f"{effective.degradation_preference.value} | {got.kbps:.0f} | {width}x{height} | {got.fps:.1f} |",
            flush=True,
        )
    left.close()
    right.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of settling, and again of measuring, for each row")
    parser.add_argument("--codec", choices=[name for name, _ in CODECS])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = {
            size: write_clip(Path(folder) / f"{size[1]}.mkv", *size, pictures=60 if size == HD else 45)
            for size in (HD, FULL)
        }
        print("| codec | source | commanded | hint | preference | kbit/s | size | fps |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for codec, parameters in CODECS:
            for size, rows in GROUPS if arguments.codec in (None, codec) else ():
                run(codec, parameters, size, clips[size], rows, arguments.seconds)


if __name__ == "__main__":
    main()
