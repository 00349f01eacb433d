"""Which of the pairs that work is used: one, the same at both ends (RFC 8445 8.1.1)."""

from __future__ import annotations

import asyncio
from typing import Any

import aioice
from aioice import stun
from aioice.ice import CandidatePair, StunProtocol, candidate_pair_priority

_COMPONENT = 1  # RTP, which RTCP shares
# Seconds that a pair which works waits for better ones whose checks are not answered yet, as those through a NAT may be.
_BETTER_WAIT = 0.1
# Seconds more for the peer to check the pair, too: only then can it send there at once. A browser whose pair is not nominated
# where it can send is silent for half a second after an ICE restart.
_HEARD_WAIT = 0.4
# Seconds after its first nomination during which a peer may nominate further pairs at once (RFC 5245). Later it has a reason
# to leave the one before, such as another network.
_AGGRESSIVE = 1.0
_STATE = CandidatePair.State


class NominatingConnection(aioice.Connection):
    """aioice nominates every pair that it checks, and uses what was nominated last: two ends may then use different ones.

    A peer that knows the other by the address of its first DTLS packet, such as baresip, has no media then.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Towards a lite peer aioice nominates but one pair, the first one; with this it leaves the choice to us.
        self.remote_is_lite = True
        self._nominating.add(_COMPONENT)
        self._nomination: asyncio.Task[None] | None = None
        self._decision: asyncio.TimerHandle | None = None
        self._settled = False  # better pairs are not waited for any more
        # Where the peer has checked: id of the socket, and address. No more than there are pairs.
        self._heard: set[tuple[int, tuple[str, int]]] = set()
        self._aggressive_until: float | None = None  # before the first nomination of the peer nobody knows
        self.peer_checks = True  # a lite one does not

    def check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: Any) -> None:
        super().check_incoming(message, addr, protocol)
        self._heard.add((id(protocol), addr))
        if self.ice_controlling:
            self._choose()

    def check_complete(self, pair: CandidatePair) -> None:
        before = self._nominated.get(_COMPONENT)
        super().check_complete(pair)
        if self.ice_controlling:
            self._choose()
        elif pair.nominated and self._aggressive_until is None:
            self._aggressive_until = asyncio.get_running_loop().time() + _AGGRESSIVE
        elif before is not None and self._nominated[_COMPONENT] is not before:
            self._keep_the_better(before)

    async def connect(self) -> None:
        await super().connect()
        # Their checks were cut off; when the peer nominates one of them later they begin anew (RFC 8445 7.3.1.4).
        for pair in self._check_list:
            if pair.state is _STATE.IN_PROGRESS:
                pair.task = None
                self.check_state(pair, _STATE.FROZEN)

    def _check_list_maybe_fail(self) -> None:
        if not any(
            pair.state is _STATE.SUCCEEDED for pair in self._check_list
        ):  # else that one is going to be nominated
            super()._check_list_maybe_fail()

    async def close(self) -> None:
        if self._decision is not None:
            self._decision.cancel()
        if self._nomination is not None:
            self._nomination.cancel()
        await super().close()

    # -- the controlling side ----------------------------------------------------------------------------------------

    def _choose(self) -> None:
        """Nominates the best pair that works both ways: at once when no better one is left, else a little later."""
        working = self._working()
        if not working or self._nominated or self._nomination is not None:
            return
        if self._decision is None:
            self._decision = asyncio.get_running_loop().call_later(_BETTER_WAIT, self._settle)
        best = next((pair for pair in working if self._is_heard(pair)), None)
        if best is None:
            return
        better = self._check_list[: self._check_list.index(best)]  # the list is in the order of priority
        if self._settled or all(pair.state is _STATE.FAILED for pair in better):
            self._begin(best)

    def _working(self) -> list[CandidatePair]:
        return [pair for pair in self._check_list if pair.state is _STATE.SUCCEEDED]

    def _is_heard(self, pair: CandidatePair) -> bool:
        return not self.peer_checks or (id(pair.protocol), pair.remote_addr) in self._heard

    def _settle(self) -> None:
        self._settled = True
        self._decision = asyncio.get_running_loop().call_later(_HEARD_WAIT, self._give_in)
        self._choose()

    def _give_in(self) -> None:
        """The peer has checked none of the pairs that work: it may be one that does not."""
        self.peer_checks = False
        self._choose()

    def _begin(self, pair: CandidatePair) -> None:
        if self.ice_controlling and self._nomination is None:
            self._nomination = asyncio.create_task(self._nominate(pair))

    async def _nominate(self, pair: CandidatePair) -> None:
        assert self.remote_password is not None  # there are no checks without
        try:
            await pair.protocol.request(
                self.build_request(pair, nominate=True),
                pair.remote_addr,
                integrity_key=self.remote_password.encode(),
            )
            pair.nominated = True
        except stun.TransactionError:
            self.check_state(pair, _STATE.FAILED)
            self._nomination = None
        self.check_complete(pair)

    # -- the controlled side -----------------------------------------------------------------------------------------

    def heard(self, protocol: StunProtocol, addr: tuple[str, int]) -> None:
        """What is no STUN came from there: a peer may send on a pair before it nominates one, and so may we (RFC 8445 12.1).

        Else a browser that restarts ICE would get nothing until its next check, when it has left the old pair already.
        """
        if self._nominated or self.ice_controlling:
            return
        pair = next((one for one in self._working() if one.protocol is protocol and one.remote_addr == addr), None)
        if pair is not None:
            self._nominated[_COMPONENT] = pair  # until the peer nominates one
            self.check_complete(pair)

    def _keep_the_better(self, before: CandidatePair) -> None:
        """Of several pairs that are nominated at once, that of the highest priority is used (RFC 8445 8.1.1)."""
        at_once = asyncio.get_running_loop().time() < (self._aggressive_until or 0.0)
        if at_once and self._priority(before) > self._priority(self._nominated[_COMPONENT]):
            self._nominated[_COMPONENT] = before

    def _priority(self, pair: CandidatePair) -> int:
        return candidate_pair_priority(pair.local_candidate, pair.remote_candidate, self.ice_controlling)
