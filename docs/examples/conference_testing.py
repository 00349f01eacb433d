"""A small application around the conference client, and its tests: the server is what each test says.

In a project the tests below would have `sip_facade`, `scripted_server` and `sip_until` from the pytest plugin, in place of
`stage()`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from sipproto.testing import FAILED_NUMBER, PASSWORD, REALM, USER, FakeMediaEngine, canned
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnectorFacade
from sipproto_client.testing import Scripted, run_scripted
from sipproto_devices import MediaSetup, TestPattern, Tone


class Meeting:
    """The application: it joins a room, shows its screen, and always knows what to tell its user."""

    def __init__(self, facade: SipConnectorFacade) -> None:
        self._facade = facade
        self.line = "not connected"
        facade.on_must_stop_presentation(lambda _: self._say("the presentation was ended by the moderator"))

    async def join(self, room: str) -> None:
        try:
            await self._facade.connect_to_server(
                user_agent="meeting",
                sip_web_socket_server_url="wss://conference.example.com/ws",
                sip_server_url=REALM,
                name=USER,
                password=PASSWORD,
                is_registered_user=True,
            )
            await self._facade.call_to_server(
                conference=room,
                media_stream=MediaSetup(audio=Tone(440.0), video=TestPattern()),
                on_enter_purgatory=lambda: self._say("waiting to be let in"),
                on_enter_conference=lambda **_: self._say("in the conference"),
                on_ended_call=lambda: self._say("the call has ended"),
            )
        except ConnectorError as error:
            self._say(f"{error.code}: {error.detail}")

    async def show(self) -> None:
        try:
            await self._facade.start_presentation(media_stream=MediaSetup(video=TestPattern()))
            self._say("presenting")
        except ConnectorError as error:
            self._say(f"the presentation was refused: {error.status}")

    def _say(self, line: str) -> None:
        self.line = line


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Meeting, Scripted]]:
    """The application at a scripted server, in memory: whatever address it connects to, the server is there."""
    with anyio.fail_after(10):
        async with (
            run_scripted(AnyioRuntime()) as scripted,
            open_connector(media=FakeMediaEngine(seed=1), flow=scripted.flow) as sip_connector,
        ):
            yield Meeting(SipConnectorFacade(sip_connector)), scripted


async def test_waiting_to_be_let_in() -> None:
    async with stage() as (meeting, scripted):
        scripted.server.entrance = canned.ENTER_PURGATORY
        await meeting.join("800")
        await scripted.until(lambda: meeting.line == "waiting to be let in")
        scripted.server.say(canned.ENTER_ROOM)
        await scripted.until(lambda: meeting.line == "in the conference")
        scripted.server.hang_up()
        await scripted.until(lambda: meeting.line == "the call has ended")


async def test_the_user_is_told_why_not() -> None:
    async with stage() as (meeting, scripted):
        await meeting.join(FAILED_NUMBER)
        assert meeting.line == "REFUSED: 603 Decline", meeting.line
        scripted.server.answer_registrations(403)
        await meeting.join("800")
        assert meeting.line.startswith("WRONG_USER_OR_PASSWORD"), meeting.line


async def test_a_presentation_is_refused_then_allowed_then_ended() -> None:
    async with stage() as (meeting, scripted):
        await meeting.join("800")
        scripted.server.answer_infos(603, to=canned.PRESENTATION_WANTED, times=1)
        await meeting.show()
        assert meeting.line == "the presentation was refused: 603", meeting.line
        await meeting.show()
        assert meeting.line == "presenting", meeting.line
        scripted.server.say(canned.MUST_STOP_PRESENTATION)
        await scripted.until(lambda: meeting.line == "the presentation was ended by the moderator")
        assert list(scripted.server.heard) == [canned.PRESENTATION_WANTED] * 2


async def main() -> None:
    await test_waiting_to_be_let_in()
    await test_the_user_is_told_why_not()
    await test_a_presentation_is_refused_then_allowed_then_ended()
    print("the meeting does what it should")


if __name__ == "__main__":
    anyio.run(main)
