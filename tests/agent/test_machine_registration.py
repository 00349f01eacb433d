"""A registration against a model of it: what is wanted, what was granted, and what is said about that."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import Cause, Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request, fields
from tests.agent.peer import answer_to, cseq_of
from tests.agent.watched import Watched
from tests.effort import effort

SECRET = Secret(username="alice", password="secret")


class Registrations(RuleBasedStateMachine):
    """Model: a request under way or none; a refresh or another attempt to come, or none."""

    @initialize(reconnect=st.booleans(), secret=st.booleans(), twice=st.booleans(), registered=st.booleans())
    def start(self, reconnect: bool, secret: bool, twice: bool, registered: bool) -> None:
        recovery = Recovery(reconnect=reconnect, first_delay=0.001)
        self.peer = Watched(
            transport="UDP" if twice else "TCP", twice=twice, recovery=recovery, secrets=(SECRET,) if secret else ()
        )
        self.secret = secret
        self.connected = True
        self.wanted = self.granted = False
        self.told = False  # whether the last that the application heard is that it is registered
        self.command = 0
        self.request: Request | None = None  # under way
        self.asked_at = 0.0
        self.asked = 600
        self.expires = 600  # what the next refresh asks for
        self.next_at: tuple[float, float] | None = None  # between when and when the next refresh comes
        self.raises = self.failures = 0
        self.nonces = 0
        self.good: set[str] = set()  # nonces that were accepted
        self.cseq = 0
        self.seen: set[str | None] = set()
        self.last: Request | None = None
        self.old: list[Request] = []
        self.call_id: str | None = None
        if registered:
            self.register(None)
            self.is_accepted(60)

    # -- the model -------------------------------------------------------------------------------------------------------

    def sends(self, expires: int) -> list[str]:
        """A REGISTER goes out, with the next sequence number of the one Call-ID."""
        (request,) = self.fresh_requests()
        assert request.headers.first("Expires") == str(expires)
        assert cseq_of(request) == self.cseq + 1 or not self.cseq
        assert self.call_id in (None, request.headers.first("Call-ID"))
        self.cseq, self.call_id = cseq_of(request), request.headers.first("Call-ID")
        fresh = self.request is None
        self.request, self.asked = request, expires
        if fresh:
            self.asked_at = self.peer.now
        return ["REGISTER"]

    def outcome(self, what: str) -> list[str]:
        command, self.command = self.command, 0
        return [f"{what} {command}"] if command else []

    def ends(self, *, event: bool) -> list[str]:
        self.granted = False
        return ["unregistered"] if event else []

    def fails(self, status: int | None, retry_after: float = 0.0) -> list[str]:
        self.request = None
        was_granted, self.granted = self.granted, False
        commanded = self.command != 0
        out = self.outcome("failed")
        if not self.wanted:
            self.next_at = None
            return [*out, *self.ends(event=was_granted or status is not None)]
        helps = status is None or status in (408, 480) or 500 <= status < 600
        if commanded or not helps:
            self.wanted, self.next_at = False, None
            return [*out, "failed"]
        limit = min(300.0, 5.0 * 2**self.failures)
        self.failures += 1
        low, high = (max(limit * part, retry_after) for part in (0.5, 1.0))
        self.next_at = (self.peer.now + low, self.peer.now + high)
        return [*out, "failed"]

    def flow_goes(self, hope: bool) -> list[str]:
        """What the registration says about it; nothing when it is not concerned."""
        if not self.connected:
            return []
        self.connected = False
        self.good.clear()
        self.next_at = self.request = None
        self.wanted = hope and self.wanted and not self.command
        return [*self.outcome("failed"), *self.ends(event=self.granted)]

    def heard(self) -> list[str]:
        found: list[str] = []
        for output in self.peer.out:
            match output:
                case o.CommandSucceeded(command=command):
                    found.append(f"succeeded {command}")
                case o.CommandFailed(command=command):
                    found.append(f"failed {command}")
                case o.RegistrationChanged(state=state):
                    found.append(state.value)
                    self.told = state is o.RegistrationState.REGISTERED
        fresh = self.fresh_requests()
        self.seen.update(request.headers.first("Via") for request in fresh)
        return [*found, *("REGISTER" for _ in fresh)]

    def fresh_requests(self) -> list[Request]:
        """Not those that are repeated on their way over UDP."""
        return [r for r in self.peer.requests("REGISTER") if r.headers.first("Via") not in self.seen]

    def expect(self, wanted: list[str]) -> None:
        assert self.heard() == wanted

    # -- commands --------------------------------------------------------------------------------------------------------

    @rule(expires=st.sampled_from([None, 60, 3600]))
    def register(self, expires: int | None) -> None:
        assert not self.peer.try_command(i.Register(command=0, expires=0))
        taken = self.peer.try_command(i.Register(command=0, expires=expires))
        assert taken == self.connected
        if taken:
            replaced = self.outcome("failed")
            assert not replaced or self.peer.one(o.CommandFailed).cause is Cause.SUPERSEDED
            self.wanted, self.command, self.request = True, self.peer.commands, None
            self.expires = 600 if expires is None else expires
            self.raises = self.failures = 0
            self.expect([*replaced, *self.sends(self.expires)])

    @rule(everything=st.booleans())
    def unregister(self, everything: bool) -> None:
        taken = self.peer.try_command(i.Unregister(command=0, everything=everything))
        assert taken == (self.connected or not everything)
        if not taken:
            return
        replaced = self.outcome("failed")
        had = self.wanted or self.granted
        self.wanted, self.next_at, self.request = False, None, None
        self.command = self.peer.commands
        if self.connected and (had or everything):
            self.expect([*replaced, *self.sends(0)])
            contact = self.request and self.request.headers.first("Contact")
            assert (contact == "*") == everything
        else:
            self.expect([*replaced, *self.outcome("succeeded"), *self.ends(event=self.granted)])

    # -- answers ---------------------------------------------------------------------------------------------------------

    def accepted(self, request: Request) -> None:
        credentials = request.headers.get(fields.AUTHORIZATION)
        if credentials is not None:
            self.good.add(credentials.params.get("nonce") or "")

    def take(self) -> Request | None:
        request, self.request = self.request, None
        return request

    @precondition(lambda self: self.request is not None)
    @rule(granted=st.sampled_from([30, 600, None]))
    def is_accepted(self, granted: int | None) -> None:
        request = self.take()
        assert request is not None
        self.accepted(request)
        self.peer.answer(request, 200, *([] if granted is None else [f"Expires: {granted}"]))
        self.raises = self.failures = 0
        if self.asked == 0:
            self.expect([*self.outcome("succeeded"), *self.ends(event=self.granted)])
            return
        lifetime = self.asked if granted is None else granted
        self.next_at = (self.peer.now + 0.5 * lifetime, self.peer.now + 0.8 * lifetime)
        news = ["registered"] if self.command or not self.granted else []
        self.granted = True
        self.expect([*self.outcome("succeeded"), *news])

    @precondition(lambda self: self.request is not None)
    @rule(status=st.sampled_from([403, 408, 480, 500, 503, 603]), after=st.sampled_from([None, 1, 500]))
    def is_refused(self, status: int, after: int | None) -> None:
        request = self.take()
        assert request is not None
        if status != 403:
            self.accepted(request)
        lines = [] if after is None else [f"Retry-After: {after}"]
        self.peer.answer(request, status, *lines)
        self.expect(self.fails(status, float(after or 0)))

    @precondition(lambda self: self.request is not None)
    @rule(least=st.sampled_from([None, 10, 1200, 7200, 20_000, 4_000_000_000]))
    def is_too_brief(self, least: int | None) -> None:
        request = self.take()
        assert request is not None
        self.accepted(request)
        self.peer.answer(request, 423, *([] if least is None else [f"Min-Expires: {least}"]))
        if self.asked and least is not None and self.asked < least <= 7 * 86_400 and self.raises < 2:
            self.raises += 1
            self.expires = least
            self.expect(self.sends(least))
        else:
            self.expect(self.fails(423))

    @precondition(lambda self: self.request is not None)
    @rule(stale=st.booleans())
    def is_challenged(self, stale: bool) -> None:
        request = self.request
        assert request is not None
        credentials = request.headers.get(fields.AUTHORIZATION)
        used = None if credentials is None else credentials.params.get("nonce")
        self.nonces += 1
        value = f'Digest realm="example.com", nonce="n{self.nonces}", qop="auth", algorithm=SHA-256'
        self.peer.answer(request, 401, f"WWW-Authenticate: {value}{', stale=true' if stale else ''}")
        if self.secret and (used is None or stale or used in self.good) and self.fresh_requests():
            self.expect(self.sends(self.asked))
            again = self.request.headers.get(fields.AUTHORIZATION) if self.request else None
            assert again is not None and again.params.get("nonce") == f"n{self.nonces}"
        elif self.secret and (used is None or used in self.good or stale):
            raise AssertionError("the challenge is not answered")
        else:
            self.request = None
            cause = Cause.AUTHENTICATION_ERROR if self.secret else Cause.NO_PASSWORD
            assert {f.cause for f in self.peer.all(o.CommandFailed)} <= {cause}
            self.expect(self.fails(401))

    @precondition(lambda self: self.old)
    @rule(status=st.sampled_from([100, 200, 403, 503]))
    def late_answer(self, status: int) -> None:
        """To a request that nobody waits for any more."""
        self.peer.data(answer_to(self.old.pop(), status))
        self.expect([])

    # -- time and connections --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.connected)
    @rule(error=st.sampled_from([None, "reset"]))
    def flow_is_lost(self, error: str | None) -> None:
        hope = self.peer.config.recovery.reconnect
        self.peer.give(i.FlowClosed(flow=self.peer.flow, error=error))
        self.expect(self.flow_goes(hope))

    @precondition(lambda self: not self.connected)
    @rule()
    def connection_comes_back(self) -> None:
        if not self.peer.asked and self.peer.try_command(i.Connect(command=0, server="sip:example.com")):
            self.heard()
        if not self.peer.asked:
            self.wait(0.01)
        number = self.peer.commands if self.peer.commands in self.peer.open else 0
        self.peer.opened()
        self.connected = True
        self.raises = 0
        succeeded = [f"succeeded {number}"] if number else []
        self.expect([*succeeded, *(self.sends(self.expires) if self.wanted else [])])

    @precondition(lambda self: self.connected or self.peer.asked)
    @rule()
    def disconnect(self) -> None:
        self.peer.command(i.Disconnect(command=0))
        number = self.peer.commands
        told = self.flow_goes(False)
        self.wanted = False
        assert sorted(self.heard()) == sorted([*told, f"succeeded {number}"])

    @precondition(lambda self: self.request is not None)
    @rule()
    def is_silent(self) -> None:
        self.wait(self.asked_at + 32.5 - self.peer.now)

    @precondition(lambda self: self.request is None and self.next_at is not None)
    @rule()
    def time_for_the_next(self) -> None:
        assert self.next_at is not None
        self.pass_time(max(self.next_at[1], self.next_at[0] + 1), until_asked=True)
        assert self.request is not None

    @rule(seconds=st.sampled_from([0.01, 1.0, 20.0, 300.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(self.peer.now + seconds)

    def pass_time(self, end: float, *, until_asked: bool = False) -> None:
        while (when := self.peer.agent.next_timeout()) is not None and when <= end:
            self.peer.now = max(self.peer.now, when)
            self.peer.give(i.TimeoutElapsed())
            if self.request is not None and self.peer.now >= self.asked_at + 32 - 1e-6:
                self.expect(self.fails(None))
            elif self.request is None and self.fresh_requests():
                assert self.wanted and self.next_at is not None
                assert self.next_at[0] - 1e-6 <= self.peer.now <= max(self.next_at[1], self.next_at[0] + 1) + 1e-6
                self.expect(self.sends(self.expires))
                if until_asked:
                    return
            elif not self.peer.requests("REGISTER"):
                self.expect([])
        self.peer.now = end

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def what_is_waited_for(self) -> None:
        if not hasattr(self, "peer"):
            return
        if self.request is not self.last:
            self.old += [self.last] if self.last is not None else []
            self.last = self.request
        assert self.told == self.granted
        running = [when for owner, name, when in self.peer.agent.timers() if name == "refresh"]
        if self.request is None:
            assert bool(running) == (self.next_at is not None)
            assert self.peer.agent.retained["exchanges"] == 0
            assert not self.command
        else:
            assert self.peer.agent.retained["exchanges"] == 1
        if self.wanted and self.connected:
            assert self.request is not None or running, "nothing will ever refresh it"

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            self.peer.finish(by_itself=self.nonces % 2 == 1)


Registrations.TestCase.settings = effort(150, 50)
TestRegistrations = Registrations.TestCase
