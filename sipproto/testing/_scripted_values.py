"""What a scripted server tells its driver and the test."""

from __future__ import annotations

from attrs import define, field, frozen

from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.transaction import FlowId

LOST = "the connection was lost (WebSocket close code 1006)"


@frozen(kw_only=True)
class BreakConnection:
    """An effect: the connection breaks without a goodbye. The server counts it as gone already; `error` is for the client."""

    flow: FlowId
    error: str = LOST


@define(kw_only=True, eq=False)
class ServerCall:
    """A call as the scripted server sees it; it is kept after its end.

    ident: by which `ScriptedServer.media` knows it. number: that the client has called, or that calls the client.
    display_name: the caller's. by_client: whether the client has made it. headers: of the client's INVITE. digits: that the
    client has sent in INFO, one after the other. ended: how it ended, None before.
    """

    ident: CallId
    number: str
    display_name: str
    by_client: bool
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    digits: str = ""
    is_established: bool = False
    ended: o.CallEnded | None = None

    @property
    def is_ringing(self) -> bool:
        return not self.is_established and self.ended is None


@define(kw_only=True, eq=False)
class Deed:
    """Something that the server does because the test says so. `outcome` comes when the client has answered.

    what: the message, notification or kind of command. answered: the status that ended a NOTIFY. status: of the client's
    answer, None while there is none.
    """

    what: object
    outcome: o.Outcome | None = None
    answered: int | None = None

    @property
    def status(self) -> int | None:
        match self.outcome:
            case o.CommandFailed(status=status):
                return status
            case o.CommandSucceeded(result=int(status)):
                return status
            case _:
                return self.answered
