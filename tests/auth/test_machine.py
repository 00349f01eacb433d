"""The digest client against digest servers: a proxy and a registrar, whose nonces age, and who restart."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.auth import AnswerOutcome, AuthOutcome, DigestServer, Secret, Verdict
from sipproto.message import Headers, Request, Response
from sipproto.tokens import SeededTokens
from tests.auth.rig import PASSWORD, Client, parsed, refusal
from tests.effort import effort

LIFE = 300.0
PROXY, REGISTRAR = "p", "r"
STRENGTH = {"MD5": 0, "SHA-256": 1, "SHA-512-256": 2}
ALGORITHMS = st.sampled_from([("MD5",), ("SHA-256", "MD5"), ("SHA-512-256", "MD5")])


class Digests(RuleBasedStateMachine):
    """Model: by realm, when the nonce in use was made, if it still serves, and the strongest algorithm answered so far."""

    @initialize(proxy=ALGORITHMS, registrar=ALGORITHMS, qop=st.sampled_from([("auth",), ("auth", "auth-int")]))
    def start(self, proxy: tuple[str, ...], registrar: tuple[str, ...], qop: tuple[str, ...]) -> None:
        self.now = 1000.0
        self.client = Client()
        self.qop = qop
        self.password = True  # whether the client has the right one
        self.starts = 0
        self.servers: dict[str, DigestServer] = {}
        self.offers: dict[str, str] = {}  # the strongest algorithm of each
        self.guarded: dict[str, str] = {}
        self.made: dict[str, float | None] = {PROXY: None, REGISTRAR: None}
        self.accepted: list[Request] = []
        self.held: list[Request] = []  # on a slow way
        for realm, algorithms in ((PROXY, proxy), (REGISTRAR, registrar)):
            self._start(realm, algorithms)

    def _start(self, realm: str, algorithms: tuple[str, ...]) -> None:
        self.starts += 1
        lookup: Callable[[str], Secret | None] = {"u": PASSWORD}.get
        tokens = SeededTokens(self.starts)
        self.servers[realm] = DigestServer(realm, lookup, tokens, algorithms, qop=self.qop, nonce_life=LIFE)
        self.offers[realm] = max(algorithms, key=lambda name: STRENGTH[name])
        self.made[realm] = None

    def serves(self, realm: str) -> bool:
        made = self.made[realm]
        return made is not None and self.now - made <= LIFE

    def deliver(self, request: Request) -> Response:
        """What proxy and registrar say: each looks for its own realm."""
        pairs: list[tuple[str, str]] = []
        for realm in (PROXY, REGISTRAR):
            server, status = self.servers[realm], 407 if realm == PROXY else 401
            check = server.check(request, self.now, proxy=realm == PROXY)
            if check.verdict is not Verdict.OK:
                stale = check.verdict is Verdict.STALE
                return refusal(*server.challenges(self.now, stale=stale), status=status)
            pairs.append(server.info(check, self.now))
        return Response(200, "OK", Headers(pairs))

    # -- requests --------------------------------------------------------------------------------------------------------

    @rule(body=st.sampled_from([b"", b"v=0"]), method=st.sampled_from(["REGISTER", "INVITE"]))
    def ask(self, body: bytes, method: str) -> None:
        """As many requests as there are realms that have to ask, and one more: no loops, no needless challenge."""
        weaker = [r for r in self.made if r in self.guarded and STRENGTH[self.offers[r]] < STRENGTH[self.guarded[r]]]
        asking = [realm for realm in (PROXY, REGISTRAR) if not self.serves(realm)]
        for number in range(10):
            request = self.client.send(body, method=method)
            response = self.deliver(request)
            if response.status == 200:
                break
            outcome = self.client.takes(request, response)
            realm = PROXY if response.status == 407 else REGISTRAR
            if realm in weaker:
                assert outcome is AuthOutcome.DOWNGRADE
                assert realm in asking
                return
            if number and asking[:1] == [realm] and not self.password:
                assert outcome is AuthOutcome.REFUSED
                self.made[realm] = None
                return
            assert outcome is AuthOutcome.RETRY
            assert realm == asking[0]
            if self.password:
                asking.pop(0)
                self.made[realm] = self.now
            self.guarded[realm] = max(
                self.guarded.get(realm, "MD5"), self.offers[realm], key=lambda name: STRENGTH[name]
            )
        assert response.status == 200 and self.password and not asking
        proof = self.client.auth.answered(request, response)
        assert proof in (AnswerOutcome.PROVEN, AnswerOutcome.NEXT_NONCE)
        for realm, name in ((PROXY, "Proxy-Authentication-Info"), (REGISTRAR, "Authentication-Info")):
            if "nextnonce" in (response.headers.first(name) or ""):
                self.made[realm] = self.now
        self.accepted.append(request)

    @rule()
    def a_request_gets_lost(self) -> None:
        self.client.send()

    @rule()
    def a_request_is_slow(self) -> None:
        self.held.append(self.client.send())

    @precondition(lambda self: self.held)
    @rule()
    def the_slow_one_arrives(self) -> None:
        """It is served, or the client comes back with another one: neither must lead astray."""
        request = self.held.pop(0)
        if self.deliver(request).status == 200:
            self.accepted.append(request)

    @precondition(lambda self: self.accepted)
    @rule(which=st.integers(0, 20))
    def replay(self, which: int) -> None:
        """Nothing that was accepted once is accepted again, however long ago."""
        assert self.deliver(self.accepted[-1 - which % len(self.accepted)]).status != 200

    @precondition(lambda self: self.accepted)
    @rule(uri=st.sampled_from(["sip:other", "sip:u@r"]))
    def redirected(self, uri: str) -> None:
        """Nor for something else than it was made for."""
        request = self.client.send()
        assert self.deliver(evolve(request, target=uri)).status != 200
        assert self.deliver(evolve(request, method="BYE")).status != 200

    @precondition(lambda self: self.serves(PROXY) and self.serves(REGISTRAR))
    @rule(end=st.sampled_from(["Proxy-Authentication-Info", "Authentication-Info"]))
    def an_answer_is_forged(self, end: str) -> None:
        request = self.client.send()
        value = 'rspauth="00000000000000000000000000000000", nextnonce="evil"'
        assert (
            self.client.auth.answered(request, Response(200, "", Headers([(end, value)]))) is AnswerOutcome.WRONG_PROOF
        )
        assert "evil" not in str(self.client.send().headers.raw("Authorization"))

    # -- what changes ----------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 1.0, 200.0, 230.0, 299.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(realm=st.sampled_from([PROXY, REGISTRAR]), algorithms=ALGORITHMS)
    def a_server_restarts(self, realm: str, algorithms: tuple[str, ...]) -> None:
        self._start(realm, algorithms)

    @rule(right=st.booleans())
    def other_secrets(self, right: bool) -> None:
        self.client.auth.set_secrets((PASSWORD if right else Secret(username="u", password="wrong"),))
        self.password = right
        self.made = {PROXY: None, REGISTRAR: None}

    @rule()
    def another_connection(self) -> None:
        self.client.auth.forget()
        self.made = {PROXY: None, REGISTRAR: None}

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        if hasattr(self, "client"):
            assert len(self.client.auth._sessions) <= 2
            for server in self.servers.values():
                assert len(server._used) <= len(self.accepted) + len(self.held) + 40

    def teardown(self) -> None:
        """Whatever has happened: the right password opens the door."""
        if hasattr(self, "client"):
            for realm in (PROXY, REGISTRAR):
                self._start(realm, ("SHA-512-256", "SHA-256", "MD5"))
            self.other_secrets(True)
            self.ask(b"", "REGISTER")
            assert parsed(self.accepted[-1]) == self.accepted[-1]


Digests.TestCase.settings = effort(100, 30)
TestDigests = Digests.TestCase
