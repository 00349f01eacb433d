"""Which of the received lines belong together, which of them are the main stream, and which show content."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from attrs import evolve, frozen

from sipproto.agent.outputs import LineInfo
from sipproto.conference import Share, ShareState
from sipproto.sdp import Direction

_RECEIVES = (Direction.SENDRECV, Direction.RECVONLY)


@frozen(kw_only=True)
class RemoteStream:
    """An audio line, a video line or both, by their mids. `id` stays as long as one of the lines does.

    It is the one that the peer has given (RFC 8830), with the mid behind it where others have that already; where the peer
    gives none, it is the mid of the video, else of the audio.
    """

    id: str
    audio: str | None = None
    video: str | None = None


@frozen(kw_only=True)
class Content:
    """The server has content for us. `codec`: the SDP name of its codec, None when the server does not say."""

    codec: str | None = None


@frozen(kw_only=True)
class SelectedStreams:
    """What to show. `main`: the participants; `contented`: the content; None: there is none."""

    main: RemoteStream | None = None
    contented: RemoteStream | None = None


def content_after(content: Content | None, message: ShareState) -> Content | None:
    """What there is of content once the server has said so. None: nothing, as at the beginning of a call."""
    if message.state is Share.AVAILABLE:
        return Content(codec=message.codec)
    return None if message.state is Share.ENDED else content


def select_streams(streams: tuple[RemoteStream, ...], content: Content | None) -> SelectedStreams:
    """The first stream is the main one; the second video is the content, as long as the server says that there is some."""
    main = next(iter(streams), None)
    other = next((one for one in streams[1:] if one.video is not None), None)
    return SelectedStreams(main=main, contented=other if content is not None else None)


def sent_streams(
    streams: tuple[RemoteStream, ...], content: Content | None, received: frozenset[str]
) -> tuple[RemoteStream, ...]:
    """The streams without those of further videos that nothing is sent on: a line may be kept for presentations to come.

    received: the mids of lines on which something comes. The main stream is always one, and so is content that the server
    tells of, before anything of it has come.
    """
    contented = select_streams(streams, content).contented
    return tuple(
        stream
        for place, stream in enumerate(streams)
        if place == 0 or stream.video is None or stream == contented or stream.video in received
    )


@frozen
class _Group:
    """Lines of one stream. `name`: the peer's, None when it says nothing."""

    name: str | None
    audio: LineInfo | None = None
    video: LineInfo | None = None

    @property
    def mids(self) -> list[str]:
        """That of the video first."""
        return [line.mid for line in (self.video, self.audio) if line is not None]

    @property
    def keys(self) -> list[tuple[str | None, str]]:
        return [(self.name, mid) for mid in self.mids]

    def stream(self, ident: str) -> RemoteStream:
        return RemoteStream(
            id=ident, audio=self.audio.mid if self.audio else None, video=self.video.mid if self.video else None
        )


class RemoteStreams:
    """The streams of one call, over its negotiations."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str | None, str], str] = {}  # by the peer's name and the mid

    def negotiated(self, lines: tuple[LineInfo, ...]) -> tuple[RemoteStream, ...]:
        """The streams that are received on these lines: those with video in the order of its lines, then the others.

        Lines belong together when the peer says so. Among those of one stream, and among those of which it says nothing,
        an audio line goes with the video line that follows; one that no video follows goes with the video line before it,
        if that has no audio yet. What is left is a stream of its own: no audio is lost.
        """
        order = {line.mid: place for place, line in enumerate(lines)}
        groups = sorted(_groups(lines), key=lambda group: (group.video is None, order[group.mids[0]]))
        known = {key: ident for key, ident in self._ids.items() if key[1] in order}
        owned = {known[key] for group in groups for key in group.keys if key in known}
        taken: set[str] = set()
        streams: list[RemoteStream] = []
        for group in groups:
            ident = next((known[key] for key in group.keys if key in known and known[key] not in taken), None)
            ident = ident or _new_id(group, taken | owned)
            taken.add(ident)
            known.update(dict.fromkeys(group.keys, ident))
            streams.append(group.stream(ident))
        self._ids = known
        return tuple(streams)


def _new_id(group: _Group, taken: set[str]) -> str:
    first, mid = group.name or group.mids[0], group.mids[0]
    others = (f"{first}/{mid}/{number}" for number in itertools.count(2))
    return next(ident for ident in itertools.chain((first, f"{first}/{mid}"), others) if ident not in taken)


def _groups(lines: tuple[LineInfo, ...]) -> Iterator[_Group]:
    named: dict[str | None, list[LineInfo]] = {}
    for line in lines:
        if line.direction in _RECEIVES and line.kind in ("audio", "video"):
            named.setdefault(next(iter(line.remote_streams), None), []).append(line)
    for name, members in named.items():
        yield from _joined(_adjacent(name, members))


def _adjacent(name: str | None, lines: list[LineInfo]) -> list[_Group]:
    groups: list[_Group] = []
    for line in lines:
        if line.kind == "audio":
            groups.append(_Group(name, audio=line))
        elif groups and groups[-1].video is None:
            groups[-1] = evolve(groups[-1], video=line)
        else:
            groups.append(_Group(name, video=line))
    return groups


def _joined(groups: list[_Group]) -> list[_Group]:
    """Audio that no video follows goes with the video before it."""
    out: list[_Group] = []
    for group in groups:
        if out and out[-1].audio is None and group.video is None:
            out[-1] = evolve(out[-1], audio=group.audio)
        else:
            out.append(group)
    return out
