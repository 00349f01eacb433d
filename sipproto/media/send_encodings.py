"""What is done to the encodings of a line: limits that are merged in, sizes that become scales."""

from __future__ import annotations

from attrs import evolve, field, frozen, validators

from sipproto.agent.parameters import DegradationPreference, Encoding, SenderParameters
from sipproto.media.resolution import Resolution, scale_to_fit


@frozen(kw_only=True)
class EncodingLimits:
    """What is to be changed of an encoding; None: nothing. max_bitrate: bits per second, above 0.

    scale_resolution_down_by: less than 1 counts as 1.
    """

    max_bitrate: int | None = field(default=None, validator=validators.optional(validators.gt(0)))
    scale_resolution_down_by: float | None = None


def merged(
    current: SenderParameters,
    limits: tuple[EncodingLimits, ...],
    *,
    degradation_preference: DegradationPreference | None = None,
    resets: bool = False,
) -> SenderParameters:
    """`current` with the first encodings changed as the `limits` say; encodings that are missing are added.

    Everything else stays, also the degradation preference when none is given. `resets`: a limit without a bit rate takes
    the one that there is away.
    """
    added = (Encoding(),) * (len(limits) - len(current.encodings))
    changes = limits + (None,) * (len(current.encodings) - len(limits))
    return evolve(
        current,
        encodings=tuple(
            encoding if change is None else _limited(encoding, change, resets)
            for encoding, change in zip(current.encodings + added, changes, strict=True)
        ),
        degradation_preference=degradation_preference or current.degradation_preference,
    )


def _limited(encoding: Encoding, change: EncodingLimits, resets: bool) -> Encoding:
    scale = change.scale_resolution_down_by
    return evolve(
        encoding,
        max_bitrate=change.max_bitrate if resets or change.max_bitrate is not None else encoding.max_bitrate,
        scale_resolution_down_by=encoding.scale_resolution_down_by if scale is None else max(1.0, scale),
    )


def fit_encoding(encoding: Encoding, size: Resolution, track: Resolution | None) -> Encoding:
    """The encoding with a track of this size made to fit into `size`; a larger scale of its own stays.

    For encodings that are asked for by width and height. A track of unknown size is not scaled.
    """
    scale = max(encoding.scale_resolution_down_by, scale_to_fit(track, size))
    return evolve(encoding, scale_resolution_down_by=scale)


def resolve_send_encodings(
    encodings: tuple[Encoding, ...], track: Resolution | None, max_resolution: Resolution | None
) -> tuple[Encoding, ...]:
    """The encodings with no picture larger than `max_resolution` (None: no limit), one where there was none."""
    if max_resolution is None:
        return encodings
    return tuple(fit_encoding(encoding, max_resolution, track) for encoding in encodings or (Encoding(),))
