"""Whether the main video arrives: problems that last over several measurements, and their end."""

from __future__ import annotations

import enum

from attrs import field, frozen, validators

from sipproto.agent.stats import InboundRtpStats

_ENOUGH_PACKETS = 500  # after so many there has to be a picture


class StreamProblem(enum.Enum):
    STALLED = "inbound-video-stalled"  # something came, and nothing comes any more
    NO_TRAFFIC = "no-inbound-video-traffic"  # nothing has ever come
    INVALID_FRAMES = "invalid-inbound-frames"  # packets come, and no pictures


@frozen(kw_only=True)
class ProblemDetected:
    """The problem has been there for so many samples in a row."""

    problem: StreamProblem


@frozen(kw_only=True)
class ProblemOver:
    """`resolved`: the video arrives again; else the call or the line has changed, and it is looked at anew."""

    problem: StreamProblem
    resolved: bool


@frozen(kw_only=True)
class _Settings:
    samples: int = field(validator=(validators.instance_of(int), validators.gt(0)))


class StreamHealth:
    """`samples`: after so many with the same problem it is told of. Raises ValueError for less than 1.

    Each ProblemDetected is followed by a ProblemOver, or by another ProblemDetected in its place.
    """

    def __init__(self, *, samples: int = 3) -> None:
        self._settings = _Settings(samples=samples)
        self._before: InboundRtpStats | None = None
        self._problem: StreamProblem | None = None  # of the last sample
        self._count = 0
        self._told: StreamProblem | None = None

    def sample(self, video: InboundRtpStats | None, *, muted: bool = True) -> ProblemDetected | ProblemOver | None:
        """Takes what was measured of a line on which video is to be received. None: nothing has come yet.

        muted: whether no picture is shown lately (W3C MediaStreamTrack.muted), True when that is not known.
        """
        problem = problem_of(video, self._before, muted=muted)
        self._count = self._count + 1 if problem is self._problem else 1
        self._before, self._problem = video, problem
        if problem is None:
            return self._over(resolved=True)
        if self._count == self._settings.samples and problem is not self._told:
            self._told = problem
            return ProblemDetected(problem=problem)
        return None

    def reset(self) -> ProblemOver | None:
        """Another call, or another line: what was before says nothing of it."""
        self._before, self._problem, self._count = None, None, 0
        return self._over(resolved=False)

    def _over(self, *, resolved: bool) -> ProblemOver | None:
        told, self._told = self._told, None
        return ProblemOver(problem=told, resolved=resolved) if told is not None else None


def problem_of(
    video: InboundRtpStats | None, before: InboundRtpStats | None, *, muted: bool = True
) -> StreamProblem | None:
    """What is wrong with one measurement, by the one before it."""
    packets, octets = (video.packets_received, video.bytes_received) if video is not None else (0, 0)
    earlier = (before.packets_received, before.bytes_received) if before is not None else (0, 0)
    if any(earlier) and (packets, octets) == earlier:
        return StreamProblem.STALLED
    if packets == 0 and octets == 0:
        return StreamProblem.NO_TRAFFIC
    if muted and packets >= _ENOUGH_PACKETS and packets != earlier[0] and _without_pictures(video, before):
        return StreamProblem.INVALID_FRAMES
    return None


def _without_pictures(video: InboundRtpStats | None, before: InboundRtpStats | None) -> bool:
    """Whether no picture is complete, or none is decoded. A counter that the engine does not know says nothing."""

    def frames(stats: InboundRtpStats | None) -> tuple[int | None, int | None]:
        return (stats.frames_received, stats.frames_decoded) if stats is not None else (None, None)

    return any(
        now == 0 or (now is not None and now == earlier)
        for now, earlier in zip(frames(video), frames(before), strict=True)
    )
