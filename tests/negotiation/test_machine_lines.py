"""Two ends that add, change and remove lines and codecs, with offers that are taken, refused or taken back."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.negotiation import CodecPreferences, Negotiator
from sipproto.sdp import Direction, codecs_of, parse_sdp
from tests.effort import effort
from tests.negotiation.test_lines import RICH
from tests.negotiation.test_negotiator import answer, end, offer, version

SIDE = st.sampled_from([0, 1])
KIND = st.sampled_from(["audio", "video"])
PREFERENCES = st.sampled_from(
    [
        CodecPreferences(),
        CodecPreferences(prefer=("audio/PCMU", "video/VP9")),
        CodecPreferences(exclude=("audio/opus", "video/VP8")),
        CodecPreferences(prefer=("audio/G722",), exclude=("video/rtx", "audio/telephone-event")),
    ]
)
MOST = 6  # lines at a time


class Lines(RuleBasedStateMachine):
    """Model: the lines that are agreed on (mid and kind), and what is wished for besides, by each side."""

    @initialize()
    def start(self) -> None:
        self.ends: list[Negotiator] = [end(1, RICH), end(2, RICH)]
        self.lines: dict[str, str] = {}
        self.added: list[dict[str, str]] = [{}, {}]
        self.removed: list[set[str]] = [set(), set()]
        self.mids: set[str] = set()  # of lines that are over
        self.meanings: dict[int, str] = {}  # payload types in force
        self.versions: list[dict[int, str]] = [{}, {}]
        self.add(0, "audio")
        self.exchange(0, "taken")

    def live(self, side: int) -> list[str]:
        return [mid for mid in (*self.lines, *self.added[side]) if mid not in self.removed[side]]

    # -- wishes ----------------------------------------------------------------------------------------------------------

    @rule(side=SIDE, kind=KIND)
    @precondition(lambda self: len(self.lines) + max(len(added) for added in self.added) < MOST)
    def add(self, side: int, kind: str) -> None:
        mid = self.ends[side].add_line(kind)
        assert mid not in self.mids and mid not in self.live(side)
        self.added[side][mid] = kind

    @rule(side=SIDE, data=st.data())
    def remove(self, side: int, data: st.DataObject) -> None:
        live = [mid for mid in self.live(side) if mid in self.lines]
        if len(live) > 1:
            mid = data.draw(st.sampled_from(live))
            self.ends[side].remove_line(mid)
            self.removed[side].add(mid)

    @rule(side=SIDE, wanted=st.sampled_from(list(Direction)), data=st.data())
    def turn(self, side: int, wanted: Direction, data: st.DataObject) -> None:
        self.ends[side].change_line(data.draw(st.sampled_from(self.live(side))), wanted)

    @rule(side=SIDE, preferences=PREFERENCES)
    def prefer(self, side: int, preferences: CodecPreferences) -> None:
        self.ends[side].preferences = preferences

    @rule(side=SIDE, really=st.sampled_from([False, False, True]))
    def withdraw(self, side: int, really: bool = True) -> None:
        if really:
            self.ends[side].withdraw()
            self.forget(side)

    def forget(self, side: int) -> None:
        self.added[side], self.removed[side] = {}, set()

    # -- an offer --------------------------------------------------------------------------------------------------------

    @rule(side=SIDE, kind=KIND)
    @precondition(lambda self: len(self.lines) > 1)
    def come_and_go(self, side: int, kind: str) -> None:
        """A presentation that ends, and the next one."""
        self.withdraw(side)
        mid = list(self.lines)[-1]
        self.ends[side].remove_line(mid)
        self.removed[side].add(mid)
        self.exchange(side, "taken")
        self.add(side, kind)
        self.exchange(side, "taken")

    @rule(side=SIDE, end=st.sampled_from(["taken", "taken", "refused", "refused late"]))
    def exchange(self, side: int, end: str) -> None:
        """The other end takes back its own wishes first: they would be carried out by an offer of its own, later."""
        a, b = self.ends[side], self.ends[1 - side]
        self.withdraw(1 - side)
        text = offer(a)
        self.sent(side, text)
        if end != "taken":
            if end == "refused late":
                b.receive_offer(text, (), Direction.SENDRECV)
                b.rollback()
            a.rollback()
            self.forget(side)
            return
        b.receive_offer(text, (), Direction.SENDRECV)
        reply, theirs = answer(b)
        self.sent(1 - side, reply)
        ours = a.receive_answer(reply)
        self.mids |= self.removed[side]
        for mid in self.removed[side]:
            self.lines.pop(mid)
        self.lines |= {mid: kind for mid, kind in self.added[side].items() if mid not in self.removed[side]}
        self.forget(side)
        assert {line.mid: line.kind for line in ours.lines} == self.lines
        for description in (text, reply):
            for media in parse_sdp(description).media:
                for codec in codecs_of(media) if media.port else ():
                    apt = f" of {self.meanings.get(codec.apt or -1)}" if codec.is_rtx else ""
                    meaning = f"{codec.name}/{codec.clock_rate}{apt}"
                    assert self.meanings.setdefault(codec.payload_type, meaning) == meaning
        assert theirs == b.agreed

    def sent(self, side: int, text: str) -> None:
        """RFC 3264 8: a version stands for one description, and grows."""
        number = version(text)[1]
        assert self.versions[side].setdefault(number, text) == text
        assert number == max(self.versions[side])
        assert len(parse_sdp(text).media) <= MOST + len(self.mids) and len(parse_sdp(text).media) <= 2 * MOST

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "ends"):
            return
        ours, theirs = (one.agreed for one in self.ends)
        assert ours is not None and theirs is not None
        assert [(line.index, line.mid, line.kind) for line in ours.lines] == [
            (line.index, line.mid, line.kind) for line in theirs.lines
        ]
        for one, other in zip(ours.lines, theirs.lines, strict=True):
            assert one.direction is other.direction.reversed
            assert [c.payload_type for c in one.send] == [c.payload_type for c in other.receive]
            assert one.codec.name == other.codec.name
        assert {pair.slot for pair in ours.transports} == {line.slot for line in ours.lines}


TestLines = Lines.TestCase
TestLines.settings = effort(60, 25)
