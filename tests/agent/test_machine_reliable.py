"""Reliable provisional responses (RFC 3262): each side against a peer that loses, repeats and mixes up what it likes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import Request, Response, fields
from tests.agent.peer import AUDIO, CONTACT, RAW, SDP, answer_to, cseq_of, tag_of
from tests.agent.watched import Watched
from tests.effort import effort

RELIABLE = "Require: 100rel"


class Callers(RuleBasedStateMachine):
    """Model: by fork, the number taken last and what was told last. A number is taken when it follows, or is the first."""

    @initialize(twice=st.booleans(), late=st.booleans())
    def start(self, twice: bool, late: bool) -> None:
        self.peer = Watched(transport="UDP" if twice else "TCP", twice=twice)
        self.invite = self.peer.invite(late_offer=late)
        assert ("100rel" in str(self.invite.headers.raw("Supported"))) != late
        self.last: dict[str, int] = {}
        self.told: dict[str, tuple[int, bytes]] = {}
        self.pracks: list[Request] = []
        self.numbers: dict[str, int] = {}  # of the last PRACK, by fork
        self.up = True

    @precondition(lambda self: self.up)
    @rule(
        tag=st.sampled_from(["one", "one", "two"]),
        status=st.sampled_from([180, 183, 199]),
        number=st.one_of(st.none(), st.integers(1, 5)),
        body=st.sampled_from([b"", RAW]),
        step=st.booleans(),
    )
    def provisional(self, tag: str, status: int, number: int | None, body: bytes, step: bool) -> None:
        if number is not None and step and tag in self.last:
            number = self.last[tag] + 1
        lines = [CONTACT, SDP, *([RELIABLE, f"RSeq: {number}"] if number is not None else [])]
        self.peer.answer(self.invite, status, *lines, tag=tag, body=body)
        last = self.last.get(tag)
        taken = number is None or last is None or number == last + 1
        pracks = self.peer.requests("PRACK")
        assert len(pracks) == (taken and number is not None)
        if pracks and number is not None:
            self.last[tag] = number
            assert pracks[0].headers.first("RAck") == f"{number} {cseq_of(self.invite)} INVITE"
            assert (pracks[0].headers.first("To") or "").endswith(f"tag={tag}")
            assert cseq_of(pracks[0]) == self.numbers.get(tag, cseq_of(self.invite)) + 1
            self.numbers[tag] = cseq_of(pracks[0])
            self.pracks.append(pracks[0])
        news = taken and self.told.get(tag) != (status, body)
        assert len(self.peer.all(o.CallProgressed)) == news
        if taken:
            self.told[tag] = (status, body)

    @rule(status=st.sampled_from([200, 481, 500]))
    def prack_is_answered(self, status: int) -> None:
        for prack in self.pracks[:1]:
            self.pracks.remove(prack)
            self.peer.data(answer_to(prack, status))
            assert not [event for event in self.peer.out if isinstance(event, o.CallEnded)]

    @precondition(lambda self: self.up)
    @rule(seconds=st.sampled_from([0.4, 3.0, 33.0]))
    def wait(self, seconds: float) -> None:
        self.peer.wait(seconds)
        self.up = "out" in self.peer.agent.calls
        # silence to a PRACK, or a missing number, ends no call: the INVITE's own answer decides, or its time limit
        assert self.up or self.peer.one(o.CallEnded).cause in (Cause.NO_ANSWER, Cause.REQUEST_TIMEOUT)

    @precondition(lambda self: self.up)
    @rule(tag=st.sampled_from(["one", "two"]), status=st.sampled_from([200, 486]))
    def final(self, tag: str, status: int) -> None:
        offer = self.invite.body
        body = b"" if status != 200 or not offer else Watched(connect=False).answer_sdp(offer)
        self.peer.answer(self.invite, status, CONTACT, SDP, tag=tag, body=body)
        self.up = False
        self.peer.request("ACK")

    @rule()
    def prack_comes(self) -> None:
        """For nothing: we have sent no provisional response."""
        if self.peer.agent.calls and self.last:
            tag = next(iter(self.last))
            self.peer.say(
                "PRACK",
                "RAck: 1 1 INVITE",
                from_tag=tag,
                to_tag=(self.invite.headers.first("From") or "").partition("tag=")[2],
                call_id=self.invite.headers.first("Call-ID") or "",
                cseq=len(self.peer.events) + 1,
            )
            assert self.peer.statuses()[0] in (481, 500)

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            self.peer.finish(by_itself=len(self.told) == 1)


class Called(RuleBasedStateMachine):
    """Model: the queue of what waits for its PRACK; the first is on its way, repeated after T1, 2*T1 ... for 64*T1."""

    @initialize(twice=st.booleans(), insists=st.booleans())
    def start(self, twice: bool, insists: bool) -> None:
        self.peer = Watched(transport="UDP" if twice else "TCP", twice=twice)
        self.insists = insists
        self.queue: list[bool] = []  # whether each has a description
        self.number: int | None = None  # of the first
        self.due = self.limit = self.interval = 0.0
        self.state = "ringing"
        self.described = False
        self.command = 0  # the Answer
        self.cseq = 1
        self.branch = "z9hG4bKcalled"
        lines = [RELIABLE] if insists else ["Supported: 100rel"]
        self.peer.say("INVITE", SDP, *lines, body=self.peer.offer(), branch=self.branch)
        self.tag = tag_of(next(r for r in self.peer.sent() if isinstance(r, Response) and r.status == 180))
        if insists:
            self.queue.append(False)
            self.on_its_way()
        else:
            assert not self.reliable()

    def reliable(self) -> list[Response]:
        return [r for r in self.peer.sent() if isinstance(r, Response) and r.headers.get(fields.RSEQ) is not None]

    def on_its_way(self) -> None:
        """The first of the queue goes out, with the next number."""
        (sent,) = self.reliable()
        number = sent.headers.require(fields.RSEQ)
        assert self.number is None or number == self.number + 1
        assert bool(sent.body) == self.queue[0]
        self.number = number
        self.interval = 0.5
        self.due, self.limit = self.peer.now + 0.5, self.peer.now + 32

    # -- the application -------------------------------------------------------------------------------------------------

    @rule(status=st.sampled_from([180, 183]), describe=st.booleans())
    def progress(self, status: int, describe: bool) -> None:
        what = i.Progress(command=0, call="in-1", status=status, media=AUDIO if describe else ())
        taken = self.peer.try_command(what)
        assert taken == (self.state == "ringing" and not (describe and self.described))
        if not taken:
            return
        self.described |= describe
        assert self.peer.all(o.CommandSucceeded)
        if not (describe or self.insists):
            assert not self.reliable() and self.peer.statuses() == [status]
        elif len(self.queue) < 16:
            self.queue.append(describe)
            if len(self.queue) == 1:
                self.on_its_way()
            else:
                assert not self.peer.statuses()

    @rule()
    def answer(self) -> None:
        taken = self.peer.try_command(i.Answer(command=0, call="in-1", media=AUDIO))
        assert taken == (self.state == "ringing")
        if taken:
            self.state, self.command = "answering", self.peer.commands
            self.maybe_accepted()

    def maybe_accepted(self) -> None:
        """3: no 2xx before the PRACK for a description."""
        if self.state == "answering" and not any(self.queue):
            self.state = "accepted"
            self.queue.clear()
            assert self.peer.statuses()[-1] == 200
            ok = [r for r in self.peer.sent() if isinstance(r, Response) and cseq_is_invite(r)][-1]
            assert ok.status == 200 and ok.body
        else:
            assert not [
                r for r in self.peer.sent() if isinstance(r, Response) and cseq_is_invite(r) and r.status >= 200
            ]

    @rule()
    def hang_up(self) -> None:
        if self.peer.try_command(i.HangUp(command=0, call="in-1", status=486)):
            self.ends(486)

    def ends(self, status: int) -> None:
        assert status in self.peer.statuses() or self.state == "accepted"
        self.peer.one(o.CallEnded)
        self.state = "over"
        self.queue.clear()

    # -- the peer --------------------------------------------------------------------------------------------------------

    @rule(off=st.sampled_from([0, 0, 0, -1, 1, 1000]), method=st.sampled_from(["INVITE", "INVITE", "INVITE", "UPDATE"]))
    def prack(self, off: int, method: str) -> None:
        self.cseq += 1
        number = (self.number or 4711) + off
        self.peer.say("PRACK", f"RAck: {number} 1 {method}", cseq=self.cseq, to_tag=self.tag)
        fits = bool(self.queue) and off == 0 and method == "INVITE"
        answers = [
            r for r in self.peer.sent() if isinstance(r, Response) and r.headers.require(fields.CSEQ).method == "PRACK"
        ]
        assert [r.status for r in answers] == [200 if fits else 481]
        if not fits:
            assert self.peer.statuses() == [481]
            return
        self.queue.pop(0)
        if self.queue:
            self.on_its_way()
        else:
            assert not self.reliable()
        self.maybe_accepted()

    @precondition(lambda self: self.state in ("ringing", "answering"))
    @rule()
    def cancel(self) -> None:
        self.peer.say("CANCEL", branch=self.branch)
        self.ends(487)

    @precondition(lambda self: self.state in ("ringing", "answering"))
    @rule(seconds=st.sampled_from([0.4, 1.0, 3.0, 33.0, 61.0]))
    def wait(self, seconds: float) -> None:
        end = self.peer.now + seconds
        while (when := self.peer.agent.next_timeout()) is not None and when <= end:
            self.peer.now = max(self.peer.now, when)
            self.peer.give(i.TimeoutElapsed())
            if self.state == "over":
                assert not self.reliable()
            elif self.queue and self.peer.now >= self.limit - 1e-6:
                self.ends(504)
                assert self.peer.one(o.CallEnded).cause is Cause.NO_ACK
            elif self.queue and self.peer.now >= self.due - 1e-6 and self.reliable():
                (sent,) = self.reliable()
                assert sent.headers.require(fields.RSEQ) == self.number
                self.interval *= 2
                self.due += self.interval
            elif self.peer.all(o.CallEnded):
                assert self.state == "ringing"  # the application did not answer
                self.ends(480)
            else:
                assert not self.reliable()
        self.peer.now = end

    @invariant()
    def timers_only_while_a_prack_is_waited_for(self) -> None:
        if hasattr(self, "peer"):
            timers = {name: when for _, name, when in self.peer.agent.timers() if name in ("1xx", "prack")}
            assert set(timers) == ({"1xx", "prack"} if self.queue else set())
            assert not self.queue or (abs(timers["1xx"] - self.due) < 1e-6 and abs(timers["prack"] - self.limit) < 1e-6)

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            if self.state == "accepted" and self.cseq % 2:
                self.peer.say("ACK", to_tag=self.tag)
            self.peer.finish(by_itself=self.cseq % 3 == 0)


def cseq_is_invite(response: Response) -> bool:
    return response.headers.require(fields.CSEQ).method == "INVITE"


Callers.TestCase.settings = effort(60, 30)
Called.TestCase.settings = effort(100, 30)
TestCallers = Callers.TestCase
TestCalled = Called.TestCase
