"""What goes into a negotiation and what comes out of it."""

from __future__ import annotations

from attrs import field, frozen

from sipproto.errors import Fault, RemoteProtocolError
from sipproto.sdp import Codec, Direction, RemoteTransport

# The header extension that numbers the packets of a transport.
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"


class NegotiationError(RemoteProtocolError):
    """The peer's description cannot be worked with; an offer is answered with 488 (RFC 3261 13.3.1.3)."""

    def __init__(self, detail: str) -> None:
        super().__init__(Fault.BAD_SDP, detail)

    @property
    def status_hint(self) -> int:
        return 488


@frozen(kw_only=True)
class MediaCapabilities:
    """What a media engine can do. Codecs in order of preference, each with the payload type it would like to have.

    receive_only: names of codecs, in any letter case, that are not sent with. On a line that sends and receives each codec
    is one for both (RFC 3264 5.1), so they are offered and accepted on lines that are only received.
    """

    audio: tuple[Codec, ...] = ()
    video: tuple[Codec, ...] = ()
    receive_only: tuple[str, ...] = ()
    audio_extensions: tuple[str, ...] = ()
    video_extensions: tuple[str, ...] = ()

    def codecs(self, kind: str) -> tuple[Codec, ...]:
        return {"audio": self.audio, "video": self.video}.get(kind, ())

    def usable(self, kind: str, direction: Direction) -> tuple[Codec, ...]:
        """The codecs for a line that is to do this; the rtx of one that is left out may be among them."""
        left_out = {name.lower() for name in self.receive_only} if direction.sends else set[str]()
        return tuple(codec for codec in self.codecs(kind) if codec.name.lower() not in left_out)

    def can(self, kind: str, preferences: CodecPreferences) -> bool:
        """Whether a codec that carries media both ways is left for a kind."""
        excluded = {name.lower() for name in preferences.exclude}
        codecs = self.usable(kind, Direction.SENDRECV)
        return any(not c.is_auxiliary and f"{kind}/{c.name}".lower() not in excluded for c in codecs)

    def extensions(self, kind: str) -> tuple[str, ...]:
        return self.audio_extensions if kind == "audio" else self.video_extensions


@frozen(kw_only=True)
class CodecPreferences:
    """Codecs by MIME type, e.g. "video/VP9", in any letter case.

    Those preferred come first, in this order, also in an answer. Those excluded are neither offered nor accepted; a line
    for which nothing is left is refused, or cannot be offered. A name that no engine has says nothing.
    """

    prefer: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@frozen(kw_only=True)
class LocalTransport:
    """One ICE and DTLS transport of ours, as the media engine opened it.

    `candidates` are the values of `a=candidate` lines; `address` and `port` those of the default one, for the `m=` and
    `c=` lines; `fingerprint` is (hash name in lower case, digest in upper-case hex with colons).
    """

    ice_ufrag: str
    ice_pwd: str = field(repr=False)
    candidates: tuple[str, ...]
    fingerprint: tuple[str, str]
    address: str = "0.0.0.0"
    port: int = 9


@frozen(kw_only=True)
class MediaLine:
    """One line as both sides agreed on it. `direction` is ours; `send` and `receive` carry the payload types to use.

    Sent is with the first codec of `send` that carries media, and telephone-event beside it (RFC 4733). `remote_streams`:
    what the peer's media belong to (RFC 8830), empty when it does not say. `packet_time`: the milliseconds of sound that
    the peer would like in a packet (ptime, RFC 8866 6.4); None when it does not say.
    """

    index: int
    mid: str
    kind: str
    slot: int
    direction: Direction
    send: tuple[Codec, ...]
    receive: tuple[Codec, ...]
    extensions: tuple[tuple[str, int], ...]
    ssrc: int
    rtx_ssrc: int
    stream_id: str
    track_id: str
    remote_ssrcs: tuple[int, ...]
    remote_direction: Direction
    remote_streams: tuple[str, ...] = ()
    packet_time: int | None = None

    @property
    def codec(self) -> Codec:
        """What is sent with."""
        return next(codec for codec in self.send if not codec.is_auxiliary)

    @property
    def transport_cc(self) -> bool:
        """Whether the packets of the transport are numbered and their arrivals told, both ways (transport-wide feedback).

        It takes the header extension and the feedback: an engine that has neither among its capabilities is never asked.
        """
        return "transport-cc" in self.codec.feedback and any(uri == TRANSPORT_CC for uri, _ in self.extensions)

    @property
    def telephone_event(self) -> Codec | None:
        """What digits are sent with, at the clock rate of the codec beside it (RFC 4733 2.1); None: the peer takes none.

        LENIENT: a peer that takes them at other rates only gets the lowest one, as from browsers. Firefox and many an exchange
        have 8000 Hz alone, also beside Opus.
        """
        taken = [codec for codec in self.send if codec.name.lower() == "telephone-event"]
        return min(taken, key=lambda codec: (codec.clock_rate != self.codec.clock_rate, codec.clock_rate), default=None)


@frozen(kw_only=True)
class TransportPair:
    """A transport in use: our slot, the peer's parameters, and who does what."""

    slot: int
    remote: RemoteTransport
    ice_controlling: bool
    dtls_client: bool


@frozen(kw_only=True)
class NegotiatedSession:
    """The result of an offer and its answer: what a media engine has to bring about.

    Slots that are not among `transports` are not needed any more. Rejected lines are left out. `remote_hold`: the peer takes
    none of the media that we would send, so it holds the call (RFC 3264 8.4).
    """

    lines: tuple[MediaLine, ...]
    transports: tuple[TransportPair, ...]
    cname: str
    remote_hold: bool = False
