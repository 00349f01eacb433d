"""The media of a call: its negotiation, and the operations of the media engine that follow from it (RFC 3264)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipproto.agent.inputs import Media
from sipproto.agent.media import ApplyMedia, CloseMedia, MediaFailed, MediaOpened, OpenMedia
from sipproto.agent.outputs import CallHeld, CallResumed, LineInfo, MediaNegotiated, Originator
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.negotiation import (
    CodecPreferences,
    MediaLine,
    NegotiatedSession,
    NegotiationError,
    Negotiator,
    SignalingState,
)
from sipproto.sdp import is_rejected, parse_sdp

if TYPE_CHECKING:
    from sipproto.agent._call import Call


class Session:
    """What a call negotiates. Without a negotiator the application brings the descriptions."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hub = call.hub
        self.negotiator: Negotiator | None = None
        self.local_description = self.remote_description = b""
        self._late = False  # our offer went out in a response; the answer comes in the ACK or PRACK
        self._remote_hold = False
        self._opened = False  # transports that are not applied yet
        self._lines: tuple[LineInfo, ...] = ()  # as the application was told last
        self._offered: Negotiator | None = None  # as it was when the offer had no answer, while forks can still answer

    @property
    def has_media(self) -> bool:
        """Whether the media of this call are negotiated here."""
        return self.negotiator is not None

    @property
    def is_stable(self) -> bool:
        return self.negotiator is None or self.negotiator.state is SignalingState.STABLE

    @property
    def is_late(self) -> bool:
        """Whether an answer to our offer in a response is awaited."""
        return self._late

    # -- parts of a first offer and answer ---------------------------------------------------------------------------

    def check_media(self, media: Media, codecs: CodecPreferences) -> None:
        """Raises LocalProtocolError for media that no engine could bring about."""
        capabilities = self._hub.config.capabilities
        if media and capabilities is None:
            raise LocalProtocolError("this agent has no media engine: give a body instead of media")
        for kind, _ in media:
            if capabilities is not None and not capabilities.can(kind, codecs):
                raise LocalProtocolError(f"the media engine has no codec for {kind!r}, or all are excluded")

    def _new_negotiator(self, codecs: CodecPreferences) -> Negotiator:
        capabilities = self._hub.config.capabilities
        assert capabilities is not None
        negotiator = Negotiator(capabilities, self._hub.tokens)
        negotiator.preferences = codecs
        return negotiator

    def prepare_offer(self, media: Media, codecs: CodecPreferences) -> None:
        self.check_media(media, codecs)
        negotiator = self._new_negotiator(codecs)
        for kind, direction in media:
            negotiator.add_line(kind, direction)
        self.negotiator = negotiator

    def prepare_answer(self, offer: bytes, media: Media, codecs: CodecPreferences) -> None:
        """Takes the offer of an INVITE; without one we shall offer ourselves in the 2xx (13.2.1)."""
        negotiator = self._new_negotiator(codecs)
        self._late = not offer
        if offer:
            negotiator.receive_offer(self.usable(offer), media)
            self.remote_description = offer
        else:
            for kind, direction in media:
                negotiator.add_line(kind, direction)
        self.negotiator = negotiator  # with an offer that cannot be answered there is no media to close

    def usable(self, description: bytes) -> bytes:
        """What the application makes of a description of the peer. Raises NegotiationError when it makes nothing of it."""
        try:
            return bytes(self._hub.config.transform_remote_sdp(description))  # TypeError for what is no octets
        except Exception as error:
            raise NegotiationError(f"transform_remote_sdp raised {type(error).__name__}") from error

    def offered_kinds(self, offer: bytes) -> frozenset[str]:
        """The kinds of the lines of an offer, for the application; of one that cannot be read none. Its answer will fail."""
        try:
            offered = parse_sdp(self.usable(offer))
        except (MessageSyntaxError, NegotiationError):
            return frozenset()
        return frozenset(media.kind for media in offered.media if not is_rejected(media))

    def open_transports(self, done: Callable[[str | None], None]) -> None:
        """Has the engine open what the next description needs, then calls `done` with None or an error."""
        negotiator = self.negotiator
        if negotiator is None:
            done(None)
        elif slots := negotiator.missing_slots():
            self._open(negotiator, slots, False, done)
        elif slots := negotiator.restart_slots():
            self._open(negotiator, slots, True, done)
        else:
            done(None)

    def _open(
        self, negotiator: Negotiator, slots: tuple[int, ...], restart: bool, done: Callable[[str | None], None]
    ) -> None:
        def opened(reply: object) -> None:
            if not isinstance(reply, MediaOpened):
                done(reply.error if isinstance(reply, MediaFailed) else "the media engine did not answer")
                return
            for slot, transport in reply.transports:
                negotiator.add_transport(slot, transport)
            if left := set(slots) & {*negotiator.missing_slots(), *(negotiator.restart_slots() if restart else ())}:
                done(f"the media engine left transports {sorted(left)} closed")
            else:
                self.open_transports(done)  # after new ones, those that are opened anew

        self._opened = True
        request = self._hub.next_media_request(self._call.ident, opened)
        self._hub.operate(OpenMedia(request=request, call=self._call.ident, slots=slots, restart=restart))

    def local_offer(self) -> bytes:
        assert self.negotiator is not None
        self.local_description = self.negotiator.create_offer().to_bytes()
        return self.local_description

    def local_answer(self) -> bytes:
        """Our part of a response: the answer, or the offer when the peer made none."""
        if self._late:
            return self.local_offer()
        assert self.negotiator is not None
        answer, session = self.negotiator.create_answer()
        self._apply(session)
        self.local_description = answer.to_bytes()
        return self.local_description

    def take_answer(self, body: bytes) -> None:
        assert self.negotiator is not None
        self._apply(self.negotiator.receive_answer(self.usable(body)))
        self.remote_description = body

    # -- forks: each may answer our first offer for itself (RFC 3261 13.2.2.4) -----------------------------------------

    def take_early_answer(self, body: bytes) -> None:
        """The answer of one early dialog; others may still give theirs. Raises NegotiationError."""
        assert self.negotiator is not None
        before = self.negotiator.copy()
        self.take_answer(body)
        self._offered = before

    def take_other_answer(self, body: bytes) -> None:
        """The answer of the dialog that won, where an early one had answered before. Raises NegotiationError."""
        if self._offered is not None:
            self.negotiator, self._offered = self._offered, None
        self.take_answer(body)

    def settle(self) -> None:
        """No fork will answer any more."""
        self._offered = None

    # -- answers that come late ------------------------------------------------------------------------------------------

    def begin_late_offer(self) -> None:
        """The peer's re-INVITE has no offer: ours goes into the answer."""
        self._late = True

    def take_late_answer(self, body: bytes) -> None:
        """The body of the ACK or PRACK when the offer was ours. Raises NegotiationError."""
        if self._late and self.negotiator is not None:
            self._late = False
            self.take_answer(body)

    def take_late_reanswer(self, body: bytes) -> None:
        """The ACK to our offer in the 2xx of an offerless re-INVITE; a bad one leaves the session as it was."""
        if not self._late or self.negotiator is None:
            return
        self._late = False
        try:
            self.take_answer(body)
        except NegotiationError:
            self.negotiator.rollback()

    def receive_offer(self, offer: bytes) -> None:
        """An offer of the peer inside the call. Raises NegotiationError; the session is as before then."""
        assert self.negotiator is not None
        self._late = False
        self.negotiator.receive_offer(self.usable(offer), (), self._hub.config.new_lines)
        self.remote_description = offer

    def rollback(self) -> None:
        """Forgets the offer under way, if there is one."""
        self._late = False
        if self.negotiator is not None and self.negotiator.state is not SignalingState.STABLE:
            self.negotiator.rollback()

    def remote_credentials(self) -> frozenset[str]:
        """What a restart of ICE changes, and nothing else."""
        agreed = self.negotiator.agreed if self.negotiator is not None else None
        pairs = agreed.transports if agreed is not None else ()
        return frozenset(f"{pair.remote.ice_ufrag} {pair.remote.ice_pwd}" for pair in pairs)

    def line(self, mid: str) -> MediaLine:
        """A line that is agreed on. Raises LocalProtocolError when there is none of that mid."""
        agreed = self.negotiator.agreed if self.negotiator is not None else None
        for line in agreed.lines if agreed is not None else ():
            if line.mid == mid:
                return line
        raise LocalProtocolError(f"call {self._call.ident!r} has no media line with the mid {mid!r}")

    # -- the engine ------------------------------------------------------------------------------------------------------

    def _apply(self, session: NegotiatedSession) -> None:
        call = self._call

        def applied(reply: object) -> None:
            if isinstance(reply, MediaFailed):
                call.media_broken(reply.error)
            elif reply is None:
                call.media_broken("the media engine did not answer")

        self._opened = False
        request = self._hub.next_media_request(call.ident, applied)
        self._hub.operate(ApplyMedia(request=request, call=call.ident, session=session))
        lines = tuple(_info(line) for line in session.lines)
        if lines != self._lines:
            self._lines = lines
            self._hub.emit(MediaNegotiated(call=call.ident, lines=lines))
        if session.remote_hold != self._remote_hold:
            self._remote_hold = session.remote_hold
            event = CallHeld if session.remote_hold else CallResumed
            self._hub.emit(event(call=call.ident, originator=Originator.REMOTE))

    def reapply(self) -> None:
        """Has the engine drop what was opened for an offer that did not come to be."""
        if self._opened and self.negotiator is not None and not self._call.is_over:
            agreed = self.negotiator.agreed
            if agreed is not None:
                self._apply(agreed)

    # -- the end ---------------------------------------------------------------------------------------------------------

    def call_ended(self) -> None:
        self._hub.drop_media_requests(self._call.ident)
        if self.negotiator is not None:
            self.rollback()  # an answer that still comes is acknowledged, but not applied
            self._hub.operate(CloseMedia(call=self._call.ident))

    def forget(self) -> None:
        self.negotiator = self._offered = None


def _info(line: MediaLine) -> LineInfo:
    return LineInfo(
        mid=line.mid,
        kind=line.kind,
        direction=line.direction,
        remote_direction=line.remote_direction,
        codec=f"{line.kind}/{line.codec.name}",
        remote_streams=line.remote_streams,
    )
