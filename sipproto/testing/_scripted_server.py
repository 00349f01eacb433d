"""A conference server without I/O of which the test decides everything."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Media
from sipproto.agent.media import MediaInput, MediaOperation
from sipproto.conference import ConferenceMessage, EnterRoom, Info, Notification, Unusable, parse_info, write_info
from sipproto.conference import write_notify as notify_of
from sipproto.connector import ConnectionParameters
from sipproto.dialog import build_request, build_response
from sipproto.errors import LocalProtocolError
from sipproto.message import Message, NameAddr, Request, Response, SipUri, escape_user, fields, parse_uri
from sipproto.sdp import Direction
from sipproto.testing._answers import EVERYTHING, Answer, Answers, Chooser
from sipproto.testing._fake_engine import FakeMediaEngine
from sipproto.testing._scripted_values import LOST, BreakConnection, Deed, ServerCall
from sipproto.testing._server_legs import CallingLeg, Leg, call_id_of, parsed
from sipproto.testing._server_registrar import ScriptedRegistrar
from sipproto.tokens import SeededTokens, token
from sipproto.transaction import MAGIC_COOKIE, FlowId

REALM = "conference.invalid"
URL = f"wss://{REALM}/ws"
USER = "alice"
PASSWORD = "correct horse battery staple"
WRONG_PASSWORD = "wrong horse"
FAILED_NUMBER = "777"  # is refused; as in the mocks of the original

_KEPT = 10_000  # requests, messages, calls
_BOTH: Media = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
_T = TypeVar("_T")
_Entrance = EnterRoom | Callable[[ServerCall], EnterRoom | None] | None


def room_of_number(call: ServerCall) -> EnterRoom:
    """The room that is named as the number that was called; the participant is named as the caller."""
    return EnterRoom(room=call.number, participant_name=call.display_name or None)


@frozen(kw_only=True)
class _Driver:
    now: Callable[[], float]
    carry_out: Callable[[tuple[object, ...]], object]


class ScriptedServer:
    """Registrar and conference for clients under test. It does what its test says, and in order whatever it says nothing of.

    users: passwords by user name; everybody else may call as a guest, and is refused to register. entrance: the room that a
    client is told of once its call is established: a value, a function of the call, or None for none. seed: the same gives
    the same octets; a test with several servers gives each its own.

    It is driven like any engine of the core: give every input to `handle`, carry out all outputs, wake it at `next_timeout`.
    `ConnectorWorld` does that without I/O, `sipproto_client.testing.run_scripted` on an event loop. What the test has it do
    (`say`, `call_client` ...) goes through that driver at once, and has to be called where that runs.

    The last 10,000 of everything that is kept are kept.
    """

    def __init__(
        self,
        *,
        realm: str = REALM,
        users: Mapping[str, str] | None = None,
        entrance: _Entrance = room_of_number,
        seed: int = 1000,
    ) -> None:
        self.realm = realm
        self.entrance: _Entrance = entrance
        self.media = FakeMediaEngine(seed=seed)
        self.heard: deque[ConferenceMessage] = deque(maxlen=_KEPT)
        self.unusable: deque[Unusable] = deque(maxlen=_KEPT)
        self.requests: deque[Request] = deque(maxlen=_KEPT)
        self.calls: deque[ServerCall] = deque(maxlen=_KEPT)
        self._tokens = SeededTokens(seed)
        self._registrar = ScriptedRegistrar(realm, {USER: PASSWORD} if users is None else users, self._tokens)
        self._focus = Leg("focus", realm, self._tokens)
        self._legs: list[Leg] = [self._focus]
        self._rules = {name: Answers() for name in ("connections", "requests", "registrations", "calls", "infos")}
        self._connections: dict[FlowId, str] = {}  # the names of their transports
        self._contacts: dict[FlowId, str] = {}  # where the client at its other end is
        self._frozen: set[FlowId] = set()
        self._held: deque[tuple[Leg, o.InfoReceived]] = deque(maxlen=_KEPT)  # that were met with silence
        self._leg_of: dict[ServerCall, Leg] = {}  # of calls that are not over
        self._notified: dict[str, Deed] = {}
        self._made = 0
        self._now = 0.0
        self._todo: deque[tuple[Leg, Any]] = deque()
        self._out: list[object] = []
        self._running = False
        self._driver: _Driver | None = None
        self.heal()

    # -- what a test looks at ------------------------------------------------------------------------------------------

    @property
    def users(self) -> dict[str, str]:
        """The passwords by user name; change it as you like."""
        return self._registrar.users

    @property
    def registered(self) -> list[str]:
        """The users who are registered now."""
        return list(self._registrar.bindings)

    @property
    def connections(self) -> int:
        """How many connections there are, also those that are frozen."""
        return len(self._connections)

    @property
    def call(self) -> ServerCall:
        """The newest call that is not over. Raises LookupError when there is none."""
        for call in reversed(self.calls):
            if call.ended is None:
                return call
        raise LookupError("the server has no call now")

    def asked(self, method: str) -> tuple[Request, ...]:
        """The requests of a method, in order; also those that were not answered."""
        return tuple(request for request in self.requests if request.method == method)

    def heard_of(self, kind: type[_T]) -> tuple[_T, ...]:
        """What the client has said that is of a kind, e.g. MediaState."""
        return tuple(message for message in self.heard if isinstance(message, kind))

    def forget(self) -> None:
        """Empties `heard`, `unusable` and `requests`."""
        for kept in (self.heard, self.unusable, self.requests):
            kept.clear()

    def parameters(self, *, user: str | None = USER, url: str = URL, **more: Any) -> ConnectionParameters:
        """What a connector connects with: as this user, or None: as a guest. `more`: other fields of the value.

        A connection that is lost is tried for again within a tenth of a second, unless `connection_recovery` says otherwise.
        """
        known: dict[str, Any] = {"display_name": "Alice Liddell" if user else "A guest"}
        known["connection_recovery"] = (0.05, 0.1)
        if user is not None:
            known |= {"user": user, "password": self.users.get(user, WRONG_PASSWORD), "register": True}
        return ConnectionParameters(sip_server_url=self.realm, sip_web_socket_server_url=url, **(known | more))

    # -- how the test has it answer ------------------------------------------------------------------------------------
    # Each takes 200 (in order), a refusal of 300 to 699, None (never), or a function that gives one of these. The newest rule
    # that fits counts, `times` often. `to`: a value, a type, or a function that says whether it fits.

    def answer_connections(self, answer: Answer, *, times: int | None = None) -> None:
        """New connections: a refusal is the status of the handshake, None: the handshake is never answered."""
        self._rules["connections"].add(answer, EVERYTHING, times)

    def answer_requests(self, answer: Answer | Chooser, *, to: object = EVERYTHING, times: int | None = None) -> None:
        """Requests of any kind, before anything else looks at them. `to`: a method, or a function of the Request."""
        self._rules["requests"].add(answer, to, times)

    def answer_registrations(
        self, answer: Answer | Chooser, *, to: object = EVERYTHING, times: int | None = None
    ) -> None:
        """REGISTER. `to`: a user name, or a function of the Request. In order is: the password is right."""
        self._rules["registrations"].add(answer, to, times)

    def answer_calls(self, answer: Answer | Chooser, *, to: object = EVERYTHING, times: int | None = None) -> None:
        """Calls of the client. `to`: a number, or a function of the ServerCall. None: it rings, see `pick_up`."""
        self._rules["calls"].add(answer, to, times)

    def answer_infos(self, answer: Answer | Chooser, *, to: object = EVERYTHING, times: int | None = None) -> None:
        """What the client says. `to`: a message, a type of messages, or a function of the message. None: see `answer_held`."""
        self._rules["infos"].add(answer, to, times)

    def heal(self) -> None:
        """All is in order again; only calls to FAILED_NUMBER are refused with 603. Frozen connections stay as they are."""
        for rules in self._rules.values():
            rules.clear()
        self.answer_calls(603, to=FAILED_NUMBER)

    # -- what the test has it do ---------------------------------------------------------------------------------------

    def say(self, message: ConferenceMessage | Info, call: ServerCall | None = None) -> Deed:
        """Tells the client in a call, by default in the newest; an Info is sent as it is.

        Raises LookupError without a call, LocalProtocolError when it is not established or has ended.
        """
        info = message if isinstance(message, Info) else write_info(message)
        return self.do(
            i.SendInfo, call=call, what=message, content_type=info.content_type, body=b"", headers=info.headers
        )

    def do(self, kind: type, *, call: ServerCall | None = None, what: object = None, **fields: Any) -> Deed:
        """Has the agent of a call carry out a command, e.g. `do(i.Hold)` or `do(i.ChangeMedia, add=...)`.

        Raises LookupError without a call, LocalProtocolError when that is not possible now.
        """
        call = self.call if call is None else call
        leg = self._leg(call)
        deed = Deed(what=kind if what is None else what)
        return self._act(lambda: self._command(leg, lambda n: kind(command=n, call=call.ident, **fields), deed))

    def pick_up(self, call: ServerCall | None = None) -> Deed:
        """Answers a call of the client that rings."""
        return self.do(i.Answer, call=call, media=_BOTH)

    def hang_up(self, call: ServerCall | None = None, *, status: int = 603) -> Deed:
        """Ends a call; one that rings is refused with `status`."""
        return self.do(i.HangUp, call=call, status=status)

    def answer_held(self, status: int = 200) -> object:
        """Answers the oldest message that was met with silence, and returns it. Raises LookupError when there is none."""
        if not self._held:
            raise LookupError("nothing that the client has said waits for an answer")
        leg, received = self._held.popleft()
        answer = Deed(what=i.AnswerInfo)
        self._act(
            lambda: self._command(
                leg,
                lambda n: i.AnswerInfo(command=n, call=received.call, info=received.info, status=status),
                answer,
            )
        )
        return _said(received)

    def call_client(
        self,
        number: str = "1234",
        *,
        display_name: str = "",
        to: str | None = None,
        media: Media = _BOTH,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> ServerCall:
        """Calls the client over the newest connection. `to`: its contact, for a client that has not said where it is.

        Raises LookupError when it is not known where the client is, or when there is no connection.
        """
        flow = self._newest()
        target = to or self._contact(flow)
        self._made += 1
        call = ServerCall(
            ident=f"made-{self._made}", number=number, display_name=display_name, by_client=False, headers=headers
        )

        def start() -> ServerCall:
            name, transport = escape_user(number), self._connections[flow]
            leg = CallingLeg(name, self.realm, self._tokens, display_name, flow, transport, self._now)
            self._legs.append(leg)
            self._note_call(call, leg)
            invite = {"call": call.ident, "target": target, "media": media, "headers": headers}
            self._command(leg, lambda n: i.Invite(command=n, **invite), Deed(what=i.Invite))  # type: ignore[arg-type]
            return call

        return self._act(start)

    def notify(self, notification: Notification, *, user: str | None = None, to: str | None = None) -> Deed:
        """NOTIFY outside of calls, to a registered user, or to the client at the newest connection. `to`: as in `call_client`.

        Raises LookupError when it is not known where the client is.
        """
        if user is not None:
            bound = self._registrar.bindings.get(user)
            if bound is None:
                raise LookupError(f"{user!r} is not registered, only {self.registered}")
            flow, target = bound[0], to or str(bound[1].uri)
        else:
            flow = self._newest()
            target = to or self._contact(flow)
        deed = Deed(what=notification)
        info = notify_of(notification)
        return self._act(lambda: self._send_notify(flow, target, info, deed))

    def close_connections(self) -> None:
        """Closes all connections in order."""
        self._act(lambda: self._end_connections(lambda flow: o.CloseFlow(flow=flow)))

    def drop_connections(self, error: str = LOST) -> None:
        """All connections break without a goodbye, as when a cable is cut."""
        self._act(lambda: self._end_connections(lambda flow: BreakConnection(flow=flow, error=error)))

    def freeze_connections(self) -> None:
        """Half open: the connections that there are stay, but nothing comes through any more, in either direction."""
        self._frozen |= set(self._connections)

    # -- the engine ----------------------------------------------------------------------------------------------------

    def attach(self, now: Callable[[], float], carry_out: Callable[[tuple[object, ...]], object]) -> None:
        """For drivers: their clock, and where the outputs go that the test causes. Raises LocalProtocolError for a second."""
        if self._driver is not None:
            raise LocalProtocolError("this scripted server is in use already: make one for each test")
        self._driver = _Driver(now=now, carry_out=carry_out)

    def detach(self) -> None:
        """For drivers, at their end."""
        self._driver = None

    def admit(self) -> Answer:
        """For drivers: how a new connection is answered. 200: give FlowOpened."""
        return self._rules["connections"].of(None)

    def handle(self, what: i.Notice, now: float) -> tuple[object, ...]:
        """Takes one input; returns every output, in order: SendData, CloseFlow, BreakConnection, and events."""
        self._now = max(now, self._now)
        match what:
            case i.FlowOpened(flow=flow, transport=transport):
                self._connections[flow] = transport
                self._todo.append((self._focus, what))
            case i.FlowClosed(flow=flow):
                self._lose(flow)
            case i.DataReceived(flow=flow, data=data):
                if flow in self._connections and flow not in self._frozen:
                    self._data(flow, data)
            case _:
                self._todo += [(leg, what) for leg in self._legs]
        self._run()
        return self._taken()

    def next_timeout(self) -> float | None:
        times = [leg.agent.next_timeout() for leg in self._legs]
        return min((time for time in times if time is not None), default=None)

    @property
    def retained(self) -> dict[str, int]:
        """How much is held, beyond what is kept for the test: all zero when nothing goes on."""
        agents = sum(sum(leg.agent.retained.values()) for leg in self._legs)
        return {"agents": agents, "calls": len(self._leg_of), "legs": len(self._legs) - 1}

    # -- inside: the agents --------------------------------------------------------------------------------------------

    def _act(self, action: Callable[[], _T]) -> _T:
        """Does what the test wants, now, and has the driver carry out what follows."""
        driver = self._driver
        if driver is None:
            raise LocalProtocolError("this scripted server is not running: give it to ConnectorWorld or run_scripted")
        self._now = max(driver.now(), self._now)
        self._running = True
        try:
            result = action()
        finally:
            self._run()
        driver.carry_out(self._taken())
        return result

    def _taken(self) -> tuple[object, ...]:
        out, self._out = tuple(self._out), []
        return out

    def _run(self) -> None:
        self._running = True
        try:
            while self._todo:
                leg, what = self._todo.popleft()
                self._carry_out(leg, leg.agent.handle(leg.inward(what), self._now))
        finally:
            self._running = False
        self._legs = [leg for leg in self._legs if leg is self._focus or not leg.is_idle]

    def _command(self, leg: Leg, make: Callable[[i.CommandId], Any], deed: Deed) -> Deed:
        self._carry_out(leg, leg.command(make, deed, self._now))
        return deed

    def _react(self, leg: Leg, make: Callable[[i.CommandId], Any]) -> None:
        """Something that follows from what the client did. Fine when the call is over meanwhile."""
        try:
            self._command(leg, make, Deed(what=None))
        except LocalProtocolError:
            pass

    def _carry_out(self, leg: Leg, outputs: tuple[Any, ...]) -> None:
        for output in outputs:
            told = leg.outward(output)
            match told:
                case None:
                    pass
                case o.SendData(flow=flow):
                    if flow in self._connections and flow not in self._frozen:
                        self._out.append(told)
                case _ if isinstance(told, MediaOperation):
                    self.media.perform(told, lambda reply, leg=leg: self._media_reported(leg, reply))  # type: ignore[misc]
                case o.CommandSucceeded() | o.CommandFailed():
                    leg.finish(told)
                case _:
                    self._event(leg, told)

    def _media_reported(self, leg: Leg, reply: MediaInput) -> None:
        self._todo.append((leg, reply))
        if not self._running and self._driver is not None:
            self._act(lambda: None)  # the test has had the media engine say something

    def _event(self, leg: Leg, event: Any) -> None:
        self._out.append(event)
        call = next((call for call in self._leg_of if call.ident == getattr(event, "call", None)), None)
        match event:
            case o.IncomingCall():
                self._called(leg, event)
            case o.InfoReceived():
                self._info(leg, event)
            case o.CallEstablished() if call is not None:
                call.is_established = True
                self._welcome(leg, call)
            case o.DtmfReceived(digit=digit) if call is not None:
                call.digits += digit
            case o.CallEnded() if call is not None:
                call.ended = event
                del self._leg_of[call]
            case _:
                pass

    # -- inside: calls -------------------------------------------------------------------------------------------------

    def _note_call(self, call: ServerCall, leg: Leg) -> None:
        self.calls.append(call)
        self._leg_of[call] = leg

    def _leg(self, call: ServerCall) -> Leg:
        leg = self._leg_of.get(call)
        if leg is None:
            raise LocalProtocolError(f"the call {call.ident!r} of the scripted server is over")
        return leg

    def _called(self, leg: Leg, incoming: o.IncomingCall) -> None:
        uri = parse_uri(incoming.to_uri)
        number = (uri.username if isinstance(uri, SipUri) else None) or incoming.to_uri
        call = ServerCall(
            ident=incoming.call,
            number=number,
            display_name=incoming.display_name,
            by_client=True,
            headers=incoming.headers,
        )
        self._note_call(call, leg)
        status = self._rules["calls"].of(call, number)
        if status == 200:
            self._react(leg, lambda n: i.Answer(command=n, call=call.ident, media=_BOTH))
        elif status is not None:
            self._react(leg, lambda n: i.HangUp(command=n, call=call.ident, status=status))

    def _welcome(self, leg: Leg, call: ServerCall) -> None:
        entrance = self.entrance
        room = entrance(call) if callable(entrance) else entrance
        if call.by_client and room is not None:
            info = write_info(room)
            self._react(
                leg,
                lambda n: i.SendInfo(
                    command=n, call=call.ident, content_type=info.content_type, body=b"", headers=info.headers
                ),
            )

    def _info(self, leg: Leg, received: o.InfoReceived) -> None:
        message = _said(received)
        status: Answer = 200
        if isinstance(message, Unusable):
            self.unusable.append(message)
            status = 400
        elif message is not None:
            self.heard.append(message)
            status = self._rules["infos"].of(message)
        if status is None:
            self._held.append((leg, received))
        elif received.info:
            answer = i.AnswerInfo(command=0, call=received.call, info=received.info, status=status)
            self._react(leg, lambda _: answer)

    # -- inside: messages ----------------------------------------------------------------------------------------------

    def _data(self, flow: FlowId, data: bytes) -> None:
        what = i.DataReceived(flow=flow, data=data)
        match parsed(data):
            case Request() as request:
                self._request(flow, request, what)
            case Response() as response if call_id_of(response) in self._notified:
                if response.status >= 200:
                    self._notified.pop(call_id_of(response)).answered = response.status
            case message:
                self._todo.append((self._owner(message), what))

    def _owner(self, message: Message | None) -> Leg:
        return next((leg for leg in self._legs if message is not None and leg.owns(message)), self._focus)

    def _request(self, flow: FlowId, request: Request, what: i.DataReceived) -> None:
        self.requests.append(request)
        contact = next(iter(request.headers.all(fields.CONTACT)), None)
        if isinstance(contact, NameAddr):
            self._contacts[flow] = str(contact.uri)
        status = 200 if request.method == "ACK" else self._rules["requests"].of(request, request.method)
        if status == 200 and request.method == "REGISTER":
            self._register(flow, request)
        elif status == 200:
            self._todo.append((self._owner(request), what))
        elif status is not None:
            self._reply(flow, request, status, [])

    def _register(self, flow: FlowId, request: Request) -> None:
        to = request.headers.require(fields.TO).sip_uri
        status = self._rules["registrations"].of(request, to and to.username)
        if status is None:
            return
        extra: list[tuple[str, object]] = []
        if status == 200:
            status, extra = self._registrar.register(request, flow, self._now)
        self._reply(flow, request, status, extra)

    def _reply(self, flow: FlowId, request: Request, status: int, extra: list[tuple[str, object]]) -> None:
        """Answers without a transaction (RFC 3261 8.2.7)."""
        tag = hashlib.sha256((request.headers.first("Via") or "").encode("utf-8", "replace")).hexdigest()[:16]
        response = build_response(request, status, to_tag=tag, extra=extra)
        self._out.append(o.SendData(flow=flow, data=response.to_bytes()))

    def _send_notify(self, flow: FlowId, target: str, info: Info, deed: Deed) -> Deed:
        random = token(self._tokens, 26)
        via = f"SIP/2.0/{self._connections[flow]} {self.realm};branch={MAGIC_COOKIE}{random}"
        event = [("Event", "vinteo"), ("Subscription-State", "active"), ("Content-Type", info.content_type)]
        request = build_request(
            "NOTIFY",
            target,
            from_=f"<sip:{self.realm}>;tag={random[:10]}",
            to=f"<{target}>",
            call_id=random,
            cseq=1,
            extra=[("Via", via), ("Contact", f"<sip:{self.realm};transport=ws>"), *event, *info.headers],
        )
        self._notified[random] = deed
        if flow not in self._frozen:
            self._out.append(o.SendData(flow=flow, data=request.to_bytes()))
        return deed

    # -- inside: connections -------------------------------------------------------------------------------------------

    def _newest(self) -> FlowId:
        if not self._connections:
            raise LookupError("no client is connected")
        return next(reversed(self._connections))

    def _contact(self, flow: FlowId) -> str:
        if flow not in self._contacts:
            raise LookupError("the client has not said where it is: it has to register or to call, or give `to`")
        return self._contacts[flow]

    def _lose(self, flow: FlowId) -> None:
        if self._connections.pop(flow, None) is None:
            return
        self._contacts.pop(flow, None)
        self._frozen.discard(flow)
        self._registrar.lose(flow)
        closed = i.FlowClosed(flow=flow)
        self._todo += [(leg, closed) for leg in self._legs if not isinstance(leg, CallingLeg) or leg.flow == flow]

    def _end_connections(self, effect: Callable[[FlowId], object]) -> None:
        for flow in tuple(self._connections):
            self._out.append(effect(flow))
            self._lose(flow)


def _said(received: o.InfoReceived) -> ConferenceMessage | Unusable | None:
    """The message of the protocol that an INFO carries, Unusable for a broken one; None when it is of another kind."""
    said = parse_info(received.content_type, received.headers)
    return said[0] if said else None
