"""Session timers (RFC 4028): whoever refreshes, however it is answered, a call without life in it ends in time."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import Cause, SessionTimers
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import Request, fields
from tests.agent.peer import CONTACT, RAW, SDP, answer_to, tag_of
from tests.agent.watched import Watched
from tests.effort import effort

ALLOW = {False: "Allow: INVITE, ACK, BYE", True: "Allow: INVITE, ACK, BYE, UPDATE"}
SECONDS = st.sampled_from([None, 60, 90, 300, 1800])
REFRESHER = st.sampled_from(["", ";refresher=uac", ";refresher=uas"])


class SessionTimersMachine(RuleBasedStateMachine):
    """Model: the interval agreed on, who refreshes, when it ends; and our refresh, if it is under way."""

    @initialize(
        ours=st.booleans(),
        update=st.booleans(),
        expires=st.sampled_from([0, 200, 1800]),
        minimum=st.sampled_from([90, 240]),
        seconds=SECONDS,
        refresher=REFRESHER,
    )
    def start(self, ours: bool, update: bool, expires: int, minimum: int, seconds: int | None, refresher: str) -> None:
        timers = SessionTimers(expires=expires, minimum=minimum)
        self.peer = Watched(transport="TCP", session_timers=timers)
        self.minimum, self.knows_update = minimum, update
        self.interval: int | None = None
        self.ours = False
        self.ends_at = 0.0
        self.fires_at = 0.0
        self.refresh: Request | None = None
        self.retries_at_glare = False
        self.cseq = 1
        self.parts: dict[str, Any] = {}
        lines = [CONTACT, SDP, ALLOW[update], *self.stated(seconds, refresher)]
        if ours:
            self.call = "out"
            invite = self.peer.invite(media=(), body=RAW)
            stated = invite.headers.get(fields.SESSION_EXPIRES)
            assert (None if stated is None else stated.seconds) == (max(expires, minimum) if expires else None)
            self.peer.answer(invite, 200, *lines, body=RAW)
            self.agreed(seconds, refresher != ";refresher=uas")
            self.parts = {
                "call_id": invite.headers.first("Call-ID") or "",
                "from_tag": "peer",
                "to_tag": (invite.headers.first("From") or "").partition("tag=")[2],
            }
            return
        self.call = "in-1"
        self.peer.say("INVITE", *lines, "Supported: timer", body=RAW)
        if seconds is not None and seconds < minimum:
            assert self.peer.statuses() == [100, 422] or self.peer.statuses() == [422]
            assert self.peer.response(422).headers.first("Min-SE") == str(minimum)
            self.cseq = 2
            self.peer.say(
                "INVITE",
                SDP,
                ALLOW[update],
                f"Session-Expires: {minimum}",
                "Supported: timer",
                cseq=2,
                body=RAW,
                call_id="2",
            )
            seconds, refresher = minimum, ""
        self.parts = {"call_id": "2"} if self.cseq == 2 else {}
        self.peer.command(
            i.Answer(command=0, call="in-1" if "in-1" in self.peer.agent.calls else self.peer.agent.calls[0], body=RAW)
        )
        (self.call,) = self.peer.agent.calls
        ok = self.peer.response(200)
        self.check_answer(ok.headers.first("Session-Expires"), seconds, refresher, knows=True)
        self.parts["to_tag"] = tag_of(ok)
        self.peer.say("ACK", cseq=self.cseq, **self.parts)

    @staticmethod
    def stated(seconds: int | None, refresher: str) -> list[str]:
        return [] if seconds is None else [f"Session-Expires: {seconds}{refresher}"]

    @property
    def is_up(self) -> bool:
        return self.call in self.peer.agent.calls

    # -- the model -------------------------------------------------------------------------------------------------------

    def agreed(self, seconds: int | None, ours: bool) -> None:
        self.interval = None if seconds is None else max(90, seconds)
        if self.interval is not None:
            self.ours = ours
            self.ends_at = self.peer.now + self.interval
            self.fires_at = self.peer.now + self.interval / 2 if ours else self.ends_at - min(32, self.interval / 3)

    def check_answer(self, said: str | None, seconds: int | None, refresher: str, *, knows: bool) -> None:
        """Our 2xx to a request of the peer (9): the refresher that it named; else the peer, if it can."""
        if seconds is None:
            assert said is None
            self.agreed(None, False)
            return
        who = refresher.partition("=")[2] if knows else "uas"
        who = who or "uac"
        assert said == f"{max(90, seconds)};refresher={who}"
        self.agreed(seconds, who == "uas")

    def look(self) -> None:
        found = [*self.peer.requests("UPDATE"), *self.peer.requests("INVITE")]
        if found:
            assert self.refresh is None and len(found) == 1
            self.refresh, self.retries_at_glare = found[0], False
            assert self.refresh.method == ("UPDATE" if self.knows_update else "INVITE")
            assert bool(self.refresh.body) != self.knows_update
            stated = self.refresh.headers.get(fields.SESSION_EXPIRES)
            if self.interval is not None:  # else the peer has taken it back while ours collided with its own
                assert stated is not None and stated.params.get("refresher") == ("uac" if self.ours else "uas")

    # -- what happens ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_up and self.refresh is None)
    @rule(method=st.sampled_from(["UPDATE", "INVITE"]), seconds=SECONDS, refresher=REFRESHER, knows=st.booleans())
    def peer_refreshes(self, method: str, seconds: int | None, refresher: str, knows: bool) -> None:
        self.cseq += 1
        lines = [
            CONTACT,
            *self.stated(seconds, refresher),
            *(["Supported: timer"] if knows else []),
            ALLOW[self.knows_update],
        ]
        body = RAW if method == "INVITE" else b""
        before = self.peer.snapshot()
        self.peer.say(method, *lines, *([SDP] if body else []), cseq=self.cseq, body=body, **self.parts)
        status = next(s for s in self.peer.statuses() if s >= 200)
        if seconds is not None and seconds < self.minimum and knows:
            assert status == 422
            assert self.peer.response(422).headers.first("Min-SE") == str(self.minimum)
            assert method == "INVITE" or before == self.peer.snapshot()
        else:
            assert status == 200
            self.check_answer(self.peer.response(200).headers.first("Session-Expires"), seconds, refresher, knows=knows)
        if method == "INVITE":
            self.peer.say("ACK", cseq=self.cseq, **self.parts)

    @precondition(lambda self: self.refresh is not None)
    @rule(seconds=SECONDS, refresher=REFRESHER)
    def refresh_is_accepted(self, seconds: int | None, refresher: str) -> None:
        request, self.refresh = self.refresh, None
        assert request is not None
        body = RAW if request.method == "INVITE" else b""
        self.peer.data(
            answer_to(request, 200, CONTACT, *([SDP] if body else []), *self.stated(seconds, refresher), body=body)
        )
        self.agreed(seconds, refresher != ";refresher=uas")
        assert self.is_up

    @precondition(lambda self: self.refresh is not None)
    @rule(status=st.sampled_from([403, 422, 481, 491, 405, 500, 408]))
    def refresh_is_refused(self, status: int) -> None:
        request, self.refresh = self.refresh, None
        assert request is not None
        least = max(1800, self.interval or 0)
        lines = [f"Min-SE: {least}"] if status == 422 else []
        raises = status == 422 and least > (self.interval or 0)
        self.peer.data(answer_to(request, status, *lines))
        if status in (408, 481):
            assert not self.is_up and self.peer.one(o.CallEnded).cause is Cause.DIALOG_ERROR
            return
        assert self.is_up
        if status == 405 and request.method == "UPDATE":
            self.knows_update = False
        self.retries_at_glare = raises or status == 491
        self.look()

    @rule(part=st.sampled_from([0.1, 0.6, 1.0, 1.1]))
    def wait(self, part: float) -> None:
        """A part of what is left of the interval."""
        self.pass_time(self.peer.now + part * (max(1.0, self.ends_at - self.peer.now) if self.interval else 100.0))

    @precondition(lambda self: self.is_up and self.ours and self.interval is not None and self.refresh is None)
    @rule()
    def until_we_refresh(self) -> None:
        self.pass_time(self.ends_at, until_asked=True)

    def pass_time(self, end: float, *, until_asked: bool = False) -> None:
        while (when := self.peer.agent.next_timeout()) is not None and when <= end:
            self.peer.now = max(self.peer.now, when)
            self.peer.give(i.TimeoutElapsed())
            self.look()
            if self.peer.all(o.CallEnded):
                self.ended()
            if until_asked and self.refresh is not None:
                return
        self.peer.now = end

    def ended(self) -> None:
        """Never before its time, and for no other reason than that nobody has refreshed it."""
        cause, now = self.peer.one(o.CallEnded).cause, self.peer.now + 1e-6
        if self.refresh is not None:
            assert cause is Cause.DIALOG_ERROR  # the peer does not answer any more
            self.refresh = None
            return
        assert cause is Cause.EXPIRED and self.interval is not None
        assert now >= (self.ends_at if self.ours else self.fires_at)
        self.peer.request("BYE")

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def somebody_looks_after_it(self) -> None:
        if not hasattr(self, "peer") or not self.is_up:
            return
        names = self.peer.timer_names()
        if self.interval is None:
            assert "session" not in names
            return
        assert "session" in names or self.refresh is not None or self.retries_at_glare
        if not self.ours:
            (when,) = [when for _, name, when in self.peer.agent.timers() if name == "session"]
            assert abs(when - self.fires_at) < 1e-6
        # 32 s for the last refresh, and what a few collisions take
        assert self.peer.now <= self.ends_at + 32 + 8 * 4

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            self.peer.finish(by_itself=self.cseq % 2 == 0)


def test_a_refresh_is_asked_for_again_at_once_when_it_was_too_small() -> None:
    peer = Watched(transport="TCP", session_timers=SessionTimers(expires=100))
    invite = peer.invite(media=(), body=RAW)
    peer.answer(invite, 200, CONTACT, SDP, ALLOW[True], "Session-Expires: 100;refresher=uac", body=RAW)
    peer.wait(50)
    peer.data(answer_to(peer.request("UPDATE"), 422, "Min-SE: 400"))
    assert (peer.request("UPDATE").headers.first("Session-Expires") or "").startswith("400;")


SessionTimersMachine.TestCase.settings = effort(80, 30)
TestSessionTimers = SessionTimersMachine.TestCase
