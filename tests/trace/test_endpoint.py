"""Real endpoints on every runtime, recorded over loopback and done again without any network."""

from __future__ import annotations

import io
import logging
import os
import stat
from fractions import Fraction
from pathlib import Path
from typing import cast

import pytest

import sipproto_anyio
import sipproto_trio
from sipproto.agent import AgentConfig
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.trace import describe, ladder, read_transcript, replay
from sipproto_client import CommandError, Endpoint, TraceFile, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from tests.client.rig import ANSWER, OFFER, REALM, RUNTIMES, USERS, play, url
from tests.client.test_endpoint import establish

runtimes = pytest.mark.parametrize("name", RUNTIMES)


def config(user: str) -> AgentConfig:
    """With the randomness of the system: what comes of it is in the recording."""
    return AgentConfig(aor=f"sip:{user}@{REALM}", secrets=(Secret(username=user, password=USERS[user]),))


async def talk(runtime: Runtime, alice: Endpoint, bob: Endpoint, port: int) -> None:
    for endpoint in (alice, bob):
        await endpoint.connect(url(port))
        await endpoint.register()
    ours, _ = await establish(runtime, alice, bob)
    assert await ours.send_info("text/plain", b"the private words") == 200
    with pytest.raises(CommandError):
        await alice.call(f"sip:nobody@{REALM}", body=OFFER)
    await ours.hang_up()


@runtimes
def test_a_call_is_recorded_and_done_again(name: str, tmp_path: Path) -> None:
    file = io.StringIO()

    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, config("alice"), trace=tmp_path / "alice.transcript") as alice,
            run_endpoint(runtime, config("bob"), trace=TraceFile(file, bodies=False)) as bob,
        ):
            await talk(runtime, alice, bob, server.port)

    play(name, scenario)
    path = tmp_path / "alice.transcript"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    texts = {"alice": path.read_text(), "bob": file.getvalue()}
    for user, text in texts.items():
        transcript = read_transcript(text)
        result = replay(transcript)
        assert result.equal and transcript.complete, describe(result.first) if result.first else ""
        assert transcript.header.started is not None
        assert 'Authorization: Digest username="' in text and 'response="xxxx' in text
        assert not any(password in text for password in USERS.values())
        assert any(isinstance(step.what, i.Shutdown) for step in transcript.steps)
        assert "REGISTER" in ladder(transcript) and "BYE" in ladder(transcript)
        assert ("the private words" in text) is (user == "alice")
        changed = text.replace(f"sip:{user}@{REALM} SIP/2.0", f"sip:{user}@{REALM[:-1]}x SIP/2.0")
        assert changed == text or not replay(read_transcript(changed)).equal
    assert "SIP/2.0 401" in texts["alice"] and ANSWER.decode().split("\r\n")[1] in texts["alice"]


@pytest.mark.parametrize("name", ["anyio-asyncio", "trio"])
def test_open_endpoint_takes_a_file(name: str, tmp_path: Path) -> None:
    open_endpoint = sipproto_trio.open_endpoint if name == "trio" else sipproto_anyio.open_endpoint
    path = tmp_path / "t"

    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            open_endpoint(config("alice"), trace=str(path)) as alice,
        ):
            await alice.connect(url(server.port))
            assert await alice.options(f"sip:{REALM}") == 200

    play(name, scenario)
    assert replay(read_transcript(path.read_bytes())).equal


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@runtimes
def test_a_full_disk_does_not_end_the_call(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, config("alice"), trace="/dev/full") as alice,
            run_endpoint(runtime, config("bob"), trace=TraceFile("/dev/full")) as bob,
        ):
            await talk(runtime, alice, bob, server.port)

    with caplog.at_level(logging.WARNING, "sipproto.trace"):
        play(name, scenario)
    assert any("the recording" in record.getMessage() for record in caplog.records)


def test_a_closed_file_does_not_end_the_call_either(caplog: pytest.LogCaptureFixture) -> None:
    file = io.StringIO()

    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, config("alice"), trace=file) as alice,
        ):
            await alice.connect(url(server.port))
            file.close()
            await alice.register()

    with caplog.at_level(logging.WARNING, "sipproto.trace"):
        play("anyio-asyncio", scenario)
    assert "the recording stops" in caplog.text


@runtimes
def test_a_file_that_cannot_be_made_is_told_at_once(name: str, tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        with pytest.raises(OSError, match="no-such"):
            async with run_endpoint(runtime, config("alice"), trace=tmp_path / "no-such" / "file"):
                raise AssertionError

    play(name, scenario)


@runtimes
def test_an_error_of_the_block_leaves_a_whole_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t"

    async def scenario(runtime: Runtime) -> None:
        async with run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is tested
                async with run_endpoint(runtime, config("alice"), trace=path) as alice:
                    await alice.connect(url(server.port))
                    await alice.register()
                    raise ZeroDivisionError

    play(name, scenario)
    transcript = read_transcript(path.read_bytes())
    assert transcript.complete and replay(transcript).equal
    assert any(isinstance(out, o.RegistrationChanged) for step in transcript.steps for out in step.outputs)


@runtimes
def test_what_cannot_be_written_down_ends_the_recording_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    file = io.StringIO()

    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, config("alice"), trace=file) as alice,
        ):
            await alice.connect(url(server.port))
            target, odd = f"sip:{REALM}", cast("float", Fraction(5))
            result = await alice.run(lambda n: i.SendOptions(command=n, target=target, timeout=odd))
            assert result == 200

    with caplog.at_level(logging.WARNING, "sipproto.trace"):
        play(name, scenario)
    assert "cannot be written" in caplog.text
    assert not read_transcript(file.getvalue(), partial=True).complete
