"""The agents of a scripted server: one that is called, and one for each call that the server makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from sipproto.agent import AgentConfig, Recovery, UserAgent, Waits
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import MessageSyntaxError
from sipproto.message import Message, fields, parse_message
from sipproto.testing._fake_engine import FAKE_CAPABILITIES
from sipproto.testing._scripted_values import Deed
from sipproto.tokens import TokenSource
from sipproto.transaction import FlowId

_LONG = 24 * 3600.0  # seconds: what the test leaves unanswered stays so
_WAITS = Waits(answer=_LONG, info_answer=_LONG)


def call_id_of(message: Message) -> str:
    return message.headers.get(fields.CALL_ID) or ""


class Leg:
    """An agent and the commands that the test waits for."""

    def __init__(self, number: str, realm: str, tokens: TokenSource, display_name: str = "") -> None:
        self.agent = UserAgent(
            AgentConfig(
                aor=f"sip:{number}@{realm}",
                display_name=display_name,
                user_agent="sipproto-scripted",
                any_user=True,
                answer_infos=True,
                capabilities=FAKE_CAPABILITIES,
                recovery=Recovery(reconnect=False, grace=30.0),
                waits=_WAITS,
                tokens=tokens,
            )
        )
        self._deeds: dict[i.CommandId, Deed] = {}
        self._command = 0

    def inward(self, what: Any) -> Any:
        """The input as the agent knows it."""
        return what

    def outward(self, output: Any) -> Any:
        """The output as the server knows it; None for what is nobody else's business."""
        return output

    def owns(self, message: Message) -> bool:
        """Whether a message belongs to this agent alone."""
        return False

    @property
    def is_idle(self) -> bool:
        return not any(self.agent.retained.values())

    def command(self, make: Callable[[i.CommandId], Any], deed: Deed, now: float) -> tuple[Any, ...]:
        """Has the agent do something; what it puts out. Raises LocalProtocolError when that is not possible now."""
        self._command += 1
        number = self._command
        self._deeds[number] = deed
        try:
            return self.agent.handle(make(number), now)
        except BaseException:
            del self._deeds[number]
            raise

    def finish(self, outcome: o.Outcome) -> None:
        if (deed := self._deeds.pop(outcome.command, None)) is not None:
            deed.outcome = outcome


class CallingLeg(Leg):
    """Who calls the client over the connection that the client has made: for this agent, that is its server."""

    def __init__(
        self, number: str, realm: str, tokens: TokenSource, display_name: str, flow: FlowId, transport: str, now: float
    ) -> None:
        super().__init__(number, realm, tokens, display_name)
        self.flow = flow
        self._call_id: str | None = None
        opening = self.agent.handle(i.Connect(command=0, server=f"{transport.lower()}://client.invalid"), now)
        (self._inner,) = [output.flow for output in opening if isinstance(output, o.OpenFlow)]
        self.agent.handle(i.FlowOpened(flow=self._inner, transport=transport), now)

    def inward(self, what: Any) -> Any:
        return evolve(what, flow=self._inner) if isinstance(what, i.DataReceived | i.FlowClosed) else what

    def outward(self, output: Any) -> Any:
        match output:
            case o.SendData(data=data):
                self._call_id = self._call_id or call_id_of(parse_message(data))
                return evolve(output, flow=self.flow)
            case o.CloseFlow() | o.OpenFlow() | o.ConnectionChanged():
                return None
            case _:
                return output

    def owns(self, message: Message) -> bool:
        return call_id_of(message) == self._call_id


def parsed(data: bytes) -> Message | None:
    """The message in these octets; None for what is none, such as a keep-alive."""
    try:
        return parse_message(data)
    except MessageSyntaxError:
        return None
