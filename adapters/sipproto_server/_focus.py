"""The focus: the user agent that owns the service numbers, and what it does with the calls to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sipproto.agent import AgentConfig, Recovery, UserAgent, Waits
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.conference import Info
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto_server._conference import Conference, Done
from sipproto_server._config import Loudness, PrepareMedia, ServerConfig, ServerOutput, Service
from sipproto_server._operations import carry_out

DialogKey = tuple[str, str]  # of a call with the focus: the Call-ID and the caller's tag
_MARGIN = 5.0  # seconds beyond the time of the operator: the agent must not answer before the conference does
_BUSY, _UNAVAILABLE = 486, 480


class Focus:
    """`emit` takes its outputs, `notify` sends a NOTIFY to a registered user."""

    def __init__(
        self, config: ServerConfig, emit: Callable[[ServerOutput], None], notify: Callable[[str, Info], bool]
    ) -> None:
        self._config = config
        self.emit = emit
        self.notify = notify
        self.agent = UserAgent(
            AgentConfig(
                aor=f"sip:focus@{config.realm}",
                any_user=True,
                capabilities=config.capabilities,
                tokens=config.tokens,
                user_agent="sipproto-server",
                accept_messages=False,
                answer_infos=True,
                waits=Waits(info_answer=config.policy.ask_timeout + _MARGIN),
                recovery=Recovery(reconnect=False, grace=30.0),
            )
        )
        self.conference = Conference(config, self)
        self.dialogs: set[DialogKey] = set()
        self._calls: dict[CallId, DialogKey] = {}
        self._calling: DialogKey = ("", "")  # the request that the agent is being told of: its service and its user
        self._wanted: Service | None = None
        self._user: str | None = None
        self._waiting: deque[i.Input] = deque()
        self._outcomes: dict[i.CommandId, Done] = {}
        self._last = 0

    def handle(self, what: i.Input, now: float) -> None:
        self._waiting.append(what)
        if isinstance(what, i.TimeoutElapsed):
            self.conference.expire(now)
        self._run(now)

    def loud(self, what: Loudness, now: float) -> None:
        self.conference.loud(what.call, what.level, now)
        self._run(now)

    def called(
        self, what: i.DataReceived, key: DialogKey, service: Service | None, user: str | None, now: float
    ) -> None:
        """The first request of a call, by a user whose password was right, or by a guest (None)."""
        self._calling, self._wanted, self._user = key, service, user
        self.handle(what, now)

    def operate(self, command: object, now: float) -> None:
        """Raises OperatorError."""
        carry_out(self.conference, command, now)
        self._run(now)

    def next_timeout(self) -> float | None:
        ends = (self.agent.next_timeout(), self.conference.next_timeout())
        return min((end for end in ends if end is not None), default=None)

    @property
    def retained(self) -> dict[str, int]:
        """How much is held, for tests: all zero without calls."""
        own = {"focus_dialogs": len(self.dialogs), "focus_calls": len(self._calls), "outcomes": len(self._outcomes)}
        return self.agent.retained | own | self.conference.retained

    # -- the agent ---------------------------------------------------------------------------------------------------

    def command(self, make: Callable[[i.CommandId], i.Command], done: Done) -> None:
        """Has the agent do something, after all that it does now. `done` gets None, or why it failed."""
        self._last += 1
        self._outcomes[self._last] = done
        self._waiting.append(make(self._last))

    def _run(self, now: float) -> None:
        while self._waiting:
            what = self._waiting.popleft()
            try:
                outputs = self.agent.handle(what, now)
            except LocalProtocolError as error:
                if not isinstance(what, i.Command):
                    raise
                self._outcomes.pop(what.command)(str(error))  # the call is over, or not ready for it
                continue
            for output in outputs:
                self._told(output, now)

    def _told(self, output: o.Output, now: float) -> None:
        match output:
            case o.CommandSucceeded(command=command):
                self._outcomes.pop(command)(None)
                return
            case o.CommandFailed(command=command, detail=detail):
                self._outcomes.pop(command)(detail)
                return
            case o.CallEnded(call=call):
                self.dialogs.discard(self._calls.pop(call, ("", "")))
            case _:
                pass
        self.emit(output)
        match output:
            case o.IncomingCall():
                self._serve(output)
            case o.InfoReceived(call=call, info=info) if info and not self.conference.has_call(call):
                self.command(lambda command: i.AnswerInfo(command=command, call=call, info=info), _ignore)
            case _:
                self.conference.heard(output, now)

    def _serve(self, call: o.IncomingCall) -> None:
        service = self._wanted
        self._calls[call.call] = self._calling
        self.dialogs.add(self._calling)
        able = self._config.capabilities
        media = tuple(
            (kind, Direction.SENDRECV) for kind in ("audio", "video") if able is not None and able.codecs(kind)
        )
        if service is None or not media:
            self._refuse(call.call, _UNAVAILABLE)
        elif service.kind == "conference" and self.conference.is_full:
            self._refuse(call.call, _BUSY)
        else:
            if service.kind == "conference":
                self.conference.called(call, service, self._user)
            else:
                self.emit(PrepareMedia(call=call.call, service=service))
            self.command(lambda command: i.Answer(command=command, call=call.call, media=media), _ignore)

    def _refuse(self, call: CallId, status: int) -> None:
        self.command(lambda command: i.HangUp(command=command, call=call, status=status), _ignore)


def _ignore(_: str | None) -> None:
    """CallEnded says what there is to say, or it is of no consequence."""
