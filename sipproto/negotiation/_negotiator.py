"""Offer and answer (RFC 3264, RFC 8829, RFC 9143) as a state machine.

Everything a peer may hold on to stays stable over the life of a session: the order and mids of the lines, payload types,
header extension ids, SSRCs, DTLS roles and the session id of the `o=` line, whose version grows with each change.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Iterable, Sequence, Set

from attrs import evolve

from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import is_token
from sipproto.negotiation._agreement import (
    Agreement,
    Line,
    dtls_roles,
    is_another,
    made_up_mid,
    number_after,
    remotes,
    restarted_slots,
    session_of,
)
from sipproto.negotiation._bundle import carried_answer, carried_offer
from sipproto.negotiation._codecs import answered_codecs, as_agreed, offered_codecs, preferred, remembered
from sipproto.negotiation._lines import answered_line, offered_line
from sipproto.negotiation._obstacles import line_obstacle, protocol_obstacle, transport_obstacle
from sipproto.negotiation._values import (
    CodecPreferences,
    LocalTransport,
    MediaCapabilities,
    NegotiatedSession,
    NegotiationError,
)
from sipproto.negotiation._write import WrittenLine, write_sdp
from sipproto.sdp import (
    Codec,
    Direction,
    SessionDescription,
    bundle_groups,
    codecs_of,
    direction,
    is_rejected,
    parse_sdp,
)
from sipproto.tokens import TokenSource, token, uuid4

_MAX_LINES = 32


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
        self._version = 0  # of what was written last; it never goes back, as the peer may have seen what is rolled back
        self._written: SessionDescription | None = None
        self._offer: SessionDescription | None = None
        self.state = SignalingState.STABLE

    # -- what the application wants ----------------------------------------------------------------------------------

    def add_line(self, kind: str, wanted: Direction = Direction.SENDRECV) -> str:
        """Adds a line to the next offer and returns its mid; it takes the place of one that is over (RFC 8829 5.2.2).

        Raises LocalProtocolError outside `stable`, for a kind without codecs, or above 32 lines.
        """
        self._need(SignalingState.STABLE)
        if not self._capabilities.can(kind, self._next.preferences):
            raise LocalProtocolError(f"the media engine has no codec for {kind!r}, or all are excluded")
        lines, agreed = self._next.lines, self._stable.lines
        over = (i for i, line in enumerate(agreed) if line.rejected and lines[i].rejected)
        index = next(over, len(lines))
        if index >= _MAX_LINES:
            raise LocalProtocolError(f"a session has at most {_MAX_LINES} media lines")
        bundled = next((line for line in agreed if not line.rejected and line.group is not None), None)
        slot = self._free_slot(index) if bundled is None else bundled.slot
        line = self._new_line(kind, wanted, self._new_mid(), slot)
        if agreed:  # a peer that did not take BUNDLE is not asked again
            line = evolve(line, group=None if bundled is None else bundled.group)
        line = evolve(line, extensions=self._fresh_extensions(kind))
        self._next = evolve(self._next, lines=(*lines[:index], line, *lines[index + 1 :]))
        return line.mid

    def change_line(self, mid: str, wanted: Direction) -> None:
        """The next offer asks for another direction of a line. Raises LocalProtocolError outside `stable` or for no line."""
        # What we did not want to send until now the peer has not been asked to take.
        self._change(mid, lambda line: evolve(line, wanted=wanted, declines=line.declines and line.wanted.sends))

    def remove_line(self, mid: str) -> None:
        """The next offer ends a line: its port is 0 then (RFC 3264 8.2). Raises LocalProtocolError as `change_line`."""
        self._change(mid, lambda line: evolve(line, rejected=True, wanted=Direction.INACTIVE))

    def require_lines(self) -> None:
        """Raises LocalProtocolError when the next offer would be one of nothing."""
        if all(line.rejected for line in self._next.lines):
            raise LocalProtocolError("there is no media line to offer")

    def _change(self, mid: str, change: Callable[[Line], Line]) -> None:
        self._need(SignalingState.STABLE)
        lines = self._next.lines
        if not any(line.mid == mid and not line.rejected for line in lines):
            raise LocalProtocolError(f"there is no media line with the mid {mid!r}")
        changed = (change(line) if line.mid == mid and not line.rejected else line for line in lines)
        self._next = evolve(self._next, lines=tuple(changed))

    @property
    def preferences(self) -> CodecPreferences:
        """Which codecs the next descriptions of ours prefer and leave out.

        Raises LocalProtocolError outside `stable`, or when none would be left for a line.
        """
        return self._next.preferences

    @preferences.setter
    def preferences(self, value: CodecPreferences) -> None:
        self._need(SignalingState.STABLE)
        for kind in {line.kind for line in self._next.lines if not line.rejected}:
            if not self._capabilities.can(kind, value):
                raise LocalProtocolError(f"no codec is left for {kind}")
        self._next = evolve(self._next, preferences=value)

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
        """An offer of everything wanted. Ends in `have-local-offer`. Raises LocalProtocolError when there is no line."""
        self._step(Step.CREATE_OFFER, dry=True)
        self.require_lines()
        self._require_transports()
        lines: list[Line] = []
        known = self._next.codecs
        for line in self._next.lines:
            codecs = (
                line.codecs
                if line.rejected
                else offered_codecs(self._codecs_for(line.kind, line.wanted, line.codecs), known)
            )
            known = remembered(known, codecs)
            lines.append(evolve(line, codecs=codecs))
        self._next = evolve(self._next, lines=tuple(lines), codecs=known)
        local = self._next.local
        written = [WrittenLine(line, self._offered(line), "actpass", local.get(line.slot)) for line in lines]
        offer = self._write(written, self._next.groups)
        self._step(Step.CREATE_OFFER)
        return offer

    def receive_answer(self, answer: bytes | str) -> NegotiatedSession:
        """Takes the answer to our offer. Raises NegotiationError; the offer then still stands, to be rolled back."""
        self._step(Step.RECEIVE_ANSWER, dry=True)
        sdp = _parse(answer)
        lines = self._next.lines
        if len(sdp.media) != len(lines):
            raise NegotiationError(f"the answer has {len(sdp.media)} media lines, the offer {len(lines)}")
        for media, line in zip(sdp.media, lines, strict=True):
            if media.kind != line.kind:
                raise NegotiationError(f"the answer turns {line.kind} into {media.kind}")
        taken = [
            evolve(line, rejected=line.rejected or media.port == 0)
            for media, line in zip(sdp.media, lines, strict=True)
        ]
        if all(line.rejected for line in taken):
            raise NegotiationError("every media line was rejected")
        new = [
            answered_line(sdp, media, line, self._offered(line))
            for media, line in zip(sdp.media, carried_answer(sdp, taken), strict=True)
        ]
        # Unchanged credentials in the answer: the peer ignored our restart, and everything stays as it was.
        restarted = restarted_slots(self._stable.lines, tuple(new))
        self._agree(tuple(new), restarted, offered=True)
        self._step(Step.RECEIVE_ANSWER)
        return self._session()

    def receive_offer(
        self,
        offer: bytes | str,
        wanted: Iterable[tuple[str, Direction]] = (),
        otherwise: Direction = Direction.INACTIVE,
    ) -> None:
        """Takes an offer of the peer. `wanted` (kind and direction) says what each line may do, one after the other of a kind.

        What was agreed on for lines that are there already stays. Those beyond may do `otherwise`; INACTIVE refuses them.

        Raises NegotiationError (488) when no line of it can be accepted; the state then is as before.
        """
        self._step(Step.RECEIVE_OFFER, dry=True)
        sdp = _parse(offer)
        lines = carried_offer(
            sdp,
            self._offered_lines(sdp, list(wanted), otherwise),
            remotes(self._stable.lines),
            lambda taken: self._free_slot(0, taken),
        )
        accepted = [line for line in lines if not line.rejected]
        if not accepted:
            raise NegotiationError("no media line has ICE credentials and a certificate fingerprint of a known hash")
        with_mids = any(media.attribute("mid") is not None for media in sdp.media)
        # Compared with the latest description of the peer: with an older one a second restart would go unnoticed.
        restart = restarted_slots(self._stable.lines, tuple(lines))
        self._next = evolve(
            self._next,
            lines=tuple(lines),
            with_mids=with_mids,
            restart=restart,
            renewed=tuple((slot, transport) for slot, transport in self._next.renewed if slot in restart),
            codecs=remembered(self._next.codecs, (codec for line in accepted for codec in line.codecs)),
            next_mid=max(self._next.next_mid, *(number_after(line.mid) for line in lines)),
        )
        self._offer = sdp
        self._step(Step.RECEIVE_OFFER)

    def _offered_lines(
        self, sdp: SessionDescription, wanted: list[tuple[str, Direction]], otherwise: Direction
    ) -> list[Line]:
        """What becomes of each line, whatever carries it."""
        known = self._next.lines
        bundled = {mid for group in bundle_groups(sdp) for mid in group}
        if len(sdp.media) < len(known):
            raise NegotiationError(f"the offer has {len(sdp.media)} media lines where there are {len(known)}")
        if len(sdp.media) > _MAX_LINES:
            raise NegotiationError(f"the offer has {len(sdp.media)} media lines, more than {_MAX_LINES}")

        def wish(kind: str, *, taken: bool = True) -> Direction:
            place = next((i for i, (wanted_kind, _) in enumerate(wanted) if wanted_kind == kind), None)
            if place is None:
                return otherwise
            return wanted.pop(place)[1] if taken else wanted[place][1]

        for line in known:
            if not line.rejected:
                wish(line.kind)
        lines: list[Line] = []
        obstacles: dict[str, None] = {}
        for index, media in enumerate(sdp.media):
            mid = media.attribute("mid")
            if mid is not None and not is_token(mid):  # RFC 5888 4
                raise NegotiationError("a mid is no token")
            is_new = index >= len(known) or is_another(media, known[index])
            direction = wish(media.kind, taken=False) if is_new else known[index].wanted
            codecs = answered_codecs(self._codecs_for(media.kind, direction), codecs_of(media), self._next.preferences)
            obstacle = protocol_obstacle(sdp, media) or line_obstacle(media, codecs=bool(codecs[0]))
            if is_new and mid not in bundled:  # the first line of a bundle says it for all
                obstacle = obstacle or transport_obstacle(sdp, media)
            possible = obstacle is None and not is_rejected(media)
            if obstacle is not None:
                obstacles[f"{media.kind} is offered {obstacle}"] = None
            if is_new:
                slot = self._free_slot(index, {line.slot for line in lines})
                name = mid or made_up_mid(sdp, index, known)
                line = self._new_line(media.kind, wish(media.kind, taken=possible), name, slot)
            else:
                # Another may speak for the peer now, behind a server, and name its lines in its own way.
                line = evolve(known[index], mid=mid or known[index].mid)
                if media.kind != line.kind:
                    raise NegotiationError(f"the offer turns {line.kind} into {media.kind}")
            line = evolve(line, protocol=media.protocol, formats=media.formats or ("0",))
            unwanted = line.refused or (is_new and line.wanted is Direction.INACTIVE)
            if unwanted or not possible:
                lines.append(evolve(line, rejected=True, refused=unwanted, current=Direction.INACTIVE))
            else:
                lines.append(offered_line(sdp, media, line, codecs, self._capabilities.extensions(line.kind)))
        if all(line.rejected for line in lines):
            raise NegotiationError("; ".join(obstacles) or "no media line of the offer is wanted")
        return lines

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
        self._agree(tuple(lines), self._next.restart, offered=False)
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
        bundled = {mid for group in self._next.groups for mid in group}
        groups = [[mid for mid in dict.fromkeys(group) if mid in bundled] for group in bundle_groups(self._offer)]
        answer = self._write(written, [group for group in groups if group])
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

    def _held(self, wanted: Direction) -> Direction:
        # RFC 3264 8.4: the holder goes on sending (music, silence), but wants to hear nothing.
        return direction(wanted.sends, False) if self._next.hold else wanted

    def _offered(self, line: Line) -> Direction:
        # Who holds us says so itself when it does so no more. Asked to take something meanwhile, some forget that they
        # hold (JsSIP), and every refresh of the session would end the hold.
        held = self._held(line.wanted)
        return direction(held.sends and not line.declines, held.receives)

    def _free_slot(self, index: int, besides: Set[int] = frozenset()) -> int:
        """A transport of its own for a line: its index, unless a line that went over to a bundle left that in use."""
        used = self._next.slots | self._stable.slots | besides
        return index if index not in used else next(i for i in range(2 * _MAX_LINES) if i not in used)

    def _new_mid(self) -> str:
        """One that no line of this session has had (RFC 8829 5.2.2)."""
        used = {line.mid for line in (*self._next.lines, *self._stable.lines)}
        number = max(self._next.next_mid, len(self._next.lines))
        while str(number) in used:
            number += 1
        self._next = evolve(self._next, next_mid=number + 1)
        return str(number)

    def _codecs_for(self, kind: str, wanted: Direction, agreed: tuple[Codec, ...] = ()) -> tuple[Codec, ...]:
        usable = self._capabilities.usable(kind, wanted)
        return preferred(kind, as_agreed(usable, agreed), self._next.preferences)

    def _fresh_extensions(self, kind: str) -> tuple[tuple[str, int], ...]:
        known = {uri: ident for line in self._next.lines for uri, ident in line.extensions}
        out: list[tuple[str, int]] = []
        for uri in self._capabilities.extensions(kind):
            if uri not in known:
                known[uri] = next(i for i in range(1, 256) if i != 15 and i not in known.values())
            out.append((uri, known[uri]))
        return tuple(out)

    def _agree(self, lines: tuple[Line, ...], restarted: frozenset[int], *, offered: bool) -> None:
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
            # Those that nobody uses any more are closed by the engine.
            transports=tuple((slot, transport) for slot, transport in local.items() if slot in new.slots),
            renewed=(),
            restart=wanted,
            restart_wanted=wanted,
            dtls_client=dtls_roles(self._stable, before.dtls_client, lines, offered=offered),
            ice_controlling=controlling,
        )

    def _write(self, written: list[WrittenLine], groups: Sequence[Sequence[str]]) -> SessionDescription:
        """`groups`: the mids of those lines that share a transport, or may."""

        def write() -> SessionDescription:
            return write_sdp(
                written,
                session_id=self._session_id,
                version=self._version,
                groups=groups,
                with_mids=self._next.with_mids,
                stream_id=self._stream_id,
                cname=self._cname,
            )

        sdp = write()
        if self._written is None or sdp.text != self._written.text:  # RFC 3264 8: unchanged, it keeps its version
            self._version += 1
            sdp = write()
        self._written = sdp
        return sdp

    def _session(self) -> NegotiatedSession:
        return session_of(self._stable, self._stream_id, self._cname)


def _parse(data: bytes | str) -> SessionDescription:
    try:
        return parse_sdp(data)
    except MessageSyntaxError as error:
        raise NegotiationError(error.detail) from None
