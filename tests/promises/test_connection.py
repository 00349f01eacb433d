"""What is promised of the connection: who we are, what is on the wire, who waits for whom, and how it fails."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Awaitable

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream

from sipproto.agent import outputs as o
from sipproto.connector import ConnectionParameters
from sipproto.connector.events import ConnectionStatus
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import open_connector
from sipproto_client import ConnectorError, ErrorCode, SipConnector, SipConnectorFacade, tools
from sipproto_server import UserChanged
from tests.promises.rig import CAMERA, REALM, USERS, Log, Venue, Wire, application, connectors, enter, until, venue


def users_of(place: Venue) -> list[tuple[str, bool]]:
    return [(changed.user, changed.contact is not None) for changed in place.of(UserChanged)]


def test_a_registered_user() -> None:
    """The quick start: connect, and what the server sees of it."""

    async def scenario() -> None:
        wire = Wire()
        async with venue() as place, open_connector(media=FakeMediaEngine(seed=2), trace=wire.file) as sip_connector:
            facade = SipConnectorFacade(sip_connector)
            log = Log(sip_connector, "connection:connected", "connection:registered", "connection:disconnected")
            assert not facade.is_configured() and not facade.is_registered
            result = await facade.connect_to_server(
                user_agent=tools.get_user_agent(app_name="MyApp"),
                sip_web_socket_server_url=place.address["sip_web_socket_server_url"],
                sip_server_url=f"sip:{REALM}",
                name="alice",
                password=USERS["alice"],
                is_registered_user=True,
                display_name='Алиса "A" Liddell',
                remote_address="203.0.113.7",
                extra_headers=["X-Team: Red Queen"],
            )
            assert result.is_successful and result.configuration == sip_connector.get_connection_configuration()
            assert facade.is_configured() and facade.is_registered and users_of(place) == [("alice", True)]
            assert sip_connector.get_uri("bob") == f"sip:bob@{REALM}"
            await facade.disconnect_from_server()
            assert not facade.is_configured() and not facade.is_registered
            assert users_of(place) == [("alice", True), ("alice", False)]
            assert log.names == ["connection:connected", "connection:registered", "connection:disconnected"]
        for register in wire.sent("REGISTER"):
            assert register.headers.first("X-Vinteo-Remote") == "203.0.113.7"
            assert register.headers.first("X-Team") == "Red Queen"
            assert register.headers.first("User-Agent") == "ChromeNew - MyApp"
            sender = register.headers.first("From") or ""
            assert sender.startswith(r'"Алиса \"A\" Liddell" <sip:alice@'), sender

    application(scenario)


def test_a_guest() -> None:
    """No REGISTER, a number of chance for a name; what else would be in the REGISTER is in the INVITE."""

    async def scenario() -> None:
        wire = Wire()
        async with venue() as place, open_connector(media=FakeMediaEngine(seed=2), trace=wire.file) as guest:
            facade = SipConnectorFacade(guest)
            await facade.connect_to_server(
                **place.address,
                display_name="Visitor",
                remote_address="203.0.113.7",
                extra_headers=[("X-Team", "Blue")],
            )
            assert not facade.is_registered and not guest.is_register_config
            assert guest.connection_state is ConnectionStatus.ESTABLISHED
            await facade.call_to_server(conference="800", media_stream=CAMERA, extra_headers=["X-Vinteo-Session: s1"])
            (call,) = place.of(o.IncomingCall)
            headers = dict(call.headers)
            assert (headers["X-Vinteo-Remote"], headers["X-Team"], headers["X-Vinteo-Session"]) == (
                "203.0.113.7",
                "Blue",
                "s1",
            )
            assert re.fullmatch(rf"sip:[0-9]{{6,8}}@{REALM}", call.from_uri) and call.display_name == "Visitor"
        assert not wire.sent("REGISTER") and not wire.sent("INFO"), "nothing is announced unasked"

    application(scenario)


def test_registering_by_hand() -> None:
    async def scenario() -> None:
        async with venue() as place, open_connector() as one:
            await one.connect(**{**place.account("alice"), "register": False})
            assert not one.is_registered
            await one.register()
            assert one.is_registered
            await one.unregister()
            assert not one.is_registered and users_of(place) == [("alice", True), ("alice", False)]
            await one.unregister()
            await one.try_register()
            await one.try_register()
            assert one.is_registered
            assert users_of(place)[2:] == [("alice", True), ("alice", False), ("alice", True)]

    application(scenario)


def test_ping_options_and_telephony() -> None:
    """Asking whether somebody is there disturbs nothing that there is, and leaves nothing."""

    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice", "bob") as (alice, _):
            assert await alice.ping() == 200
            assert await alice.send_options(f"sip:bob@{REALM}") == 200
            with pytest.raises(ConnectorError) as nobody:
                await alice.send_options(f"sip:nobody@{REALM}")
            assert (nobody.value.code, nobody.value.status) == (ErrorCode.NOT_FOUND, 404)
            assert await alice.ping(f"sip:nobody@{REALM}") == 404, "any answer will do"

            log = Log(alice, "connection:disconnected", "connection:connecting")
            await alice.check_telephony(**place.address)
            await alice.check_telephony(**place.address, options=True)
            with pytest.raises(ConnectorError) as unreachable:
                await alice.check_telephony(sip_server_url=REALM, sip_web_socket_server_url="ws://127.0.0.1:1/")
            assert unreachable.value.code is ErrorCode.CONNECTION_FAILED
            async with silent_server() as mute:
                began = anyio.current_time()
                with pytest.raises(ConnectorError) as silent:
                    await alice.check_telephony(sip_server_url=REALM, sip_web_socket_server_url=mute.url, timeout=0.1)
                assert silent.value.code is ErrorCode.TIMEOUT and anyio.current_time() - began < 5
                await until(lambda: mute.open == 0, "the probe is closed")
            assert not log.names and alice.is_registered

    application(scenario)


def test_another_name() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            assert await alice.set(display_name="Queen Alice")
            assert not await alice.set(display_name="Queen Alice"), "it is the same"
            await alice.call("800", CAMERA)
            assert place.of(o.IncomingCall)[0].display_name == "Queen Alice"
            configuration = alice.get_connection_configuration()
            assert configuration is not None and configuration.display_name == "Queen Alice"

    application(scenario)


def test_parameters_by_an_async_function() -> None:
    """Asked for when the time has come; what it raises comes out as it is."""

    async def scenario() -> None:
        async with venue() as place, open_connector() as one:
            facade = SipConnectorFacade(one)

            async def provide() -> ConnectionParameters:
                await anyio.sleep(0.01)
                assert one.is_pending_connect
                return ConnectionParameters(**place.account("alice"))

            assert (await facade.connect_to_server(provide)).is_successful and one.is_registered

            async def refuse() -> ConnectionParameters:
                raise KeyError("no token")

            with pytest.raises(KeyError):
                await facade.connect_to_server(refuse)
            assert not one.is_configured() and not one.is_registered

    application(scenario)


def test_only_what_cannot_be_reached_is_tried_again() -> None:
    async def scenario() -> None:
        async with venue() as place, open_connector() as one:
            log = Log(one, "connection:connecting", "connection:connect-failed", "connection:connect-succeeded")
            with pytest.raises(ConnectorError) as failed:
                await one.connect(sip_server_url=REALM, sip_web_socket_server_url="ws://127.0.0.1:1/", attempts=3)
            assert failed.value.code == "CONNECTION_FAILED" and failed.value.url == "ws://127.0.0.1:1/"
            assert tools.get_type_from_error(failed.value) == "WS_CONNECTION_FAILED"
            assert log.names == ["connection:connecting"] * 3 + ["connection:connect-failed"]

            log.names.clear()
            with pytest.raises(ConnectorError) as refused:
                await one.connect(**{**place.account("alice"), "password": "guess"}, attempts=3)
            assert refused.value.code == "WRONG_USER_OR_PASSWORD"
            assert tools.get_type_from_error(refused.value) == "WRONG_USER_OR_PASSWORD"
            assert log.names == ["connection:connecting", "connection:connect-failed"]
            assert one.connection_state is ConnectionStatus.DISCONNECTED and not one.is_configured()

    application(scenario)


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"sip_server_url": " "}, "sip_server_url is required"),
        ({"sip_web_socket_server_url": ""}, "sip_web_socket_server_url is required"),
        ({"name": None}, "user is required"),
        ({"password": None}, "password is required"),
        ({"extra_headers": ["no colon"]}, "a header line has a colon"),
        ({"extra_headers": ["X-A: b\r\nX-C: d"]}, "X-A"),
    ],
)
def test_parameters_that_cannot_be(wrong: dict[str, object], detail: str) -> None:
    async def scenario() -> None:
        async with venue() as place, open_connector() as one:
            with pytest.raises(ConnectorError, match=detail) as error:
                await SipConnectorFacade(one).connect_to_server(**{**place.user("alice"), **wrong})
            assert error.value.code == "NOT_POSSIBLE"

    application(scenario)


# -- who waits for whom ------------------------------------------------------------------------------------------------


class _Mute:
    """Takes connections and never says a word."""

    def __init__(self) -> None:
        self.url = ""
        self.taken = 0
        self.open = 0

    async def serve(self, stream: SocketStream) -> None:
        self.taken += 1
        self.open += 1
        async with stream:
            try:
                while True:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
            finally:
                self.open -= 1


class silent_server:
    async def __aenter__(self) -> _Mute:
        self._mute = _Mute()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self._mute.url = f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        self._listener = listener
        self._tasks.start_soon(listener.serve, self._mute.serve)
        return self._mute

    async def __aexit__(self, *_: object) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._listener.aclose()


class Outcomes:
    """What became of commands that run beside the scenario."""

    def __init__(self, one: SipConnector) -> None:
        self.facade = SipConnectorFacade(one)
        self.found: dict[str, object] = {}

    async def connect(self, which: str, **settings: object) -> None:
        try:
            self.found[which] = (await self.facade.connect_to_server(**settings)).is_successful  # type: ignore[arg-type]
        except ConnectorError as error:
            self.found[which] = error.code

    async def code_of_connect(self, which: str, url: str) -> None:
        """Without the facade, to whom that is no error."""
        try:
            await self.facade.sip_connector.connect(sip_server_url=REALM, sip_web_socket_server_url=url)
        except ConnectorError as error:
            self.found[which] = error.code


def test_the_newest_connect_counts() -> None:
    """Of three at once the last one is carried out; the others hear that at once, and nothing of them is left."""

    async def scenario() -> None:
        async with (
            venue() as place,
            silent_server() as mute,
            open_connector() as one,
            anyio.create_task_group() as tasks,
        ):
            outcomes = Outcomes(one)
            tasks.start_soon(
                lambda: outcomes.connect("first", sip_server_url=REALM, sip_web_socket_server_url=mute.url)
            )
            await until(lambda: mute.taken == 1)
            tasks.start_soon(outcomes.code_of_connect, "second", mute.url)
            tasks.start_soon(lambda: outcomes.connect("third", **place.user("bob")))
            await until(lambda: len(outcomes.found) == 3)
            assert outcomes.found == {"first": False, "second": "SUPERSEDED", "third": True}
            assert one.is_registered and one.connection_state is ConnectionStatus.ESTABLISHED
            assert users_of(place) == [("bob", True)]
            await until(lambda: mute.open == 0, "nothing of the first is left")

    application(scenario)


def test_disconnect_takes_effect_at_once() -> None:
    """It waits for no connect; and connect, disconnect, connect ends as connected."""

    async def scenario() -> None:
        async with (
            venue() as place,
            silent_server() as mute,
            open_connector() as one,
            anyio.create_task_group() as tasks,
        ):
            outcomes, log = Outcomes(one), Log(one, "connection:connect-failed")
            tasks.start_soon(
                lambda: outcomes.connect("first", sip_server_url=REALM, sip_web_socket_server_url=mute.url)
            )
            await until(lambda: mute.taken == 1)
            began = anyio.current_time()
            assert (await outcomes.facade.disconnect_from_server()).is_successful
            assert anyio.current_time() - began < 2
            await until(lambda: outcomes.found == {"first": False})
            assert one.connection_state is ConnectionStatus.DISCONNECTED

            tasks.start_soon(lambda: outcomes.connect("second", **place.user("alice")))
            while not one.is_pending_connect:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(outcomes.facade.disconnect_from_server)
            await anyio.lowlevel.checkpoint()
            await outcomes.connect("third", **place.user("bob"))
            await until(lambda: len(outcomes.found) == 3)
            assert outcomes.found == {"first": False, "second": False, "third": True}
            assert one.connection_state.value == "established" and one.is_registered
            assert not log.names, "nothing has failed that nobody gave up"

    application(scenario)


def test_a_ping_goes_beside_and_takes_nobodys_place() -> None:
    """Each of several operations at once has its own outcome, also those that are asked for while we connect."""

    async def scenario() -> None:
        async with venue() as place, open_connector() as one, anyio.create_task_group() as tasks:
            done: dict[str, object] = {}

            async def note(name: str, command: Awaitable[object]) -> None:
                done[name] = await command

            async def ping_early(_: object) -> None:
                await note("early", one.ping(f"sip:{REALM}"))

            one.once("connection:connected", ping_early)
            await one.connect(**place.account("alice"))
            await until(lambda: done == {"early": 200})
            tasks.start_soon(note, "try_register", one.try_register())
            tasks.start_soon(note, "register", one.register())
            tasks.start_soon(note, "ping", one.ping(f"sip:{REALM}"))
            tasks.start_soon(note, "options", one.send_options(f"sip:{REALM}"))
            tasks.start_soon(note, "telephony", one.check_telephony(**place.address))
            await until(lambda: len(done) == 6)
            assert (done["ping"], done["options"]) == (200, 200) and one.is_registered

    application(scenario)


def test_who_gives_up_waiting_gives_up_the_connection() -> None:
    async def scenario() -> None:
        async with silent_server() as mute, open_connector() as one:
            with anyio.move_on_after(0.1) as limit:
                await one.connect(sip_server_url=REALM, sip_web_socket_server_url=mute.url)
            assert limit.cancelled_caught
            await until(lambda: mute.open == 0 and one.connection_state is ConnectionStatus.DISCONNECTED)

    application(scenario)


def test_memory_stays_flat_over_a_thousand_operations() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):

            async def work(rounds: int) -> None:
                for number in range(rounds):
                    await alice.ping(f"sip:{REALM}")
                    await alice.set(display_name=f"Alice {number}")
                    if number % 50 == 0:
                        await alice.register()

            await work(50)
            place.told.clear()
            held = alice.engine.retained
            gc.collect()
            objects = len(gc.get_objects())
            await work(450)
            place.told.clear()
            gc.collect()
            assert alice.engine.retained == held
            assert len(gc.get_objects()) - objects < 500, "less than one object for each operation"

    application(scenario)


# -- failures and logs -------------------------------------------------------------------------------------------------


def test_disconnect_on_fail_hides_nothing() -> None:
    async def scenario() -> None:
        async with venue() as place, open_connector() as one:
            facade = SipConnectorFacade(one)
            with pytest.raises(ConnectorError) as error:
                await facade.connect_to_server(**{**place.user("alice"), "password": "x"}, is_disconnect_on_fail=True)
            assert error.value.code == "WRONG_USER_OR_PASSWORD" and not facade.is_configured()
            assert (await facade.disconnect_from_server()).is_successful, "there is nothing to do"

    application(scenario)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {getattr(record, 'sipproto_event', '')}")


def test_the_debug_log_has_no_secrets() -> None:
    """Switched on and off; it tells what happens, and no password, token or digit. Neither do events."""

    async def scenario() -> None:
        kept = _Kept()
        tools.enable_debug(kept)
        try:
            async with venue() as place, open_connector(media=FakeMediaEngine(seed=2)) as one:
                told: list[str] = []
                for name in ("connect-started", "connect-succeeded", "connected-with-configuration", "registered"):
                    one.connection_manager.on(name, lambda payload: told.append(repr(payload)))
                await one.connect(**place.account("alice"))
                await enter(one)
                token = one.room.token if one.room is not None else None
                await one.send_dtmf("73519", gap=0.0)
                lines = "\n".join(kept.lines)
                tools.disable_debug()
                count = len(kept.lines)
                await one.ping()
                assert len(kept.lines) == count
        finally:
            tools.disable_debug()
        assert "ConnectToServer" in lines and "CallEstablished" in lines
        assert token and len(told) == 4
        for secret in (USERS["alice"], token, "73519"):
            assert secret not in lines and secret not in "".join(told) and secret not in repr(one.room)

    application(scenario)
