"""How the main video is sent, by what the conference server asks for, the size of the picture and the codec."""

from __future__ import annotations

from attrs import evolve

from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.conference import MainCam, MainCamControl
from sipproto.media.bitrates import balanced_bitrate, minimum_bitrate
from sipproto.media.resolution import Resolution, parse_resolution, scale_to_fit
from sipproto.media.send_encodings import EncodingLimits, merged

_PAUSED_SCALE = 200.0


def balanced(
    command: MainCamControl | None,
    track: Resolution | None,
    codec: str,
    current: SenderParameters,
    *,
    ignore_for_codec: str | None = None,
    max_resolution: Resolution | None = None,
) -> SenderParameters | None:
    """What a line is to be sent with in place of `current`; None: there is nothing to change.

    command: the last word of the server, None when it has said nothing. track: the size of the picture before it is
    encoded. codec: an SDP name or a MIME type, "" when not known. max_resolution: never send more than that of our own
    accord; the server's word goes beyond. The first encoding gets the bit rate and the scale, others never exceed them;
    all else stays as it is.
    """
    if is_ignored(codec, ignore_for_codec):
        return None
    limits = video_limits(command, track, codec, max_resolution)
    wanted = merged(current, (limits,))
    first, *others = wanted.encodings
    wanted = evolve(wanted, encodings=(first, *(_not_beyond(first, other) for other in others)))
    return wanted if wanted != current else None


def is_ignored(codec: str, ignore_for_codec: str | None) -> bool:
    """Whether lines with this codec are left alone: its name contains `ignore_for_codec`, in any letter case."""
    return bool(ignore_for_codec) and str(ignore_for_codec).lower() in codec.lower()


def video_limits(
    command: MainCamControl | None, track: Resolution | None, codec: str, max_resolution: Resolution | None = None
) -> EncodingLimits:
    """The bit rate and the scale. A size that cannot be read counts as none."""
    what = command.command if command is not None else None
    asked = parse_resolution(command.resolution) if command is not None and command.resolution else None
    if what is MainCam.PAUSE:
        return EncodingLimits(max_bitrate=minimum_bitrate(codec), scale_resolution_down_by=_PAUSED_SCALE)
    if what is MainCam.MAX_RESOLUTION and asked is not None:
        return EncodingLimits(
            max_bitrate=balanced_bitrate(asked, codec), scale_resolution_down_by=scale_to_fit(track, asked)
        )
    return _by_track(track, codec, max_resolution)


def _by_track(track: Resolution | None, codec: str, max_resolution: Resolution | None) -> EncodingLimits:
    scale = 1.0 if max_resolution is None else scale_to_fit(track, max_resolution)
    # Rounded, because what was divided twice may be a little more than the limit that it came from.
    side = None if track is None else round(track.longer_side / scale, 3)
    return EncodingLimits(max_bitrate=balanced_bitrate(side, codec), scale_resolution_down_by=scale)


def _not_beyond(first: Encoding, other: Encoding) -> Encoding:
    """An engine that sends one of several takes the best one: a pause must not leave it a better one than the first."""
    assert first.max_bitrate is not None  # it has just been given one
    return evolve(
        other,
        max_bitrate=min(first.max_bitrate, other.max_bitrate or first.max_bitrate),
        scale_resolution_down_by=max(first.scale_resolution_down_by, other.scale_resolution_down_by),
    )
