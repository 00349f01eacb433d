"""A connector and a scripted server, both without I/O; time is simulated."""

from __future__ import annotations

from typing import Any

from sipproto.agent import outputs as o
from sipproto.conference import EnterRoom
from sipproto.connector import ConnectionParameters, ConnectorConfig
from sipproto.connector import inputs as c
from sipproto.testing._scripted_server import ScriptedServer
from sipproto.testing._world_base import WorldBase

NUMBER = "12345"


class ConnectorWorld(WorldBase):
    """A `sipproto.connector.Connector` and its server, without I/O and with a time of its own.

    `ConnectorWorld.in_room("Room-7")` and its siblings make one that is somewhere already. Commands of the connector are
    given with `do` (or `command`, where time has to pass until they end); what the server does is said to `server`;
    `wait` lets time pass, which costs none. `out` has everything that the connector told, in order, since `take`.

    server: a ScriptedServer of its own unless another is given. seed: the same gives the same octets.
    """

    server: ScriptedServer

    def __init__(
        self, config: ConnectorConfig | None = None, *, server: ScriptedServer | None = None, seed: int = 1
    ) -> None:
        super().__init__(config, ScriptedServer(seed=seed + 1000) if server is None else server, seed)
        self.server.attach(lambda: self.now, self._server_acted)

    def _admit(self) -> int | None:
        return self.server.admit()

    def _server_acted(self, outputs: tuple[object, ...]) -> None:
        self._serve(outputs)
        self.settle()

    def parameters(self, **fields: Any) -> ConnectionParameters:
        """See `ScriptedServer.parameters`."""
        return self.server.parameters(**fields)

    # -- one that is somewhere already ---------------------------------------------------------------------------------

    @classmethod
    def connected(
        cls, config: ConnectorConfig | None = None, *, user: str | None = None, **more: Any
    ) -> ConnectorWorld:
        """As a guest, who does not register, or as a `user` of the server, who does. `more`: as for the class.

        As all of these, raises AssertionError when it does not come about. Nothing of how it did is in `out` and `sent`.
        """
        world = cls(config, **more)
        world._has_to(c.ConnectToServer, parameters=world.server.parameters(user=user))
        return world

    @classmethod
    def registered(cls, config: ConnectorConfig | None = None, *, user: str = "alice", **more: Any) -> ConnectorWorld:
        return cls.connected(config, user=user, **more)

    @classmethod
    def in_call(
        cls,
        config: ConnectorConfig | None = None,
        *,
        number: str = NUMBER,
        user: str | None = None,
        call: dict[str, Any] | None = None,
        **more: Any,
    ) -> ConnectorWorld:
        """In a call to that number; the server tells of its room unless its `entrance` is None. call: fields of CallServer."""
        world = cls.connected(config, user=user, **more)
        world._has_to(c.CallServer, call=world.new_call(), number=number, **(call or {}))
        return world

    @classmethod
    def in_room(cls, room: str = "Room-7", config: ConnectorConfig | None = None, **more: Any) -> ConnectorWorld:
        """In a call, and in that room. `more`: as for `in_call`."""
        world = cls.in_call(config, **more)
        world.server.say(EnterRoom(room=room, participant_name="Alice Liddell"))
        world._forget()
        assert world.connector.call.room is not None and world.connector.call.room.name == room
        return world

    @classmethod
    def presenting(cls, config: ConnectorConfig | None = None, **more: Any) -> ConnectorWorld:
        """In a call, with a presentation. `more`: as for `in_call`."""
        world = cls.in_call(config, **more)
        world._has_to(c.StartPresentation)
        return world

    def _has_to(self, kind: type, **fields: Any) -> None:
        outcome = self.do(kind, **fields)
        assert isinstance(outcome, o.CommandSucceeded), outcome
        self._forget()

    def _forget(self) -> None:
        self.take()
        self.sent.clear()
        self.server.forget()
