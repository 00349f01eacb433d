"""Transfers from both sides, with answers and NOTIFYs in any order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import Request
from tests.agent.peer import CONTACT, RAW, SDP, answer_to
from tests.agent.watched import Watched
from tests.effort import effort

FRAGMENT = "Content-Type: message/sipfrag;version=2.0"


class Transfers(RuleBasedStateMachine):
    """Model of our REFER: the command that waits and what it was told last. Of the peer's: what was said in which order."""

    @initialize(twice=st.booleans())
    def start(self, twice: bool) -> None:
        self.peer = Watched(transport="UDP" if twice else "TCP", twice=twice)
        self.invite = self.peer.call_out()
        self.cseq = 0
        self.waiting: dict[int, Request] = {}  # our REFERs without an answer, by command
        self.command = 0
        self.notifies = False
        self.status: int | None = None
        self.limit: float | None = None  # when silence ends it
        self.transfers: dict[str, bool] = {}  # the peer's, by Event id: whether the last NOTIFY is out
        self.undecided: dict[str, float] = {}  # with the time at which we refuse
        self.unanswered: list[Request] = []  # NOTIFYs
        self.invites: list[Request] = []
        self.calls = 0

    @property
    def is_up(self) -> bool:
        return "out" in self.peer.agent.calls

    def look(self) -> None:
        """NOTIFYs go out one by one, and none after the last."""
        seen: set[str | None] = set()
        for request in self.peer.requests("NOTIFY"):
            via = request.headers.first("Via")
            if via in seen or any(via == known.headers.first("Via") for known in self.unanswered):
                continue  # repeated on its way
            seen.add(via)
            ident = request.headers.first("Event") or ""
            final = (request.headers.first("Subscription-State") or "").startswith("terminated")
            assert self.transfers.setdefault(ident, False) is False, "a NOTIFY after the last"
            assert all(ident != known.headers.first("Event") for known in self.unanswered), "two at a time"
            self.transfers[ident] = final
            self.unanswered.append(request)
        # Timer F ends each after 32 s; the next one may come then.
        self.invites += [r for r in self.peer.requests("INVITE") if "new" in r.target]

    def outcomes(self) -> list[o.Outcome]:
        found: list[o.Outcome] = [*self.peer.all(o.CommandSucceeded), *self.peer.all(o.CommandFailed)]
        return [outcome for outcome in found if outcome.command == self.command]

    def over(self, *, succeeded: bool) -> None:
        """The command has ended, in this step."""
        (outcome,) = self.outcomes()
        assert isinstance(outcome, o.CommandSucceeded) == succeeded, outcome
        assert outcome.result == self.status if isinstance(outcome, o.CommandSucceeded) else True
        self.command, self.limit = 0, None

    # -- our REFER -------------------------------------------------------------------------------------------------------

    @rule(notify=st.booleans())
    def refer(self, notify: bool) -> None:
        what = i.Refer(command=0, call="out", target="sip:carol@example.com", notify=notify)
        taken = self.peer.try_command(what)
        assert taken == (self.is_up and not self.command)
        if taken:
            self.command, self.notifies, self.status = self.peer.commands, notify, None
            self.waiting[self.command] = self.peer.request("REFER")
            self.limit = self.peer.now + 32

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 3), status=st.sampled_from([100, 202, 202, 603, 408]), silent=st.booleans())
    def refer_is_answered(self, which: int, status: int, silent: bool) -> None:
        command = list(self.waiting)[which % len(self.waiting)]
        request = self.waiting[command]
        if status >= 200:
            del self.waiting[command]
        self.peer.data(answer_to(request, status, *(["Refer-Sub: false"] if silent else [])))
        if command != self.command or status < 200:
            assert not self.peer.all(o.CommandSucceeded) and not self.peer.all(o.CommandFailed)
        elif status >= 300:
            self.over(succeeded=False)
        else:
            self.status = self.status or status
            if silent or not self.notifies:
                self.over(succeeded=True)
            else:
                assert not self.outcomes()
                self.limit = self.peer.now + 180

    @precondition(lambda self: self.is_up)
    @rule(
        status=st.sampled_from([None, 100, 180, 200, 486]),
        ends=st.booleans(),
        event=st.sampled_from(["refer", "dialog"]),
    )
    def notify_comes(self, status: int | None, ends: bool, event: str) -> None:
        self.cseq += 1
        body = b"" if status is None else f"SIP/2.0 {status} Text\r\n".encode()
        state = "terminated;reason=noresource" if ends else "active;expires=60"
        lines = [f"Event: {event}", f"Subscription-State: {state}", FRAGMENT]
        self.peer.in_dialog(self.invite, "NOTIFY", *lines, cseq=self.cseq, body=body)
        if not self.command or event != "refer":
            assert self.peer.statuses() == [481] and not self.peer.all(o.TransferProgressed)
            return
        assert self.peer.statuses() == [200]
        assert [told.status for told in self.peer.all(o.TransferProgressed)] == ([] if status is None else [status])
        self.status = status or self.status
        if status is not None and status >= 200:
            self.over(succeeded=status < 300)
        elif ends:
            self.over(succeeded=True)
        else:
            assert not self.outcomes()

    # -- the peer's REFER ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_up and self.calls < 6)
    @rule(
        to=st.sampled_from(["<sip:new@example.com>", "<sip:new@example.com;method=BYE>", "<http://x/>", None]),
        silent=st.booleans(),
    )
    def refer_comes(self, to: str | None, silent: bool) -> None:
        self.cseq += 1
        self.calls += 1
        lines = [CONTACT, *([f"Refer-To: {to}"] if to else []), *(["Refer-Sub: false"] if silent else [])]
        self.peer.in_dialog(self.invite, "REFER", *lines, cseq=self.cseq)
        (status,) = self.peer.statuses()
        if to != "<sip:new@example.com>":
            assert status in (400, 403, 416) and not self.peer.all(o.TransferRequested)
            return
        assert status == 202
        self.undecided[self.peer.one(o.TransferRequested).transfer] = self.peer.now + 60
        assert len(self.peer.requests("NOTIFY")) == (0 if silent else 1)
        self.look()

    @precondition(lambda self: self.undecided)
    @rule(accept=st.booleans())
    def decide(self, accept: bool) -> None:
        name = next(iter(self.undecided))
        if accept:
            taken = self.peer.try_command(
                i.AcceptTransfer(command=0, transfer=name, call=f"new-{self.calls}", body=RAW)
            )
            if not taken:
                assert f"new-{self.calls}" in self.peer.agent.calls
                return
        else:
            self.peer.command(i.RejectTransfer(command=0, transfer=name))
        self.look()
        del self.undecided[name]
        assert not self.peer.try_command(i.RejectTransfer(command=0, transfer=name))

    @precondition(lambda self: self.invites)
    @rule(status=st.sampled_from([180, 200, 486]))
    def target_answers(self, status: int) -> None:
        request = self.invites[-1]
        if status >= 200:
            self.invites.pop()
        self.peer.answer(request, status, CONTACT, SDP, tag="carol", body=RAW if status == 200 else b"")
        self.look()

    @precondition(lambda self: self.unanswered)
    @rule(which=st.integers(0, 3), status=st.sampled_from([100, 200, 200, 481, 500]))
    def notify_is_answered(self, which: int, status: int) -> None:
        request = self.unanswered[which % len(self.unanswered)]
        if status >= 200:
            self.unanswered.remove(request)
        self.peer.answer(request, status)
        self.look()

    # -- the rest --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_up)
    @rule(by_us=st.booleans())
    def end_the_call(self, by_us: bool) -> None:
        if by_us:
            self.peer.command(i.HangUp(command=0, call="out"))
        else:
            self.cseq += 1
            self.peer.in_dialog(self.invite, "BYE", cseq=self.cseq)
        if self.command:
            self.over(succeeded=self.status is not None)  # many servers take over, and say no more
        self.look()

    @rule(seconds=st.sampled_from([1.0, 33.0, 100.0]))
    def wait(self, seconds: float) -> None:
        end = self.peer.now + seconds
        while (when := self.peer.agent.next_timeout()) is not None and when <= end:
            self.peer.now = max(self.peer.now, when)
            self.peer.give(i.TimeoutElapsed())
            if self.peer.all(o.TransferProgressed) or self.outcomes():
                assert self.limit is not None and self.peer.now >= self.limit - 1e-6
                self.over(succeeded=False)
            self.undecided = {name: limit for name, limit in self.undecided.items() if limit > self.peer.now}
            self.unanswered = [r for r in self.unanswered if not self._is_over(r)]
            self.look()
        self.peer.now = end
        assert self.limit is None or self.limit > end

    def _is_over(self, request: Request) -> bool:
        """Whether time has ended a NOTIFY: then the next one has come, or nobody is told any more."""
        via = request.headers.first("Via")
        return any(
            r.headers.first("Event") == request.headers.first("Event") and r.headers.first("Via") != via
            for r in self.peer.requests("NOTIFY")
        )

    @invariant()
    def timers_only_while_something_is_waited_for(self) -> None:
        if not hasattr(self, "peer"):
            return
        names = self.peer.timer_names()
        answered = self.command != 0 and self.command not in self.waiting
        assert ("refer" in names) == answered
        limits = {owner[1]: when for owner, _, when in self.peer.agent.timers() if str(owner).startswith("('referral'")}  # type: ignore[index]
        assert limits == self.undecided
        assert (self.command in self.peer.open) == (self.command != 0)

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            self.peer.finish(by_itself=self.calls % 2 == 1)


Transfers.TestCase.settings = effort(100, 40)
TestTransfers = Transfers.TestCase
