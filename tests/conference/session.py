"""Our connector goes through a recorded session of the SDK, step by step, before a server that says what that one was told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field

from sipproto.agent import AgentConfig
from sipproto.agent.media import LineStats, MediaReport, MediaState
from sipproto.agent.stats import CandidatePairStats, InboundRtpStats, TransportStats
from sipproto.connector import ConnectorConfig
from sipproto.connector.names import NAMES
from sipproto.message import Response
from sipproto.testing import FakeMediaEngine
from sipproto_client import SipConnector, SipConnectorFacade, run_connector
from sipproto_client.port import Runtime
from tests.client.conference import SCREEN, STREAM, until
from tests.client.rig import url

from .recorded import Recording
from .replay import Replay, replay

# The recorded versions, 16.0 and 31, do not restart ICE when the server says so (16.2 does).
CONFIG = ConnectorConfig(statistics_interval=0.02, balancing_start_delay=None, restart_ice=False)
# Rooms of two are not announced unasked (sipproto.connector.names.NEVER), and the registrar refuses us once only.
NOT_OURS = frozenset({"direct room", "direct room of call", "unregister"})
Step = Callable[["Session"], Awaitable[None]]
Happened = tuple[str, object]


@define(kw_only=True)
class Session:
    """A connector, and the server that it speaks to. events: those of the connector by name, but for statistics."""

    runtime: Runtime
    server: Replay
    media: FakeMediaEngine
    facade: SipConnectorFacade
    events: list[Happened] = field(factory=list)
    told: dict[str, list[Happened]] = field(factory=dict)  # what each step brought about
    answered: dict[str, Response] = field(factory=dict)  # our final answers to what the server asked

    @property
    def connector(self) -> SipConnector:
        return self.facade.sip_connector

    @property
    def recorded(self) -> Recording:
        return self.server.recording

    async def until(self, condition: Callable[[], object]) -> None:
        await until(self.runtime, condition)

    async def play(self) -> None:
        """Everything in the order of the recording, until we are disconnected."""
        with_an_answer = [*dict.fromkeys(frame.name for frame in self.recorded.frames)]
        for name in with_an_answer:
            before = len(self.events)
            if (step := STEPS.get(name)) is not None:
                await step(self)
            elif name in self.recorded.names(sent=False) and not name.startswith("ack of"):
                self.answered[name] = await self.server.ask(name)
            self.told[name] = self.events[before:]

    def measures(self, bitrate: float) -> None:
        """From now on the media engine measures this much room for what comes in, in bits per second."""
        call = self.connector.connection
        assert call is not None
        kinds = {line.kind: line.mid for line in call.lines}
        self.media.call(call.ident).report = MediaReport(
            state=MediaState.CONNECTED,
            lines=tuple(LineStats(mid=mid, kind=kind, direction="sendrecv") for kind, mid in kinds.items()),
            stats=(
                InboundRtpStats(id="I", timestamp=0.0, ssrc=2, kind="video", mid=kinds["video"], transport_id="T"),
                TransportStats(id="T", timestamp=0.0, selected_candidate_pair_id="P", dtls_state="connected"),
                CandidatePairStats(
                    id="P",
                    timestamp=0.0,
                    transport_id="T",
                    local_candidate_id="L",
                    remote_candidate_id="R",
                    state="succeeded",
                    nominated=True,
                    available_incoming_bitrate=bitrate,
                ),
            ),
        )


async def connect(session: Session) -> None:
    result = await session.facade.connect_to_server(
        sip_server_url="sip:rig.test",
        sip_web_socket_server_url=url(session.server.port),
        user_agent="rig-sc",
        remote_address="192.0.2.2",
        display_name="erin",
        name="erin",
        password="any",
        is_registered_user=True,
    )
    assert result.is_successful


async def ping(session: Session) -> None:
    assert await session.facade.ping() == 200


async def call(session: Session) -> None:
    await session.facade.call_to_server(conference="bob", media_stream=STREAM)
    await session.server.expect("ack")


async def bitrate(session: Session) -> None:
    """It is told of when it grows by a quarter, so there has to be another one before."""
    session.measures(500)
    for _ in range(2):  # the first may have begun before
        await session.connector.wait("stats:collected", 5.0)
    session.measures(1000)
    await session.server.expect("bitrate")


async def ask_to_present(session: Session) -> None:
    """Of version 16 the presentation was recorded, too, which begins with asking."""
    if "presentation offer" in session.recorded.names(sent=True):
        await session.facade.start_presentation(media_stream=SCREEN)
        await session.server.expect("ack of presentation offer")
    else:
        await session.connector.ask_permission_to_start_presentation()


async def stop_presenting(session: Session) -> None:
    await session.facade.stop_share_sip_connector()
    await session.server.expect("ack of presentation offer", 2)


async def is_called(session: Session) -> None:
    async def answer(_: object) -> None:
        await session.facade.answer_to_incoming_call(media_stream=STREAM)

    session.facade.once("incoming-call:incomingCall", answer)
    session.answered["call"] = await session.server.ask("call")
    await session.until(lambda: session.connector.is_call_active)


async def is_hung_up(session: Session) -> None:
    session.answered["bye of call"] = await session.server.ask("bye of call")
    await session.until(lambda: not session.connector.is_call_active)


async def leave(session: Session) -> None:
    assert (await session.facade.disconnect_from_server()).is_successful


# What the server says has its step in `Session.play`; what is not here is part of another step.
STEPS: dict[str, Step] = {
    "register": connect,
    "options": ping,
    "invite": call,
    "media state": lambda s: s.facade.send_media_state(is_enabled_cam=True, is_enabled_mic=False),
    "channels": lambda s: s.facade.send_channels(input_channels="0", output_channels="1"),
    "refusal of microphone": lambda s: s.facade.send_refusal_to_turn_on_mic(),
    "refusal of camera": lambda s: s.facade.send_refusal_to_turn_on_cam(),
    "ask to enable camera": lambda s: s.facade.ask_permission_to_enable_cam(),
    "digit": lambda s: s.facade.send_dtmf("5", duration=120),
    "bitrate": bitrate,
    "let me start presentation": ask_to_present,
    "presentation stopped": stop_presenting,
    "bye": lambda s: s.facade.hang_up(),
    "call": is_called,
    "bye of call": is_hung_up,
    "unregister": leave,
}


async def session_of(runtime: Runtime, recorded: Recording) -> Session:
    """The whole session, when it is over."""
    media = FakeMediaEngine()
    agent = AgentConfig(aor="sip:anonymous@anonymous.invalid", capabilities=media.capabilities)
    async with (
        replay(runtime, recorded) as server,
        run_connector(runtime, media=media, config=CONFIG, agent=agent) as connector,
    ):
        session = Session(runtime=runtime, server=server, media=media, facade=SipConnectorFacade(connector))
        connector.on_race(NAMES - {"stats:collected"}, lambda payload, name: session.events.append((name, payload)))
        await session.play()
        return session
