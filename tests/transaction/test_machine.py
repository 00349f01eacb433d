"""The four transaction machines against a second description of them: what RFC 3261 17 and RFC 6026 say, not how.

A model says what is said when; the layer runs several transactions at once, on both kinds of transport.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.errors import LocalProtocolError
from sipproto.message import Request, Response, fields, parse_message
from sipproto.transaction import (
    AckReceived,
    RequestReceived,
    ResponseReceived,
    StrayResponse,
    TransactionEnded,
    TransactionFailed,
    TransactionLayer,
    TransactionOutput,
    Transmit,
)
from tests.effort import effort
from tests.transaction.test_layer import request, response

T1, T2, T4, LONG = 0.5, 4.0, 5.0, 32.0
FINAL = {"2xx": 200, "error": 486}


class Model:
    """`state` is None when nothing is left; `due` has when a method of that name is to be called."""

    def __init__(self, reliable: bool, now: float) -> None:
        self.reliable, self.now = reliable, now
        self.state: str | None = "waiting"
        self.due: dict[str, float] = {}
        self.said: list[str] = []
        self.interval = T1

    def enter(self, state: str, life: float | None, reliable_life: float | None = None) -> None:
        """A state that lasts so long; on reliable transports as long as that."""
        self.state, self.due = state, {}
        if self.reliable and reliable_life is not None:
            life = reliable_life
        if life == 0:
            self.state = None
        elif life is not None:
            self.due["over"] = self.now + life

    def over(self) -> None:
        self.gone()

    def gone(self) -> None:
        self.state, self.due = None, {}

    def again(self) -> None:
        """What was sent is sent once more; the time until then is doubled, up to T2."""
        self.interval = min(2 * self.interval, T2)
        self.due["again"] = self.now + self.interval

    def wait(self, until: float) -> None:
        while self.due and min(self.due.values()) <= until:
            name = min(self.due, key=lambda name: self.due[name])
            self.now = self.due.pop(name)
            getattr(self, name)()
        self.now = until

    def flow_closed(self) -> None:
        if self.state in ("waiting", "proceeding"):
            self.said.append("error")
        self.gone()


class Client(Model):
    """17.1.2: T1, doubled up to T2; every T2 after a provisional answer; 64*T1 in all; T4 to absorb repeated answers."""

    def __init__(self, reliable: bool, now: float) -> None:
        super().__init__(reliable, now)
        self.said.append("send")
        self.due["over"] = now + LONG
        if not reliable:
            self.due["again"] = now + T1

    def again(self) -> None:
        self.said.append("send")
        if self.state == "proceeding":
            self.interval = T2 / 2  # so that it is T2, for ever
        super().again()

    def over(self) -> None:
        if self.state in ("waiting", "proceeding"):
            self.said.append("timeout")
        self.gone()

    def response(self, kind: str) -> None:
        if self.state == "answered":
            return
        self.said.append("pass " + kind)
        if kind == "1xx":
            self.state = "proceeding"
        else:
            self.enter("answered", T4, 0)


class InviteClient(Client):
    """17.1.1, RFC 6026: a provisional answer ends repetition and limit; ACK to every error; 2xx pass for 64*T1."""

    given_up: float | None = None

    def again(self) -> None:
        self.said.append("send")
        self.interval *= 2
        self.due["again"] = self.now + self.interval

    def over(self) -> None:
        if self.state == "accepted":
            self.said.append("ended")
        super().over()

    def give_up(self) -> None:
        if self.given_up is None:
            self.given_up = self.now + LONG
            if self.state == "proceeding":
                self.due["over"] = self.given_up

    def response(self, kind: str) -> None:
        if self.state == "accepted":
            self.said += ["pass 2xx"] if kind == "2xx" else []
        elif self.state == "completed":
            self.said += ["ack"] if kind == "error" else []
        elif kind == "1xx":
            self.said.append("pass 1xx")
            self.state, self.due = "proceeding", {}
            if self.given_up is not None:
                self.due["over"] = self.given_up
        elif kind == "2xx":
            self.said.append("pass 2xx")
            self.enter("accepted", LONG)
        else:
            self.said += ["ack", "pass error"]
            self.enter("completed", LONG, 0)


class Server(Model):
    """17.2.2: a repeated request gets the last answer again, for 64*T1 after the final one."""

    last: str | None = None

    def request(self) -> None:
        self.said += [] if self.last is None else ["send " + self.last]

    def may(self, kind: str) -> bool:
        return self.state in ("waiting", "proceeding")

    def respond(self, kind: str) -> None:
        self.last = kind
        self.said.append("send " + kind)
        if kind == "1xx":
            self.state = "proceeding"
        else:
            self.enter("answered", LONG, 0)


class InviteServer(Server):
    """17.2.1, RFC 6026: an error is repeated until its ACK, 64*T1 at most; after a 2xx all is left to the user."""

    def may(self, kind: str) -> bool:
        return self.state in ("waiting", "proceeding") or (self.state == "accepted" and kind == "2xx")

    def request(self) -> None:
        if self.state not in ("accepted", "confirmed"):
            super().request()

    def respond(self, kind: str) -> None:
        self.last = kind
        self.said.append("send " + kind)
        if kind == "1xx":
            self.state = "proceeding"
        elif kind == "2xx" and self.state != "accepted":
            self.enter("accepted", LONG)
        elif kind == "error":
            self.enter("completed", LONG)
            if not self.reliable:
                self.due["again"] = self.now + T1

    def again(self) -> None:
        self.said.append("send error")
        super().again()

    def over(self) -> None:
        if self.state == "completed":
            self.said.append("timeout")
        self.gone()

    def ack(self) -> None:
        if self.state == "completed":
            self.enter("confirmed", T4, 0)

    def flow_closed(self) -> None:
        if self.state in ("accepted", "completed"):
            self.said.append("error")
        super().flow_closed()


KINDS = st.sampled_from(["1xx", "2xx", "error"])
WHICH = st.integers(0, 3)


class Transactions(RuleBasedStateMachine):
    @initialize(reliable=st.booleans(), now=st.sampled_from([0.0, 1000.0]))
    def start(self, reliable: bool, now: float) -> None:
        self.layer, self.reliable, self.now = TransactionLayer(), reliable, now
        self.models: list[Any] = []
        self.idents: list[int] = []
        self.requests: list[Request] = []
        self.said: defaultdict[int, list[str]] = defaultdict(list)
        for invite in (False, True):
            self.send(invite)
            self.receive(invite)

    # -- what is said, by transaction ----------------------------------------------------------------------------------

    def hear(self, outputs: list[TransactionOutput]) -> None:
        for output in outputs:
            match output:
                case Transmit(data=data):
                    message = parse_message(data)
                    via = message.headers.require(fields.VIA)
                    cseq = message.headers.require(fields.CSEQ)
                    number = int((via.branch or "").rpartition("-")[2])
                    if cseq.method == "CANCEL":
                        number = next(
                            n for n, r in enumerate(self.requests) if r.method == "CANCEL" and _branch(r) == number
                        )
                    if isinstance(message, Response):
                        self.said[number].append("send " + kind_of(message.status))
                    else:
                        self.said[number].append("ack" if message.method == "ACK" else "send")
                case ResponseReceived(transaction=ident, response=received):
                    self.said[self.idents.index(ident)].append("pass " + kind_of(received.status))
                case TransactionFailed(transaction=ident, timeout=timeout):
                    self.said[self.idents.index(ident)].append("timeout" if timeout else "error")
                case TransactionEnded(transaction=ident):
                    self.said[self.idents.index(ident)].append("ended")
                case _:
                    raise AssertionError(output)

    def pick(self, which: int, *kinds: type) -> int | None:
        found = [n for n, model in enumerate(self.models) if type(model) in kinds]
        return found[which % len(found)] if found else None

    # -- what happens ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.models) < 6)
    @rule(invite=st.booleans())
    def send(self, invite: bool) -> None:
        what = request("INVITE" if invite else "OPTIONS", branch=f"z9hG4bK-{len(self.models)}")
        ident, out = self.layer.send_request(what, 1, self.reliable, self.now)
        self.models.append((InviteClient if invite else Client)(self.reliable, self.now))
        self.idents.append(ident)
        self.requests.append(what)
        self.hear(out)
        with pytest.raises(LocalProtocolError):
            self.layer.send_request(what, 1, self.reliable, self.now)

    @precondition(lambda self: len(self.models) < 6)
    @rule(invite=st.booleans())
    def receive(self, invite: bool) -> None:
        number = len(self.models)
        what = request("INVITE" if invite else "OPTIONS", branch=f"z9hG4bK-{number}", call_id=f"c{number}")
        self._received(what, InviteServer if invite else Server)

    def _received(self, what: Request, model: type[Model]) -> RequestReceived:
        (received,) = self.layer.receive(what, 1, self.reliable, self.now)
        assert isinstance(received, RequestReceived)
        self.models.append(model(self.reliable, self.now))
        self.idents.append(received.transaction)
        self.requests.append(what)
        return received

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        number = self.pick(which, InviteServer)
        cancels = [r for r in self.requests if r.method == "CANCEL"]
        if number is None or any(_branch(r) == number for r in cancels):
            return
        what = request("CANCEL", branch=f"z9hG4bK-{number}", call_id=f"c{number}")
        received = self._received(what, Server)
        assert received.cancels == (None if self.models[number].state is None else self.idents[number])

    @rule(which=WHICH, kind=KINDS, times=st.integers(1, 2))
    def answer_comes(self, which: int, kind: str, times: int) -> None:
        number = self.pick(which, Client, InviteClient)
        for _ in range(0 if number is None else times):
            assert number is not None
            model, what = self.models[number], response(self.requests[number], {"1xx": 180, **FINAL}[kind])
            out = self.layer.receive(what, 1, self.reliable, self.now)
            if model.state is None:
                assert [type(output) for output in out] == [StrayResponse]
                continue
            model.response(kind)
            self.hear(out)

    @rule(which=WHICH, kind=KINDS)
    def user_answers(self, which: int, kind: str) -> None:
        number = self.pick(which, Server, InviteServer)
        if number is None:
            return
        model, what = self.models[number], response(self.requests[number], {"1xx": 180, **FINAL}[kind])
        if not model.may(kind):
            before = (self.layer.next_timeout(), len(self.layer))
            with pytest.raises(LocalProtocolError):
                self.layer.respond(self.idents[number], what, self.now)
            assert before == (self.layer.next_timeout(), len(self.layer))
            return
        model.respond(kind)
        self.hear(self.layer.respond(self.idents[number], what, self.now))

    @rule(which=WHICH, times=st.integers(1, 2))
    def request_again(self, which: int, times: int) -> None:
        number = self.pick(which, Server, InviteServer)
        if number is None or self.models[number].state is None:
            return
        for _ in range(times):
            self.models[number].request()
            self.hear(self.layer.receive(self.requests[number], 1, self.reliable, self.now))

    @rule(which=WHICH)
    def ack_comes(self, which: int) -> None:
        number = self.pick(which, InviteServer)
        if number is None:
            return
        model = self.models[number]
        ack = request("ACK", branch=f"z9hG4bK-{number}", to_tag="to", call_id=f"c{number}")
        out = self.layer.receive(ack, 1, self.reliable, self.now)
        if model.state in ("accepted", None):  # it is the dialog's
            assert [type(output) for output in out] == [AckReceived]
        else:
            model.ack()
            self.hear(out)

    @rule(which=WHICH)
    def user_gives_up(self, which: int) -> None:
        number = self.pick(which, InviteClient)
        if number is not None:
            if self.models[number].state is not None:
                self.models[number].give_up()
            self.layer.give_up(self.idents[number], self.now)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.9, 5.0, 20.0, 32.0, 70.0]), late=st.booleans())
    def wait(self, seconds: float, late: bool) -> None:
        end = self.now + seconds
        while not late and (when := self.layer.next_timeout()) is not None and when <= end:
            self.hear(self.layer.handle_timeout(when))
        self.now = end
        self.hear(self.layer.handle_timeout(end))
        for model in self.models:
            model.wait(end)

    @precondition(lambda self: len(self.models) > 4)
    @rule()
    def flow_closed(self) -> None:
        self.hear(self.layer.flow_closed(2, self.now))  # another one
        self.hear(self.layer.flow_closed(1, self.now))
        for model in self.models:
            if model.state is not None:
                model.flow_closed()

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "layer"):
            return
        for number, model in enumerate(self.models):
            assert self.said[number] == model.said, (number, type(model))
            assert (self.layer.state_of(self.idents[number]) is None) == (model.state is None)
        assert len(self.layer) == sum(model.state is not None for model in self.models)
        due = [when for model in self.models for when in model.due.values()]
        assert self.layer.next_timeout() == (pytest.approx(min(due)) if due else None)
        assert not due or min(due) > self.now
        assert self.layer.handle_timeout(self.now) == []

    def teardown(self) -> None:
        if hasattr(self, "layer"):
            self.flow_closed()
            self.all_agree()
            assert len(self.layer) == 0 and self.layer.next_timeout() is None


def kind_of(status: int) -> str:
    return "1xx" if status < 200 else "2xx" if status < 300 else "error"


def _branch(what: Request) -> int:
    return int((what.headers.require(fields.VIA).branch or "").rpartition("-")[2])


Transactions.TestCase.settings = effort(150, 30)
TestTransactions = Transactions.TestCase
