"""Two ends that offer and answer in any order, with offers that cross, are refused, damaged or taken back."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sipproto.errors import LocalProtocolError
from sipproto.negotiation import NegotiationError, Negotiator
from sipproto.negotiation import SignalingState as S
from tests.effort import effort
from tests.negotiation.test_ice_restart import answer, credentials_in, offer, pair
from tests.negotiation.test_negotiator import BOTH, end

SIDE = st.sampled_from([0, 1])


class Negotiators(RuleBasedStateMachine):
    """Model: the state of each side, how many lines are agreed on, who holds; and the one description under way from each."""

    @initialize(kinds=st.sampled_from([("audio",), ("audio", "video")]))
    def start(self, kinds: tuple[str, ...]) -> None:
        self.ends = pair(*kinds)
        self.state = [S.STABLE, S.STABLE]
        self.kinds: list[str] = list(kinds)
        self.hold, self.agreed_hold = [False, False], [False, False]
        self.under_way: list[str | None] = [None, None]  # by who made it
        self.taken: list[str | None] = [None, None]  # the one being answered, by who answers

    def may_change(self, side: int) -> bool:
        return self.state[side] is S.STABLE

    # -- wishes ----------------------------------------------------------------------------------------------------------

    @rule(side=SIDE, hold=st.booleans())
    def wish_to_hold(self, side: int, hold: bool) -> None:
        if self.may_change(side):
            self.ends[side].hold = hold
            self.hold[side] = hold
        else:
            with pytest.raises(LocalProtocolError):
                self.ends[side].hold = hold

    @rule(side=SIDE)
    def wish_to_restart(self, side: int) -> None:
        if self.may_change(side):
            self.ends[side].restart_ice()
        else:
            with pytest.raises(LocalProtocolError):
                self.ends[side].restart_ice()

    # -- the steps -------------------------------------------------------------------------------------------------------

    @rule(side=SIDE, kind=st.sampled_from([None, None, "audio", "video"]))
    def offers(self, side: int, kind: str | None) -> None:
        """An offer, maybe with another line."""
        who = self.ends[side]
        if self.state[side] is not S.STABLE:
            with pytest.raises(LocalProtocolError):
                who.create_offer()
            with pytest.raises(LocalProtocolError):
                who.add_line("audio")
            return
        if kind is not None and len(self.kinds) < 5:
            who.add_line(kind)
        self.under_way[side] = offer(who)
        self.state[side] = S.HAVE_LOCAL_OFFER

    @rule(side=SIDE)
    def glare(self, side: int) -> None:
        """An offer arrives where one was made: it is refused (491), and nothing has changed."""
        arriving = self.under_way[side]
        other = self.ends[1 - side]
        if arriving is not None and self.state[1 - side] is S.HAVE_LOCAL_OFFER:
            with pytest.raises(LocalProtocolError):
                other.receive_offer(arriving, BOTH)
            assert other.state is S.HAVE_LOCAL_OFFER

    @rule(side=SIDE)
    def takes_back(self, side: int) -> None:
        self._roll_back(side)

    def _roll_back(self, side: int) -> None:
        if self.state[side] is S.STABLE:
            with pytest.raises(LocalProtocolError):
                self.ends[side].rollback()
            return
        if self.state[side] is S.HAVE_LOCAL_OFFER:
            self.under_way[side] = None
        self.ends[side].rollback()
        self.state[side] = S.STABLE
        self.hold[side] = self.agreed_hold[side]  # wishes are taken back, too
        assert self.ends[side].hold == self.hold[side]

    @rule(side=SIDE, how=st.sampled_from(["no line", "nonsense", "fewer lines"]))
    def a_bad_offer_comes(self, side: int, how: str) -> None:
        """It is refused with 488, and the call goes on as it was."""
        who = self.ends[side]
        if self.state[side] is not S.STABLE:
            return
        before, text = who.agreed, self.last_offer() or "v=0"
        if how == "no line":
            text = "\r\n".join(["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", ""])
        elif how == "nonsense":
            text = "v=0\r\nm=audio x\r\n"
        else:
            text = text.partition("m=")[0]
        with pytest.raises(NegotiationError):
            who.receive_offer(text, BOTH)
        assert who.state is S.STABLE and who.agreed == before

    def last_offer(self) -> str | None:
        return self.under_way[0] or self.under_way[1]

    @rule(side=SIDE)
    def takes_the_offer(self, side: int) -> None:
        arriving = self.under_way[1 - side]
        if arriving is not None and self.state[side] is S.STABLE:
            self.ends[side].receive_offer(arriving, BOTH)
            self.state[side] = S.HAVE_REMOTE_OFFER
            self.taken[side] = arriving

    @rule(side=SIDE, damage=st.sampled_from(["", "", "", "lost", "fewer lines", "nonsense"]))
    def answers(self, side: int, damage: str) -> None:
        other = 1 - side
        if self.state[side] is not S.HAVE_REMOTE_OFFER:
            with pytest.raises(LocalProtocolError):
                self.ends[side].create_answer()
            return
        if self.under_way[other] != self.taken[side]:  # it was taken back: 487 or 491 on the wire
            self._roll_back(side)
            return
        if damage:  # the answer cannot be used or does not come: both go back to what they had
            copy = self.ends[side].copy()
            text, _ = answer(copy)
            damaged = {"lost": "", "nonsense": "v", "fewer lines": text.partition("m=")[0]}[damage]
            with pytest.raises(NegotiationError):
                self.ends[other].receive_answer(damaged)
            assert self.ends[other].state is S.HAVE_LOCAL_OFFER
            self._roll_back(side)
            self._roll_back(other)
            return
        text, theirs = answer(self.ends[side])
        ours = self.ends[other].receive_answer(text)
        self.state = [S.STABLE, S.STABLE]
        self.under_way[other] = None
        self.agreed_hold = list(self.hold)
        assert [line.kind for line in ours.lines][: len(self.kinds)] == self.kinds  # what was there stays
        self.kinds = [line.kind for line in ours.lines]
        assert ours == self.ends[other].agreed and theirs == self.ends[side].agreed
        # what is offered stands for the offering side alone; the other's own hold goes into its answer
        assert theirs.remote_hold == self.hold[other]
        assert ours.remote_hold == self.hold[side]

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "ends"):
            return
        a, b = self.ends
        assert [a.state, b.state] == self.state
        ours, theirs = a.agreed, b.agreed
        assert ours is not None and theirs is not None
        assert [line.kind for line in ours.lines] == [line.kind for line in theirs.lines] == self.kinds
        assert [line.index for line in ours.lines] == [line.index for line in theirs.lines]
        for one, other in zip(ours.lines, theirs.lines, strict=True):
            sends = (one.direction.value in ("sendrecv", "sendonly"), one.direction.value in ("sendrecv", "recvonly"))
            takes = (
                other.direction.value in ("sendrecv", "recvonly"),
                other.direction.value in ("sendrecv", "sendonly"),
            )
            assert sends == takes
            assert {c.payload_type for c in one.send} == {c.payload_type for c in other.receive}
        for mine, yours in zip(ours.transports, theirs.transports, strict=True):
            assert mine.ice_controlling != yours.ice_controlling
            assert mine.dtls_client != yours.dtls_client
            # what one says of itself is what the other knows of it
            assert mine.remote.ice_ufrag == credentials_in(b, yours.slot)[0]
            assert yours.remote.ice_ufrag == credentials_in(a, mine.slot)[0]

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        for side in (0, 1):
            if self.state[side] is not S.STABLE:
                self._roll_back(side)
        self.under_way = [None, None]
        self.offers(0, None)
        self.takes_the_offer(1)
        self.answers(1, "")
        self.both_agree()


def test_a_copy_is_independent() -> None:
    one = end(1)
    one.add_line("audio")
    offer(one)
    other: Negotiator = one.copy()
    other.rollback()
    assert one.state is S.HAVE_LOCAL_OFFER


Negotiators.TestCase.settings = effort(100, 40)
TestNegotiators = Negotiators.TestCase
