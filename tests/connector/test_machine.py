"""A connector under a random life: whatever happens in whatever order, each command ends once and nothing stays."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.conference import (
    EnterRoom,
    License,
    MainCam,
    MainCamControl,
    Mic,
    MicControl,
    ParticipantState,
    ParticipantTokenIssued,
    Restart,
    Role,
    Share,
    ShareState,
    UseLicense,
)
from sipproto.conference import MediaState as Devices
from sipproto.connector import ConnectionParameters, ConnectorConfig
from sipproto.connector import inputs as c
from sipproto.connector.events import (
    CallStatusChanged,
    ConnectionStatus,
    ConnectionStatusChanged,
    PresentationChanged,
    PresentationStep,
)
from sipproto.errors import LocalProtocolError
from tests.connector.world import ALICE, BOTH, GUEST, World, in_call
from tests.effort import effort

PARAMETERS = st.sampled_from([GUEST, GUEST, ALICE, None])
SECRETS = ("token of the room", "token that was issued")
SAID = st.sampled_from(
    [
        EnterRoom(room="purgatory"),
        EnterRoom(room="Room", participant_name="Guest", bearer_token=SECRETS[0]),
        ParticipantTokenIssued(conference="room", participant="SIP/1", jwt=SECRETS[1]),
        UseLicense(license=License.VIDEO),
        MainCamControl(command=MainCam.PAUSE, forced=True),
        MainCamControl(command=MainCam.MAX_RESOLUTION, resolution="640x360"),
        MainCamControl(command=MainCam.RESUME),
        MicControl(command=Mic.ADMIN_START),
        ParticipantState(role=Role.SPECTATOR),
        ParticipantState(role=Role.PARTICIPANT),
        ShareState(state=Share.AVAILABLE, codec="VP8"),
        ShareState(state=Share.ENDED),
        ShareState(state=Share.MUST_STOP),
        Restart(),
    ]
)


class Life(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32), calling=st.booleans())
    def begin(self, seed: int, calling: bool) -> None:
        config = ConnectorConfig(max_waiting=4)
        self.world = in_call(config, seed=seed) if calling else World(config, seed=seed)
        self.world.server = self.world.focus
        self.commands: list[int] = []
        self.unresolved: list[int] = []
        self.number = 100

    def order(self, kind: type, **fields: Any) -> int | None:
        """Gives a command. One that is not possible now has no outcome and changes nothing."""
        self.number += 1
        number = self.number
        before = len(self.world.out)
        try:
            self.world.give(kind(command=number, **fields))
        except LocalProtocolError:
            assert self.world.out[before:] == []
            return None
        self.commands.append(number)
        return number

    @property
    def quiet(self) -> bool:
        """Most of the time a life that goes well is left alone, else little but beginnings would be tried."""
        return self.world.connection_status() is ConnectionStatus.ESTABLISHED and self.number % 8 != 0

    # -- the user ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.quiet)
    @rule(parameters=PARAMETERS)
    def connect(self, parameters: ConnectionParameters | None) -> None:
        number = self.order(c.ConnectToServer, parameters=parameters)
        if parameters is None and number is not None:
            self.unresolved.append(number)

    @precondition(lambda self: self.unresolved)
    @rule(parameters=PARAMETERS)
    def resolve(self, parameters: ConnectionParameters | None) -> None:
        self.world.give(c.ParametersResolved(command=self.unresolved.pop(), parameters=parameters, error="none"))

    @rule(
        kind=st.sampled_from(
            [
                c.RegisterAtServer,
                c.UnregisterFromServer,
                c.TryRegister,
                c.Ping,
                c.AnswerCall,
                c.DeclineCall,
                c.RestartCallIce,
                c.StartPresentation,
                c.StartPresentation,
                c.UpdatePresentation,
                c.StopPresentation,
            ]
        )
    )
    def operate(self, kind: type) -> None:
        self.order(kind)

    @precondition(lambda self: not self.quiet)
    @rule(kind=st.sampled_from([c.DisconnectFromServer, c.HangUpCall]))
    def leave(self, kind: type) -> None:
        self.order(kind)

    @rule()
    def call(self) -> None:
        self.order(c.CallServer, call=self.world.new_call(), number="12345")

    @rule(media=st.sampled_from([BOTH, BOTH[:1], BOTH[1:]]))
    def change_media(self, media: Any) -> None:
        self.order(c.ChangeCallMedia, media=media)

    @rule()
    def speak(self) -> None:
        self.order(c.SendToServer, message=Devices(cam=True, mic=False))

    @rule(name=st.sampled_from(["A", "B"]))
    def rename(self, name: str) -> None:
        self.order(c.SetName, display_name=name)

    @precondition(lambda self: self.commands)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.world.give(c.Cancel(target=data.draw(st.sampled_from(self.commands[-6:]))))

    # -- the server and the network ------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.focus.call is not None)
    @rule(message=SAID)
    def server_says(self, message: Any) -> None:
        try:
            self.world.say(message)
        except LocalProtocolError:
            pass  # its call is over

    @precondition(lambda self: self.world.focus.call is not None and not self.quiet)
    @rule()
    def server_hangs_up(self) -> None:
        try:
            self.world.tell_focus(i.HangUp(command=0, call=self.world.focus.call or ""))
        except LocalProtocolError:
            pass

    @precondition(lambda self: self.world.flows)
    @rule()
    def server_calls(self) -> None:
        self.world.focus_calls()

    @rule(status=st.sampled_from([200, 200, 603, 500, None]))
    def server_thinks(self, status: int | None) -> None:
        self.world.focus.verdict = lambda _: status

    @precondition(lambda self: not self.quiet)
    @rule()
    def cut(self) -> None:
        self.world.cut()

    @rule(reachable=st.booleans())
    def reach(self, reachable: bool) -> None:
        self.world.reachable = reachable

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0, 5.0, 12.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "world"):
            return
        connector = self.world.connector
        for number in self.commands:
            assert len(self.world.outcomes(number)) <= 1
        epochs = [event.epoch for event in self.world.all(ConnectionStatusChanged)]
        assert epochs == sorted(epochs)
        if connector.call.ident is not None:
            assert connector.call.ident in connector.calls or not connector.call.is_established

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.reachable = True
        self.order(c.DisconnectFromServer)
        world.wait(400)
        for number in self.commands:
            assert len(world.outcomes(number)) == 1, number
        assert world.connection_status() is ConnectionStatus.DISCONNECTED
        assert world.flows == {}
        assert {name: count for name, count in world.connector.retained.items() if count} == {}
        told = [event for event in world.out if isinstance(event, PresentationChanged)]
        for event, following in itertools.pairwise(told):
            if event.step is PresentationStep.STARTED:
                assert following.step in (
                    PresentationStep.UPDATING,
                    PresentationStep.END,
                    PresentationStep.ENDED,
                )
        statuses = {event.call: event.status.value for event in world.all(CallStatusChanged)}
        assert set(statuses.values()) <= {"idle"}
        shown = " ".join(repr(event) for event in world.out if not isinstance(event, o.SendData))
        assert not any(secret in shown for secret in SECRETS)
        before = len(world.out)
        world.wait(4000)
        assert world.out[before:] == []


TestLife = Life.TestCase
TestLife.settings = effort(60, 40)
