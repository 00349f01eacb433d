"""A call of the fake media engine: what was asked for it, and whether that is possible (docs/media.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from sipproto.agent.media import (
    DIGITS,
    ApplyMedia,
    AskKeyFrame,
    CallId,
    CollectStats,
    DigitSent,
    KeyFrameAsked,
    LineStats,
    MediaApplied,
    MediaOpened,
    MediaReply,
    MediaReport,
    MediaState,
    OpenMedia,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
    StatsCollected,
)
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.negotiation import LocalTransport, MediaLine, NegotiatedSession
from sipproto.sdp import Codec, RemoteTransport

Request = OpenMedia | ApplyMedia | CollectStats | SetSenderParameters | AskKeyFrame | SendDigit

_LAST_DIGIT = DIGITS.index("D")
_HASHES = frozenset({"sha-256", "sha-384", "sha-512"})


class Refused(Exception):
    """What was asked for is not possible; the text is that of MediaFailed."""


@frozen
class TransportSource:
    """Transports out of a counter, with addresses of documentation (RFC 5737) and one certificate for all.

    Those that are opened together have the same ICE credentials.
    """

    seed: int
    numbers: Iterator[int]

    def transports(self, slots: Iterable[int]) -> dict[int, LocalTransport]:
        numbers = {slot: next(self.numbers) for slot in slots}
        return {slot: self._transport(number, min(numbers.values())) for slot, number in numbers.items()}

    def _transport(self, number: int, first: int) -> LocalTransport:
        address, port = f"192.0.2.{1 + self.seed % 254}", 10_000 + 2 * number % 50_000
        digest = hashlib.sha256(f"the certificate of fake media engine {self.seed}".encode()).digest()
        return LocalTransport(
            ice_ufrag=f"fake{self.seed}x{first}",
            ice_pwd=f"fake{self.seed:08}password{first:08}",
            candidates=(f"1 1 udp 2130706431 {address} {port} typ host",),
            fingerprint=("sha-256", ":".join(f"{octet:02X}" for octet in digest)),
            address=address,
            port=port,
        )


@define(kw_only=True, eq=False)
class FakeCall:
    """What a fake media engine knows of one call; it is kept after CloseMedia. Read it; only `report` is yours to set.

    session: what was agreed on last, None before. state: of the transports, as it was reported last, None before.
    transports: those that are open, by slot. parameters: those set last, by the index of the line. digits: those sent
    in RTP, one after the other. key_frames: each that was asked for, as the index of its line and whether it was one of
    ours. prepared: what `prepare` was given. report: what CollectStats gets; None: the lines that were agreed on, with
    figures of zero.
    """

    ident: CallId
    session: NegotiatedSession | None = None
    state: MediaState | None = None
    transports: dict[int, LocalTransport] = field(factory=dict)
    parameters: dict[int, SenderParameters] = field(factory=dict)
    digits: str = ""
    key_frames: list[tuple[int, bool]] = field(factory=list)
    prepared: list[object] = field(factory=list)
    report: MediaReport | None = None
    is_closed: bool = False
    _renewed: dict[int, LocalTransport] = field(factory=dict)  # opened for a restart that is not applied yet

    @property
    def lines(self) -> tuple[MediaLine, ...]:
        """The lines that were agreed on last."""
        return self.session.lines if self.session is not None else ()

    def carry_out(self, operation: Request, source: TransportSource) -> MediaReply:
        """Does what is asked for and returns the reply. Raises Refused, and has changed nothing then."""
        number = operation.request
        match operation:
            case OpenMedia():
                return MediaOpened(request=number, transports=self._open(operation, source))
            case ApplyMedia(session=session):
                self._apply(session)
                return MediaApplied(request=number)
            case CollectStats():
                return StatsCollected(request=number, report=self._measured())
            case SetSenderParameters():
                return SenderParametersSet(request=number, effective=self._set_parameters(operation))
            case AskKeyFrame():
                self._ask_key_frame(operation)
                return KeyFrameAsked(request=number)
            case SendDigit():
                self._send_digit(operation)
                return DigitSent(request=number)

    def has_to_connect(self, session: NegotiatedSession) -> bool:
        """Whether a session brings a transport that is new, or that the peer has restarted."""
        before = _remotes(self.session)
        return any(
            slot not in before or not remote.same_ice(before[slot]) for slot, remote in _remotes(session).items()
        )

    # -- the operations ------------------------------------------------------------------------------------------------

    def _open(self, operation: OpenMedia, source: TransportSource) -> tuple[tuple[int, LocalTransport], ...]:
        if operation.restart:
            self._require_open(operation.slots)
            self._renewed = source.transports(operation.slots)
            return tuple(self._renewed.items())
        self.transports |= source.transports(slot for slot in operation.slots if slot not in self.transports)
        return tuple((slot, self.transports[slot]) for slot in operation.slots)

    def _apply(self, session: NegotiatedSession) -> None:
        before, after = _remotes(self.session), _remotes(session)
        self._require_open(after)
        if stray := sorted({line.slot for line in session.lines} - set(after)):
            raise Refused(f"media lines use the transports {stray}, which were not agreed on")
        for slot, remote in after.items():
            _require_usable(remote, before.get(slot))
        restarted = {slot for slot, remote in after.items() if slot in before and not remote.same_ice(before[slot])}
        known = self.transports | {slot: new for slot, new in self._renewed.items() if slot in restarted}
        self.transports = {slot: known[slot] for slot in after}
        self._renewed = {}
        self.session = session

    def _measured(self) -> MediaReport:
        if self.report is not None:
            return self.report
        state = self.state or MediaState.CONNECTING
        return MediaReport(state=state, lines=tuple(_figures(line) for line in self.lines))

    def _set_parameters(self, operation: SetSenderParameters) -> EffectiveParameters:
        self._line(operation.line)
        wish = self.parameters[operation.line] = operation.parameters
        return EffectiveParameters(
            encodings=wish.encodings,
            degradation_preference=wish.degradation_preference,
            content_hint=wish.content_hint,
        )

    def _ask_key_frame(self, operation: AskKeyFrame) -> None:
        line, ours = self._line(operation.line), operation.ours
        if line.kind != "video" or not (line.direction.sends if ours else line.direction.receives):
            raise Refused(f"no video is {'sent' if ours else 'received'} on the media line {line.index}")
        self.key_frames.append((line.index, ours))

    def _send_digit(self, operation: SendDigit) -> None:
        line = self._line(operation.line)
        if line.kind != "audio" or not line.direction.sends:
            raise Refused(f"no audio is sent on the media line {line.index}")
        if not 0 <= operation.event <= _LAST_DIGIT or operation.duration <= 0:
            raise Refused(f"no digit: event {operation.event} of {operation.duration} ms")
        if operation.codec not in line.send or not is_event(operation.codec):
            raise Refused(f"{operation.codec.name} is not what digits are sent with on the media line {line.index}")
        self.digits += DIGITS[operation.event]

    def _require_open(self, slots: Iterable[int]) -> None:
        if missing := sorted(set(slots) - set(self.transports)):
            raise Refused(f"the media transports {missing} are not open")

    def _line(self, index: int) -> MediaLine:
        line = next((line for line in self.lines if line.index == index), None)
        if line is None:
            raise Refused(f"the call has no media line {index}")
        return line


def is_event(codec: Codec) -> bool:
    """Whether it is what digits are sent with (RFC 4733)."""
    return codec.name.lower() == "telephone-event"


def _remotes(session: NegotiatedSession | None) -> dict[int, RemoteTransport]:
    return {pair.slot: pair.remote for pair in session.transports} if session is not None else {}


def _require_usable(remote: RemoteTransport, before: RemoteTransport | None) -> None:
    if not any(algorithm in _HASHES for algorithm, _ in remote.fingerprints):
        raise Refused("the peer has no certificate fingerprint of a known hash (sha-256, sha-384, sha-512)")
    if before is not None and remote.same_ice(before) and not remote.same_dtls(before):  # RFC 9429 5.11
        raise Refused("the peer changed its certificate without an ICE restart")


def _figures(line: MediaLine) -> LineStats:
    return LineStats(mid=line.mid, kind=line.kind, direction=line.direction.value, codec=line.codec.name)
