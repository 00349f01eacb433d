"""The conference client with a server that knows nothing of conferences: whatever it says to our INFOs, no call is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

from sipproto.agent import outputs as o
from sipproto.agent.media import MediaReport
from sipproto.connector import ConnectionParameters, ConnectorConfig
from sipproto.connector._presentation import PresentationState
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_anyio import open_connector
from sipproto_client import SipConnector
from sipproto_client.connector_errors import ConnectorError, ErrorCode

from .kamailio import Kamailio, password_of
from .peers import HERTZ, BrowserPeer, Party

pytestmark = pytest.mark.interop
_OUR_HERTZ = 500.0


@pytest.fixture(params=["grace", "heidi"])
def page(request: pytest.FixtureRequest, kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    """grace: every INFO of ours is refused; heidi: none is answered."""
    party = Party(browser, "bob", page="bob")
    user = request.param
    try:
        party.open(kamailio, kamailio.ws_url, user=user, password=password_of(user))
        party.user = user
        yield party
    finally:
        party("close")
        browser.forget_events()


async def heard(connector: SipConnector) -> float:
    """Waits until the tone of the page is recognised, and returns its frequency."""
    with anyio.fail_after(15):
        while True:
            call = connector.connection
            assert call is not None
            report: MediaReport = await call.stats()
            line = report.line("audio")
            if line is not None and line.audio_frequency is not None and abs(line.audio_frequency - HERTZ["bob"]) < 25:
                return line.audio_frequency
            await anyio.sleep(0.1)


async def refused(what: Awaitable[object], silent: bool) -> None:
    with pytest.raises(ConnectorError) as caught:
        await what
    assert caught.value.code == (ErrorCode.TIMEOUT if silent else ErrorCode.FAILED), caught.value
    assert caught.value.status == (None if silent else 415)


def test_no_call_is_lost(kamailio: Kamailio, page: Party) -> None:
    silent = page.user == "heidi"
    engine = AiortcEngine(include_loopback=True)

    async def scenario() -> None:
        config = ConnectorConfig(balancing_start_delay=0.5)
        async with open_connector(media=engine, config=config) as connector:
            ended: list[object] = []
            connector.on("call:ended", ended.append)
            connector.on("call:failed", ended.append)
            await connector.connect(
                ConnectionParameters(
                    sip_server_url=f"sip:{kamailio.domain}",
                    sip_web_socket_server_url=kamailio.ws_url,
                    user="alice",
                    password=password_of("alice"),
                    register=True,
                )
            )
            assert await connector.ping() in range(200, 700)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer, page)
                await connector.call(page.user, MediaSetup(audio=Tone(_OUR_HERTZ), video=TestPattern()))
            await heard(connector)
            wishes: list[Callable[[], Awaitable[object]]] = [
                lambda: connector.send_media_state(is_enabled_cam=True, is_enabled_mic=False),
                lambda: connector.send_channels(input_channels="1", output_channels="2"),
                connector.send_refusal_to_turn_on_mic,
                connector.send_refusal_to_turn_on_cam,
                connector.ask_permission_to_enable_cam,
                connector.ask_permission_to_start_presentation,
                lambda: connector.start_presentation(MediaSetup(video=TestPattern())),
            ]
            # All at once: a server that says nothing takes its ten seconds for each.
            async with anyio.create_task_group() as tasks:
                for wish in wishes:
                    tasks.start_soon(refused_later, wish, silent)
            assert connector.is_call_active
            assert ended == []
            assert connector.engine.presentation.state is PresentationState.IDLE
            await connector.send_dtmf("5") if not silent else None
            assert await connector.restart_ice()
            await heard(connector)
            assert ended == []
            await connector.hang_up()
            assert len(ended) == 1
            event = ended[0]
            assert isinstance(event, o.CallEnded) and event.originator is o.Originator.LOCAL

    try:
        anyio.run(scenario)
    finally:
        engine.close()


async def refused_later(wish: Callable[[], Awaitable[object]], silent: bool) -> None:
    await refused(wish(), silent)


async def answer(page: Party) -> None:
    def wait() -> None:
        page.expect("call", state="incoming")
        page("answer")

    await anyio.to_thread.run_sync(wait)
