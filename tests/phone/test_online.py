"""The phone comes online by itself, says why not, and comes back."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import anyio
import pytest

from sipproto.dialog import build_response
from sipproto.message import Request, fields
from sipproto_anyio import AnyioRuntime
from sipproto_client import fingerprint
from sipproto_phone import commands as c
from sipproto_phone.commands import CommandProblem
from sipproto_phone.model import Mailbox, Online, Phase, Problem, as_json
from sipproto_phone.ports import Settings
from sipproto_server import ServerConfig, run_server
from sipproto_wsproto import HandshakeGuard
from tests.client.test_pins import certificate_for
from tests.phone.rig import REALM, TestPhone, account, odd_server, pbx, phones, play, settings

SECRET = "alice secret"


def test_online_by_itself_and_no_secret_in_sight() -> None:
    async def scenario() -> None:
        async with pbx() as server, TestPhone(settings(account("alice", server.port))) as phone:
            seen = []
            async for state in phone.changes():
                seen.append(state)
                if state.connection.online is Online.ONLINE:
                    break
            assert [x.revision for x in seen] == sorted({x.revision for x in seen})
            assert seen[-1].accounts[0].has_password and seen[-1].accounts[0].active
            assert seen[-1].version and seen[-1].keyring and not seen[-1].demo
            assert (await phone.do(c.GetState()))["connection"]["online"] == "online"
            shown = f"{seen} {as_json(phone.state)} {await phone.do(c.GetAccount(id='alice'))} {phone.kept.settings}"
            shown += f"{c.SaveAccount(account={'id': 'alice'}, password=SECRET)} {vars(phone)}"
            assert SECRET not in shown.replace(f"{vars(phone.secrets)}", "")
            assert server.core.registered == {"alice": 1}

            await phone.do(c.Disconnect())
            await phone.until_online(Online.OFFLINE)
            await phone.until("it is gone", lambda: not server.core.registered)
            with pytest.raises(CommandProblem) as problem:
                await phone.do(c.Dial(number="600"))
            assert problem.value.code == "offline"
            await phone.do(c.Connect())
            await phone.until_online()
        assert not server.core.registered  # the phone has said so at its end

    play(scenario)


def test_a_wrong_password_is_said_and_can_be_mended() -> None:
    async def scenario() -> None:
        async with pbx() as server:
            phone = TestPhone(settings(account("alice", server.port)))
            phone.secrets.passwords["alice"] = "wrong"
            async with phone:
                assert (await phone.until_online(Online.FAILED)).problem is Problem.WRONG_PASSWORD
                assert "wrong" not in f"{phone.state.connection.detail!r}".replace("wrong user", "")
                assert await phone.do(c.SaveAccount(account={"id": "alice"}, password=SECRET)) == "alice"
                await phone.until_online()
                assert phone.secrets.passwords["alice"] == SECRET and phone.kept.saved == 1
                await phone.do(c.SaveAccount(account={"id": "alice"}, password=""))
                assert (await phone.until_online(Online.FAILED)).problem is Problem.NO_PASSWORD
                assert not phone.state.accounts[0].has_password

    play(scenario)


def test_what_stands_in_the_way_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = free.getsockname()[1]

    def forbid(request: Request, send: Callable[[bytes], None]) -> None:
        send(build_response(request, 403, to_tag="x").to_bytes())

    async def scenario() -> None:
        async with odd_server(forbid) as refusing, TestPhone(Settings()) as phone:
            assert phone.state.connection.online is Online.OFFLINE
            with pytest.raises(CommandProblem, match="no account"):
                await phone.do(c.Connect())
            for proxy, problem, online in (
                (f"ws://127.0.0.1:{dead}/", Problem.UNREACHABLE, Online.RETRYING),
                ("ws://nobody.invalid/", Problem.UNKNOWN_HOST, Online.RETRYING),
                (f"wss://127.0.0.1:{refusing}/", Problem.TLS, Online.RETRYING),
                (f"ws://127.0.0.1:{refusing}/", Problem.REFUSED, Online.FAILED),
            ):
                fields = {"id": "a", "server": REALM, "login": "alice", "proxy": proxy}
                await phone.do(c.SaveAccount(account=fields, password="?"))
                await phone.until_problem(problem)
                connection = phone.state.connection
                assert connection.online is online and connection.detail
                assert (connection.retry_in is not None) == (online is Online.RETRYING)

    play(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {"login": "alice"},
        {"server": REALM},
        {"server": REALM, "login": "a", "transport": "pigeon"},
        {"server": REALM, "login": "a", "port": 70000},
        {"server": REALM, "login": "a", "expires": 1},
        {"server": "no host", "login": "a"},
        {"server": REALM, "login": "a", "hosts": ["nonsense"]},
        {"server": REALM, "login": "a", "pins": ["h=12"]},
        {"server": REALM, "login": "a", "proxy": "http://x/"},
        {"server": REALM, "login": "a", "ca_file": "/nowhere.pem"},
        {"server": REALM, "login": "a", "ice_servers": ["stun:"]},
        {"server": 7},
        {"port": True},
        {"hosts": [1]},
        {"password": "x"},
        {"id": "../turn"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    async def scenario() -> None:
        async with TestPhone(Settings()) as phone:
            with pytest.raises(CommandProblem):
                await phone.do(c.SaveAccount(account=wrong, password="x"))
            assert phone.kept.saved == 0 and not phone.secrets.passwords

    play(scenario)


_LONG = 6.0  # seconds


async def until_it_would_wait(phone: TestPhone) -> None:
    """Has it try until the next attempt by itself is far away: the delay is one of chance, and its ceiling grows."""
    while ((before := phone.state.connection).retry_in or 0.0) < _LONG:
        await phone.do(c.Connect())
        await phone.until("the attempt has failed", lambda: phone.state.connection != before)


@pytest.mark.parametrize("talking", [True, pytest.param(False, marks=pytest.mark.interop)])
def test_the_server_is_gone_and_comes_back(talking: bool) -> None:
    """While somebody talks the call goes on, and so does the sound."""

    async def scenario() -> None:
        async with anyio.create_task_group() as tasks:
            stop, port = anyio.Event(), 0
            started = anyio.Event()

            async def serve(at: int) -> None:
                nonlocal port
                async with pbx(at) as server:
                    port = server.port
                    started.set()
                    await stop.wait()

            tasks.start_soon(serve, 0)
            await started.wait()
            async with (
                TestPhone(settings(account("alice", port)), tone=440.0) as alice,
                TestPhone(settings(account("bob", port)), tone=660.0) as bob,
            ):
                await alice.until_online()
                await bob.until_online()
                if talking:
                    await alice.talk_to(bob)
                    await alice.until_hears(660.0)
                stop.set()
                for phone in (alice, bob):
                    told = await phone.until_online(Online.RETRYING)
                    assert told.problem is Problem.UNREACHABLE and told.retry_in is not None
                if talking:
                    await alice.until_phase("bob", Phase.RECONNECTING)
                    await alice.until_hears(660.0)
                for phone in (alice, bob):
                    await until_it_would_wait(phone)
                if talking:
                    assert alice.call("bob").phase is Phase.RECONNECTING  # however often it was tried in vain
                    await alice.until_hears(660.0)
                stop, started = anyio.Event(), anyio.Event()
                tasks.start_soon(serve, port)
                await started.wait()
                for phone in (alice, bob):
                    with anyio.fail_after(_LONG - 1.0):
                        await phone.do(c.Connect())
                        await phone.until_online()
                if talking:
                    await alice.until_phase("bob", Phase.TALKING)
                    await bob.until_phase("alice", Phase.TALKING)
                    await alice.do(c.HangUp(call=alice.call("bob").id))
                    await bob.until_phase("alice", Phase.ENDED)
            stop.set()

    play(scenario)


def test_an_untrusted_certificate_is_shown_and_can_be_trusted() -> None:
    context, certificate = certificate_for("pbx.invalid")
    mark = fingerprint(certificate)

    async def scenario() -> None:
        config = ServerConfig(realm=REALM, users={"alice": SECRET})
        async with run_server(AnyioRuntime(), config, tls=context, guard=HandshakeGuard(hosts=None)) as server:
            own = account(
                "alice",
                server.port,
                transport="wss",
                proxy="",
                port=server.port,
                path="/",
                hosts=(f"{REALM}=127.0.0.1",),
                pins=(f"other.invalid={'00' * 32}", f"{REALM}={'11' * 32}"),
            )
            async with TestPhone(settings(own)) as phone:
                told = await phone.until_online(Online.FAILED)
                assert told.problem is Problem.TLS and told.certificate is not None
                shown = told.certificate
                assert (shown.host, shown.fingerprint) == (REALM, mark)
                assert "trustme" in shown.issuer and "trustme" in shown.subject and len(shown.not_after) == 10
                for host, wrong in ((REALM, "00" * 32), ("other.invalid", mark), (REALM, "junk")):
                    with pytest.raises(CommandProblem):
                        await phone.do(c.TrustCertificate(host=host, fingerprint=wrong))
                await phone.do(c.TrustCertificate(host=REALM, fingerprint=mark))
                assert phone.kept.settings.accounts[0].pins == (f"other.invalid={'00' * 32}", f"{REALM}={mark}")
                assert (await phone.until_online()).certificate is None

    play(scenario)


def test_accounts_take_turns() -> None:
    async def scenario() -> None:
        async with pbx() as server:
            given = settings(account("alice", server.port), account("bob", server.port))
            async with TestPhone(given) as phone:
                await phone.until("alice", lambda: server.core.registered == {"alice": 1})
                await phone.do(c.UseAccount(id="bob"))
                await phone.until("bob alone", lambda: server.core.registered == {"bob": 1})
                await phone.until_online()
                assert [x.active for x in phone.state.accounts] == [False, True]
                assert phone.kept.settings.active_account == "bob"
                await phone.do(c.RemoveAccount(id="bob"))
                await phone.until("nobody", lambda: not server.core.registered)
                assert "bob" not in phone.secrets.passwords and len(phone.state.accounts) == 1
                with pytest.raises(CommandProblem):
                    await phone.do(c.UseAccount(id="bob"))

    play(scenario)


def test_voice_mail() -> None:
    def notify(request: Request, number: int, event: str, body: bytes) -> bytes:
        contact = request.headers.all(fields.CONTACT)[0]
        to = request.headers.require(fields.FROM)
        lines = (
            f"NOTIFY {contact.uri} SIP/2.0\r\nVia: SIP/2.0/WS mail.invalid;branch=z9hG4bK{number}\r\n"  # type: ignore[union-attr]
            f"From: {request.headers.first('To')};tag=mail\r\nTo: {to}\r\nCall-ID: {request.headers.first('Call-ID')}\r\n"
            f"CSeq: {number} NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:mail.invalid>\r\n{event}"
            f"Content-Type: application/simple-message-summary\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return lines.encode() + body

    def tag_of(request: Request) -> bytes:
        return f";tag={request.headers.require(fields.FROM).tag}".encode()

    asked: list[Request] = []

    def answer(request: Request, send: Callable[[bytes], None]) -> None:
        if request.method in ("REGISTER", "SUBSCRIBE"):
            contact = [("Contact", str(one)) for one in request.headers.all(fields.CONTACT)]
            extra = [*contact, ("Expires", "300")]
            send(build_response(request, 200, to_tag="mail", extra=extra).to_bytes())
        if request.method == "SUBSCRIBE":
            asked.append(request)
            body = b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
            left = "terminated" if request.headers.first("Expires") == "0" else "active;expires=300"
            state = f"Event: message-summary\r\nSubscription-State: {left}\r\n"
            send(notify(request, len(asked), state, body))

    def unasked(request: Request, send: Callable[[bytes], None]) -> None:
        if request.method == "REGISTER":
            answer(request, send)
            to_nobody = notify(request, 1, "Event: message-summary\r\n", b"Messages-Waiting: no\r\n")
            send(to_nobody.replace(b"Call-ID: ", b"Call-ID: other").replace(tag_of(request), b""))
        elif request.method == "SUBSCRIBE":
            send(build_response(request, 489, to_tag="x").to_bytes())

    async def scenario() -> None:
        async with odd_server(answer) as port, TestPhone(settings(account("alice", port))) as phone:
            await phone.until("two messages", lambda: phone.state.mailbox == Mailbox(new=2, old=8))
            await phone.do(c.Disconnect())
            await phone.until("forgotten", lambda: phone.state.mailbox == Mailbox())
        async with odd_server(unasked) as port, TestPhone(settings(account("alice", port))) as phone:
            await phone.until("none", lambda: phone.state.mailbox == Mailbox(new=0))
            await phone.until_online()

    play(scenario)


@pytest.mark.interop
def test_an_idle_phone_sleeps() -> None:
    """Online and idle, nothing runs on the event loop but keep-alives, which are 25 s apart."""
    import asyncio
    import selectors

    class Counting(selectors.DefaultSelector):
        woken = 0

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            Counting.woken += 1
            return super().select(timeout)

    async def scenario() -> None:
        async with phones("alice", "bob") as (alice, bob):
            ident, _ = await alice.talk_to(bob)
            await alice.do(c.HangUp(call=ident))
            await alice.until("forgotten", lambda: not alice.state.calls and not bob.state.calls)
            await anyio.sleep(0.3)  # what was begun ends
            before = Counting.woken
            await anyio.sleep(2.0)
            assert Counting.woken - before <= 4

    play(scenario, loop_factory=lambda: asyncio.SelectorEventLoop(Counting()))


def test_a_registration_that_is_refused_cuts_no_call() -> None:
    """The refresh is answered 403 while somebody talks; the call goes on, and so does the connection."""
    answers = [200, 403]

    def answer(request: Request, send: Callable[[bytes], None]) -> None:
        status = 200 if request.method != "REGISTER" or not answers else answers.pop(0)
        contacts = request.headers.all(fields.CONTACT)
        extra = [("Contact", str(one).replace("expires=30", "expires=1")) for one in contacts]
        if request.method == "INVITE":
            # Our own description, without addresses: media of this call come about nowhere, least of all with ourselves.
            lines = re.sub(
                rb"a=candidate:[^\r]*\r\n", b"", request.body.replace(b"a=setup:actpass", b"a=setup:passive")
            )
            kind = ("Content-Type", "application/sdp")
            contact = ("Contact", "<sip:peer@peer.invalid;transport=ws>")
            send(build_response(request, 200, to_tag="peer", extra=[contact, kind], body=lines).to_bytes())
        elif request.method == "SUBSCRIBE":
            send(build_response(request, 489, to_tag="x").to_bytes())
        elif request.method != "ACK":
            send(build_response(request, status, to_tag="x", extra=extra).to_bytes())

    async def scenario() -> None:
        async with odd_server(answer) as port, TestPhone(settings(account("alice", port, expires=30))) as phone:
            await phone.until_online()
            await phone.do(c.Dial(number="peer"))
            call = await phone.until_phase("peer", Phase.TALKING)
            assert (await phone.until_online(Online.FAILED)).problem is Problem.REFUSED
            assert phone.call("peer").phase is Phase.TALKING
            await phone.do(c.Connect())
            await phone.until_online()
            await phone.do(c.HangUp(call=call.id))
            await phone.until_phase("peer", Phase.ENDED)

    play(scenario)
