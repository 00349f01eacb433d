"""Offer and answer (RFC 3264, RFC 8829, RFC 8843) as a state machine.

Everything a peer may hold on to stays stable over the life of a session: the order and mids of the lines, payload types,
header extension ids, SSRCs, DTLS roles and the session id of the `o=` line, whose version grows with each change.
"""

from __future__ import annotations

import copy
import enum

from attrs import evolve

from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import is_token
from sipproto.negotiation._agreement import Agreement, Bundle, Line, answered_bundle, remotes, restarted_slots
from sipproto.negotiation._match import match_codecs
from sipproto.negotiation._values import (
    LocalTransport,
    MediaCapabilities,
    MediaLine,
    NegotiatedSession,
    NegotiationError,
    TransportPair,
)
from sipproto.negotiation._write import WrittenLine, write_sdp
from sipproto.sdp import (
    Codec,
    Direction,
    MediaDescription,
    SessionDescription,
    bundle_groups,
    codecs_of,
    direction,
    direction_of,
    extensions_of,
    parse_sdp,
    ssrcs_of,
    transport_of,
)
from sipproto.tokens import TokenSource, token, uuid4

_MAX_LINES = 32
# LENIENT: RTP/SAVPF and RTP/SAVP are how some servers call DTLS-SRTP; what counts is the fingerprint.
_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"})


class SignalingState(enum.Enum):
    """W3C RTCSignalingState."""

    STABLE = "stable"
    HAVE_LOCAL_OFFER = "have-local-offer"
    HAVE_REMOTE_OFFER = "have-remote-offer"


class Step(enum.Enum):
    CREATE_OFFER = "create offer"
    RECEIVE_ANSWER = "receive answer"
    RECEIVE_OFFER = "receive offer"
    CREATE_ANSWER = "create answer"
    ROLLBACK = "rollback"


_S = SignalingState
# Pairs that are not listed are refused with a LocalProtocolError (RFC 8829 3.2).
TRANSITIONS: dict[tuple[SignalingState, Step], SignalingState] = {
    (_S.STABLE, Step.CREATE_OFFER): _S.HAVE_LOCAL_OFFER,
    (_S.STABLE, Step.RECEIVE_OFFER): _S.HAVE_REMOTE_OFFER,
    (_S.HAVE_LOCAL_OFFER, Step.RECEIVE_ANSWER): _S.STABLE,
    (_S.HAVE_LOCAL_OFFER, Step.ROLLBACK): _S.STABLE,
    (_S.HAVE_REMOTE_OFFER, Step.CREATE_ANSWER): _S.STABLE,
    (_S.HAVE_REMOTE_OFFER, Step.ROLLBACK): _S.STABLE,
}


class Negotiator:
    """One session's offers and answers.

    The caller asks `missing_slots` and `restart_slots` before an offer or answer, has the media engine open these
    transports, or open them anew, gives them with `add_transport`, and then creates the description. After a
    NegotiationError nothing has changed.
    """

    def __init__(self, capabilities: MediaCapabilities, tokens: TokenSource) -> None:
        self._capabilities = capabilities
        self._tokens = tokens
        self._session_id = tokens.bits(62)
        self._cname = token(tokens, 16)
        self._stream_id = uuid4(tokens)
        self._stable = self._next = Agreement()
        self._offer: SessionDescription | None = None
        self.state = SignalingState.STABLE

    # -- what the application wants ----------------------------------------------------------------------------------

    def add_line(self, kind: str, wanted: Direction = Direction.SENDRECV) -> None:
        """Adds a line to the next offer. Raises LocalProtocolError outside `stable` or for an unknown kind."""
        self._need(SignalingState.STABLE)
        if not self._capabilities.codecs(kind):
            raise LocalProtocolError(f"the media engine has no codec for {kind!r}")
        lines = self._next.lines
        slot = self._bundle_slot() if self._stable.lines and self._next.bundled else len(lines)
        line = self._new_line(kind, wanted, str(len(lines)), slot)
        codecs, extensions = self._fresh_codecs(kind), self._fresh_extensions(kind)
        self._next = evolve(self._next, lines=(*lines, evolve(line, codecs=codecs, extensions=extensions)))

    @property
    def hold(self) -> bool:
        """Whether we hold the call. It lasts until changed, also over offers of the peer."""
        return self._next.hold

    @hold.setter
    def hold(self, value: bool) -> None:
        self._need(SignalingState.STABLE)
        self._next = evolve(self._next, hold=value)

    def restart_ice(self) -> None:
        """The next offer asks for an ICE restart of every open slot; a rollback takes the wish back, too.

        Raises LocalProtocolError outside `stable`. An offer of the peer that is answered before goes first: if it
        restarts ICE itself the wish is fulfilled, otherwise it stands, and what was opened for it is forgotten.
        """
        self._need(SignalingState.STABLE)
        wanted = frozenset(remotes(self._stable.lines)) & self._next.slots
        self._next = evolve(self._next, restart=wanted, restart_wanted=wanted)

    def missing_slots(self) -> tuple[int, ...]:
        """The transports to open before the next description can be created."""
        return tuple(sorted(self._next.slots - {slot for slot, _ in self._next.transports}))

    def restart_slots(self) -> tuple[int, ...]:
        """The open transports that need new ICE credentials before the next description can be created.

        In an offer of ours they ask for an ICE restart, in an answer they belong to that of the peer.
        """
        return tuple(sorted(self._next.restart & self._next.slots - {slot for slot, _ in self._next.renewed}))

    def add_transport(self, slot: int, transport: LocalTransport) -> None:
        """Gives what was opened for a slot, or opened anew: then the next description has its credentials.

        The values agreed on before stay until the new ones are, and are what a rollback returns to. Values that the
        next description has no use for are dropped. Raises LocalProtocolError when a restart changes the certificate.
        """
        agreed = dict(self._next.transports)
        if slot not in agreed:
            self._next = evolve(self._next, transports=(*self._next.transports, (slot, transport)))
        elif slot in self._next.restart and self.state is not SignalingState.HAVE_LOCAL_OFFER:
            if transport.fingerprint != agreed[slot].fingerprint:  # RFC 8842 3.1: it would ask for a new association
                raise LocalProtocolError("an ICE restart has to keep the certificate of the transport")
            renewed = dict(self._next.renewed) | {slot: transport}
            self._next = evolve(self._next, renewed=tuple(renewed.items()))

    @property
    def agreed(self) -> NegotiatedSession | None:
        """What both sides agreed on last; None before they have."""
        return self._session() if any(line.remote is not None for line in self._stable.lines) else None

    def copy(self) -> Negotiator:
        """An independent one in the same state: another fork may answer the same offer otherwise (RFC 3261 13.2.2.4)."""
        return copy.copy(self)  # what it holds is immutable

    # -- the four steps and the way back -----------------------------------------------------------------------------

    def create_offer(self) -> SessionDescription:
        """An offer of everything wanted. Ends in `have-local-offer`."""
        self._step(Step.CREATE_OFFER, dry=True)
        if not self._next.lines:
            raise LocalProtocolError("there is no media line to offer")
        self._require_transports()
        local = self._next.local
        written = [WrittenLine(line, self._offered(line), "actpass", local.get(line.slot)) for line in self._next.lines]
        self._next = evolve(self._next, version=self._stable.version + 1)
        offer = self._write(written, self._next.bundled)
        self._step(Step.CREATE_OFFER)
        return offer

    def receive_answer(self, answer: bytes | str) -> NegotiatedSession:
        """Takes the answer to our offer. Raises NegotiationError; the offer then still stands, to be rolled back."""
        self._step(Step.RECEIVE_ANSWER, dry=True)
        sdp = _parse(answer)
        lines = self._next.lines
        if len(sdp.media) != len(lines):
            raise NegotiationError(f"the answer has {len(sdp.media)} media lines, the offer {len(lines)}")
        bundle = answered_bundle(sdp, lines)
        new = [self._answered_line(sdp, media, line, bundle) for media, line in zip(sdp.media, lines, strict=True)]
        if all(line.rejected for line in new):
            raise NegotiationError("every media line was rejected")
        # Unchanged credentials in the answer: the peer ignored our restart, and everything stays as it was.
        restarted = restarted_slots(self._stable.lines, tuple(new))
        self._agree(tuple(new), bundle is not None, restarted, offered=True)
        self._step(Step.RECEIVE_ANSWER)
        return self._session()

    def receive_offer(self, offer: bytes | str, wanted: dict[str, Direction] | None = None) -> None:
        """Takes an offer of the peer. `wanted` says for each kind what a new line of it may do (absent: refused).

        Raises NegotiationError (488) when no line of it can be accepted; the state then is as before.
        """
        self._step(Step.RECEIVE_OFFER, dry=True)
        sdp = _parse(offer)
        known = self._next.lines
        if len(sdp.media) < len(known) or len(sdp.media) > _MAX_LINES:
            raise NegotiationError(f"the offer has {len(sdp.media)} media lines where there are {len(known)}")
        allowed = dict(wanted or {})
        for line in known:
            allowed.pop(line.kind, None)  # a kind's permission is for its first line
        groups = bundle_groups(sdp)
        bundle = groups[0] if groups else []
        lines: list[Line] = []
        for index, media in enumerate(sdp.media):
            old = known[index] if index < len(known) else None
            mid = media.attribute("mid")
            if mid is not None and not is_token(mid):  # RFC 5888 4
                raise NegotiationError("a mid is no token")
            line = old or self._new_line(
                media.kind, allowed.pop(media.kind, Direction.INACTIVE), mid or str(index), index
            )
            lines.append(self._offered_line(sdp, media, line, is_new=old is None))
        accepted = [line for line in lines if not line.rejected]
        if not accepted:
            raise NegotiationError("no media line of the offer can be accepted")
        if bundle:  # RFC 8843 7.3.1: the first accepted line of the group carries all of them
            tag = next((line for line in accepted if line.mid in bundle), None)
            slot = tag.slot if tag is not None else 0
            remote = tag.remote if tag is not None else None
            lines = [
                evolve(line, slot=slot, remote=remote) if line.mid in bundle and not line.rejected else line
                for line in lines
            ]
        if any(not line.rejected and line.remote is None for line in lines):
            raise NegotiationError("a media line has no ICE credentials or no certificate fingerprint")
        with_mids = any(media.attribute("mid") is not None for media in sdp.media)
        # Compared with the latest description of the peer: with an older one a second restart would go unnoticed.
        restart = restarted_slots(self._stable.lines, tuple(lines))
        self._next = evolve(
            self._next,
            lines=tuple(lines),
            bundled=bool(bundle),
            with_mids=with_mids,
            restart=restart,
            renewed=tuple((slot, transport) for slot, transport in self._next.renewed if slot in restart),
        )
        self._offer = sdp
        self._step(Step.RECEIVE_OFFER)

    def create_answer(self) -> tuple[SessionDescription, NegotiatedSession]:
        """The answer to the peer's offer, and what both now agree on."""
        self._step(Step.CREATE_ANSWER, dry=True)
        self._require_transports()
        assert self._offer is not None
        lines: list[Line] = []
        for line in self._next.lines:
            offered = line.remote_direction
            held = self._held(line.wanted)
            current = direction(held.sends and offered.receives, held.receives and offered.sends)
            lines.append(evolve(line, current=current))
        self._agree(tuple(lines), self._next.bundled, self._next.restart, offered=False)
        self._next = evolve(self._next, version=self._stable.version + 1)
        roles, local = dict(self._next.dtls_client), self._next.local
        written = [
            WrittenLine(
                line,
                line.current,
                "active" if roles.get(line.slot, True) else "passive",
                local.get(line.slot),
            )
            for line in self._next.lines
        ]
        answer = self._write(written, self._next.bundled)
        self._step(Step.CREATE_ANSWER)
        return answer, self._session()

    def rollback(self) -> None:
        """Forgets the offer under way, ours or the peer's (RFC 8829 4.1.10.2)."""
        self._step(Step.ROLLBACK)
        self._offer = None

    def withdraw(self) -> None:
        """Takes back what was asked for since the last agreement and is not offered: hold, restart, new lines.

        Raises LocalProtocolError outside `stable`.
        """
        self._need(SignalingState.STABLE)
        self._next = self._stable

    # -- parts -------------------------------------------------------------------------------------------------------

    def _need(self, state: SignalingState) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"not possible in signalling state {self.state.value}")

    def _step(self, step: Step, *, dry: bool = False) -> None:
        following = TRANSITIONS.get((self.state, step))
        if following is None:
            raise LocalProtocolError(f"cannot {step.value} in signalling state {self.state.value}")
        if dry:
            return
        self.state = following
        if step is Step.ROLLBACK:
            self._next = self._stable
        elif following is SignalingState.STABLE:
            # A wish to restart that is still open is no part of what a rollback returns to.
            self._stable = evolve(self._next, restart=frozenset(), restart_wanted=frozenset())

    def _require_transports(self) -> None:
        if self.missing_slots():
            raise LocalProtocolError(f"transports {self.missing_slots()} are not open")
        if self.restart_slots():
            raise LocalProtocolError(f"transports {self.restart_slots()} need new ICE credentials")

    def _new_line(self, kind: str, wanted: Direction, mid: str, slot: int) -> Line:
        return Line(
            kind=kind,
            wanted=wanted,
            mid=mid,
            slot=slot,
            ssrc=self._tokens.bits(32) or 1,
            rtx_ssrc=self._tokens.bits(32) or 2,
            track_id=uuid4(self._tokens),
        )

    def _bundle_slot(self) -> int:
        return next((line.slot for line in self._stable.lines if not line.rejected), 0)

    def _held(self, wanted: Direction) -> Direction:
        # RFC 3264 8.4: the holder goes on sending (music, silence), but wants to hear nothing.
        return direction(wanted.sends, False) if self._next.hold else wanted

    def _offered(self, line: Line) -> Direction:
        # Who holds us says so itself when it does so no more. Asked to take something meanwhile, some forget that they
        # hold (JsSIP), and every refresh of the session would end the hold.
        held = self._held(line.wanted)
        return direction(held.sends and (line.remote is None or line.remote_direction.receives), held.receives)

    def _fresh_codecs(self, kind: str) -> tuple[Codec, ...]:
        for line in self._next.lines:
            if line.kind == kind and line.codecs and not line.rejected:
                return line.codecs  # a second line of a kind uses the same payload types
        return self._capabilities.codecs(kind)

    def _fresh_extensions(self, kind: str) -> tuple[tuple[str, int], ...]:
        known = {uri: ident for line in self._next.lines for uri, ident in line.extensions}
        out: list[tuple[str, int]] = []
        for uri in self._capabilities.extensions(kind):
            if uri not in known:
                known[uri] = next(i for i in range(1, 256) if i != 15 and i not in known.values())
            out.append((uri, known[uri]))
        return tuple(out)

    def _answered_line(
        self, sdp: SessionDescription, media: MediaDescription, line: Line, bundle: Bundle | None
    ) -> Line:
        if media.kind != line.kind:
            raise NegotiationError(f"the answer turns {line.kind} into {media.kind}")
        if media.port == 0 or line.rejected:
            return evolve(line, rejected=True, current=Direction.INACTIVE, formats=media.formats)
        pairs = match_codecs(line.codecs, codecs_of(media))
        slot, remote = line.slot, transport_of(sdp, media)
        if bundle is not None and (media.attribute("mid") or line.mid) in bundle.mids:
            slot, remote = bundle.slot, bundle.remote
        if not pairs or remote is None or not _muxed(media):
            raise NegotiationError(f"the answer for {line.kind} has no usable codec, transport or rtcp-mux")
        remote_direction = direction_of(sdp, media)
        held = self._offered(line)
        answered = extensions_of(sdp, media)
        return evolve(
            line,
            slot=slot,
            send_codecs=tuple(theirs for _, theirs in pairs),
            codecs=tuple(ours for ours, _ in pairs),
            extensions=tuple((uri, i) for uri, i in line.extensions if uri in answered),
            current=direction(held.sends and remote_direction.receives, held.receives and remote_direction.sends),
            remote=remote,
            remote_direction=remote_direction,
            remote_ssrcs=ssrcs_of(media),
        )

    def _offered_line(self, sdp: SessionDescription, media: MediaDescription, line: Line, *, is_new: bool) -> Line:
        if not is_new and media.kind != line.kind:
            raise NegotiationError(f"the offer turns {line.kind} into {media.kind}")
        line = evolve(line, protocol=media.protocol, formats=media.formats or ("0",))
        bundle_only = media.attribute("bundle-only") is not None
        ours = line.codecs or self._capabilities.codecs(line.kind)
        offered = codecs_of(media)
        pairs = match_codecs(ours, offered) or match_codecs(self._capabilities.codecs(line.kind), offered)
        refused = (
            (media.port == 0 and not bundle_only)
            or media.protocol not in _PROTOCOLS
            or not pairs
            or not _muxed(media)
            or (line.rejected and not is_new)
            or (is_new and line.wanted is Direction.INACTIVE)
        )
        if refused:
            return evolve(line, rejected=True, current=Direction.INACTIVE)
        offered_extensions = extensions_of(sdp, media)
        # An answer uses the offerer's payload types, in our order of preference only as far as the first codec goes:
        # the offerer's order is kept (RFC 3264 6.1).
        theirs = tuple(sorted((t for _, t in pairs), key=offered.index))
        return evolve(
            line,
            codecs=theirs,
            send_codecs=theirs,
            extensions=tuple(
                (uri, offered_extensions[uri])
                for uri in self._capabilities.extensions(line.kind)
                if uri in offered_extensions
            ),
            remote=transport_of(sdp, media),
            remote_direction=direction_of(sdp, media),
            remote_ssrcs=ssrcs_of(media),
        )

    def _agree(self, lines: tuple[Line, ...], bundled: bool, restarted: frozenset[int], *, offered: bool) -> None:
        """Both sides agree on these lines; `offered` by us or by the peer. `restarted`: slots with a new ICE session."""
        before, new = self._next, evolve(self._next, lines=lines)
        controlling = before.ice_controlling
        # RFC 8445 6.1.1: the first offerer controls, a lite peer never does, and an ICE restart does not change the
        # roles unless an agent turns lite or full. Older browsers gave the offerer of a restart control (RFC 5245
        # 5.2); what this leads to is a role conflict, which the checks settle (7.3.1.1).
        if controlling is None or new.ice_lite != self._stable.ice_lite:
            controlling = offered or new.ice_lite
        renewed = {slot: transport for slot, transport in before.renewed if slot in restarted}
        local = dict(before.transports) | renewed
        wanted = (before.restart_wanted - restarted) & new.slots if not offered else frozenset()
        self._next = evolve(
            new,
            bundled=bundled,
            # Those that nobody uses any more are closed by the engine.
            transports=tuple((slot, transport) for slot, transport in local.items() if slot in new.slots),
            renewed=(),
            restart=wanted,
            restart_wanted=wanted,
            dtls_client=self._dtls_roles(lines, offered=offered),
            ice_controlling=controlling,
        )

    def _dtls_roles(self, lines: tuple[Line, ...], *, offered: bool) -> tuple[tuple[int, bool], ...]:
        """Whether we are the DTLS client, by slot: decided once for each association (RFC 8842 5.2, 5.3)."""
        decided, known = dict(self._next.dtls_client), remotes(self._stable.lines)
        roles: dict[int, bool] = {}
        for slot, remote in remotes(lines).items():
            if slot in decided and slot in known and remote.same_dtls(known[slot]):
                roles[slot] = decided[slot]
            elif offered:  # the answerer's choice; an "actpass" in an answer is a fault, read as active
                roles[slot] = remote.setup == "passive"
            else:  # ours: we are active where we may be
                roles[slot] = remote.setup != "active"
        return tuple(sorted(roles.items()))

    def _write(self, written: list[WrittenLine], bundled: bool) -> SessionDescription:
        return write_sdp(
            written,
            session_id=self._session_id,
            version=self._next.version,
            bundled=bundled and self._next.with_mids,
            with_mids=self._next.with_mids,
            stream_id=self._stream_id,
            cname=self._cname,
        )

    def _session(self) -> NegotiatedSession:
        agreed = self._stable
        roles = dict(agreed.dtls_client)
        lines: list[MediaLine] = []
        transports: dict[int, TransportPair] = {}
        for index, line in enumerate(agreed.lines):
            if line.rejected or line.remote is None:
                continue
            transports.setdefault(
                line.slot,
                TransportPair(
                    slot=line.slot,
                    remote=line.remote,
                    ice_controlling=bool(agreed.ice_controlling),
                    dtls_client=roles[line.slot],
                ),
            )
            lines.append(
                MediaLine(
                    index=index,
                    mid=line.mid,
                    kind=line.kind,
                    slot=line.slot,
                    direction=line.current,
                    send=line.send_codecs,
                    receive=line.codecs,
                    extensions=line.extensions,
                    ssrc=line.ssrc,
                    rtx_ssrc=line.rtx_ssrc,
                    stream_id=self._stream_id,
                    track_id=line.track_id,
                    remote_ssrcs=line.remote_ssrcs,
                    remote_direction=line.remote_direction,
                )
            )
        # A line on which we send nothing is never taken, and says nothing about a hold.
        takers = [line.remote_direction.receives for line in agreed.lines if not line.rejected and line.wanted.sends]
        return NegotiatedSession(
            lines=tuple(lines),
            transports=tuple(transports.values()),
            cname=self._cname,
            remote_hold=bool(takers) and not any(takers),
        )


def _parse(data: bytes | str) -> SessionDescription:
    try:
        return parse_sdp(data)
    except MessageSyntaxError as error:
        raise NegotiationError(error.detail) from None


def _muxed(media: MediaDescription) -> bool:
    """RTP and RTCP on one port: the only way we have (RFC 8834 4.5 allows to insist on it)."""
    return media.attribute("rtcp-mux") is not None or media.attribute("rtcp-mux-only") is not None
