"""The command line as a user meets it: processes, their output, their exit codes, their end."""

from __future__ import annotations

import io
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy
import pytest

from sipproto.agent import PublicationState, SubscriptionState
from sipproto.agent import outputs as o
from sipproto_cli import main
from sipproto_cli._events import event_fields
from tests.devices.hardware import FakeSound, sine, strongest
from tests.media._rig import until

SIPPROTO = [sys.executable, "-m", "sipproto_cli"]
DOMAIN = "test.invalid"
RUNTIMES = ("anyio-asyncio", "anyio-trio", "trio")


class Process:
    """A running command. Lines of its output are taken as they come; nothing is waited for without a limit."""

    def __init__(self, *arguments: str, password: str = "pw") -> None:
        self.process = subprocess.Popen(
            [*SIPPROTO, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "SIPPROTO_PASSWORD": password},
            start_new_session=True,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self._errors = b""
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.decode())
        self.lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors = self.process.stderr.read()

    def until(self, text: str, seconds: float = 15.0) -> str:
        while True:
            line = self.lines.get(timeout=seconds)
            assert line is not None, f"ended without {text!r}: {self.end()}"
            if text in line:
                return line

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def interrupt(self, with_signal: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(with_signal)
        return self.end()

    def end(self, seconds: float = 10.0) -> tuple[int, str]:
        """Exit code and standard error."""
        try:
            code = self.process.wait(seconds)
        finally:
            self.process.kill()
            for stream in (self.process.stdin,):
                if stream is not None:
                    stream.close()
            for thread in self._threads:
                thread.join()
            for output in (self.process.stdout, self.process.stderr):
                assert output is not None
                output.close()
        return code, self._errors.decode()


def run(*arguments: str, password: str = "pw") -> tuple[int, str, str]:
    """A command in this process, which is quicker: its exit code and both its outputs."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["sipproto", *arguments])
        patch.setenv("SIPPROTO_PASSWORD", password)
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0, out.getvalue(), errors.getvalue()


def fails(*arguments: str, password: str = "pw") -> str:
    """The one line of a command that cannot work; it ends by itself, with an exit code that says so."""
    code, _, errors = run(*arguments, password=password)
    assert code == 1 and errors.startswith("sipproto: ") and errors.count("\n") == 1, errors
    return errors.removeprefix("sipproto: ").strip()


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with serving() as (_, number):
        yield number


@contextmanager
def serving() -> Iterator[tuple[Process, str]]:
    server = Process("serve", "--port", "0", "--realm", DOMAIN, "--user", "alice:pw", "--user", "bob:pw")
    try:
        line = server.until("listening at")
        yield server, line.split("127.0.0.1:")[1].split("/")[0]
    finally:
        if server.process.poll() is None:
            code, errors = server.interrupt()
            assert (code, errors) == (130, "sipproto: interrupted\n")
        else:
            server.end()


def at(port: str, user: str = "alice") -> list[str]:
    return ["--ws", f"ws://127.0.0.1:{port}/", "--user", user, "--domain", DOMAIN]


def test_help_teaches() -> None:
    out = run("--help")[1]
    commands = ("demo", "call", "answer", "register", "options", "serve", "agent", "devices", "version")
    assert all(command in out for command in commands) and "sipproto demo" in out
    for arguments, words in (
        (["call", "--help"], ("--ws", "--record", "SIPPROTO_PASSWORD", "--duration")),
        (["serve", "--help"], ("--realm", "name:password", "600")),
        (["agent", "--help"], ("JSON", "docs/agent.md")),
    ):
        out = run(*arguments)[1]
        assert all(word in out for word in words), out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["call"], "Missing argument"),
        (["serve", "--port", "99999"], "--port"),
        (["demo", "--runtime", "twisted"], "twisted"),
        (["demo", "opera"], "opera"),
        (["serve", "--bogus"], "No such option: --bogus"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    code, out, errors = run(*arguments)
    assert code == 2 and words in errors and "Traceback" not in errors and out == ""


def test_arguments_that_cannot_work(tmp_path: Path) -> None:
    account = ["--ws", "ws://127.0.0.1:1/", "--user", "alice"]
    assert fails("register", *account) == "nothing listens at 127.0.0.1:1: connection refused"
    assert fails("register", "--ws", "http://x/", "--user", "a").startswith("http://x/ is no server address")
    assert "unknown" in fails("options", "--ws", "ws://nobody.invalid/")
    assert "control character" in fails("call", "600", *account, "--name", "x\r\nEvil: y")
    secure = ["--ws", "wss://127.0.0.1:1/", "--user", "alice", "--ca-file"]
    assert "No such file" in fails("register", *secure, "/nonexistent.pem")
    (tmp_path / "not.pem").write_text("no certificate")
    assert "no certificates" in fails("register", *secure, str(tmp_path / "not.pem"))
    assert fails("serve", "--user", "alice") == "--user takes name:password"
    assert fails("serve", "--host", "nobody.invalid").startswith("cannot listen at nobody.invalid")
    assert "needs --user" in fails("agent", "--ws", "ws://127.0.0.1:1/")
    assert "connection refused" in fails("agent", *account)


def test_the_console_of_a_server() -> None:
    server = Process("serve", "--port", "0", "--realm", DOMAIN, "--guests", "--presentation", "ask")
    server.until("user alice, password ")
    token = server.until("API at http://127.0.0.1:")
    server.until("help lists the commands")
    port, secret = re.findall(r"127.0.0.1:(\d+)/, Authorization: Bearer (\w{32})", token)[0]
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/rooms", headers={"Authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert [room["room"] for room in json.load(answer)] == ["purgatory", "800"]
    server.write(b"\nkick p1\n\xff\n")
    server.until("there is no participant 'p1'")
    server.until("there is no command")
    server.write(b"policy\nquit\n")
    server.until("presentation ask, camera allow")
    assert server.end() == (0, "")


@pytest.mark.parametrize(("given", "ends"), [(b"", False), (b"rooms\n", True)])
def test_a_server_whose_input_ends(given: bytes, ends: bool) -> None:
    """With the last command, too; without any, as in the background, it goes on."""
    server = Process("serve", "--port", "0", "--no-api")
    server.until("help lists the commands")
    assert server.process.stdin is not None
    server.write(given)
    server.process.stdin.close()
    if ends:
        assert server.end() == (0, "")
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.5)
        assert server.interrupt() == (130, "sipproto: interrupted\n")


def test_what_a_server_refuses(port: str) -> None:
    assert fails("register", *at(port), password="wrong") == "wrong user name or password"
    assert "cannot record" in fails("call", "600", *at(port), "--record", "/nonexistent/x.wav")
    assert "cannot read the file" in fails("call", "600", *at(port), "--file", "/nonexistent.wav")
    assert "404" in fails("call", "nobody", *at(port))
    assert fails("call", "600\r\nX: y", *at(port))
    assert "already in use" in fails("serve", "--port", port)
    assert fails("serve", "--port", "0", "--api-port", port).startswith(f"the API cannot listen at port {port}: ")
    assert fails("register", "--ws", f"wss://127.0.0.1:{port}/", "--user", "alice").startswith(
        ("TLS with", "127.0.0.1")
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_registering_and_options(port: str, runtime: str) -> None:
    process = Process("register", *at(port), "--runtime", runtime)
    process.until("registered for 600 s")
    assert process.end() == (0, "")
    process = Process("options", *at(port), "--runtime", runtime)
    process.until(f"sip:{DOMAIN} answered 200")
    assert process.end() == (0, "")


def test_a_call_to_the_echo_in_json(port: str, tmp_path: Path) -> None:
    record = tmp_path / "heard.wav"
    process = Process("call", "600", *at(port), "--duration", "2", "--json", "--loopback", "--record", str(record))
    stats = json.loads(process.until('"stats"'))
    assert process.end() == (0, "")
    assert abs(stats["audio"]["frequency"] - 440) < 20 and stats["audio"]["received"]["packets"] > 50
    assert record.stat().st_size > 50_000


def test_a_call_with_microphone_and_speaker(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeSound()
    card.hears = sine(1000.0)
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    names = ("--microphone", "Mic", "--speaker", "default")
    code, out, errors = run("call", "600", *at(port), *names, "--duration", "2", "--json", "--loopback")
    assert (code, errors) == (0, "")
    stats = json.loads(out.splitlines()[-1])
    assert stats["audio"]["sent"]["packets"] > 50
    assert numpy.count_nonzero(card.played) > 24000 and strongest(card.played[-24000:]) == pytest.approx(1000, abs=5)
    until(lambda: all(stream.closed for stream in card.streams))
    assert fails("call", "600", *at(port), "--microphone", "Nothing").startswith("there is no input device 'Nothing'")
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    assert "sipproto[aec]" in fails("call", "600", *at(port), *names, "--echo-cancellation")


def test_devices_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound())
    monkeypatch.setenv("DISPLAY", ":7")
    code, out, errors = run("devices")
    assert (code, errors) == (0, "")
    assert "microphone Mic, Fake, the default\n" in out and "screen     :7 (X11 display :7), the default\n" in out
    lines = [json.loads(line) for line in run("devices", "--json")[1].splitlines()]
    assert {"kind": "speaker", "ident": "Box, Fake", "name": "Box", "default": True} in lines
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert only_line(run("devices")) == "sound devices need the extra: pip install 'sipproto[devices]'"


def only_line(outcome: tuple[int, str, str]) -> str:
    """The one line on standard error of a command that did what it could."""
    assert outcome[0] == 0 and outcome[2].count("\n") == 1
    return outcome[2].removeprefix("sipproto: ").strip()


def test_a_server_killed_in_a_call() -> None:
    with serving() as (server, port):
        call = Process("call", "600", *at(port), "--loopback", "--grace", "0")
        answer = Process("answer", *at(port, "bob"), "--grace", "0")
        server.until("bob: registered")
        call.until("established")
        server.process.kill()
        assert call.end() == (1, "sipproto: the call was cut off: the connection to the server was lost\n")
        code, errors = answer.end()
        assert code == 1 and errors.startswith("sipproto: the connection") and errors.count("\n") == 1


@contextmanager
def silent_server() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener, str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("command", "runtime"),
    [(["register"], "trio"), (["register"], "anyio-asyncio"), (["call", "600"], "anyio-trio"), (["agent"], "trio")],
)
def test_ctrl_c_while_connecting(command: list[str], runtime: str) -> None:
    with silent_server() as (listener, port):
        process = Process(*command, *at(port), "--runtime", runtime)
        with listener.accept()[0] as peer:
            assert peer.recv(100).startswith(b"GET")
            assert process.interrupt() == (130, "sipproto: interrupted\n")


@pytest.mark.parametrize("runtime", ["anyio-asyncio", "trio"])
def test_ctrl_c_later_on(runtime: str) -> None:
    """While registered, ringing, in a call: each is ended in order, which the server sees."""
    with serving() as (server, port):
        stay = Process("register", *at(port, "bob"), "--stay", "--runtime", runtime)
        server.until("bob: registered")
        assert stay.interrupt() == (130, "sipproto: interrupted\n")
        server.until("bob: gone")
        call = Process("call", "600", *at(port), "--loopback", "--runtime", runtime)
        call.until("established")
        assert call.interrupt() == (130, "sipproto: interrupted\n")
        server.until("call ended: terminated")


def test_ctrl_c_while_it_rings() -> None:
    with serving() as (_, port):
        bob = Process("agent", *at(port, "bob"), "--register")
        bob.until('"registered"')
        call = Process("call", "bob", *at(port), "--loopback")
        bob.until('"incoming"')
        assert call.interrupt() == (130, "sipproto: interrupted\n")
        assert json.loads(bob.until('"ended"'))["cause"] == "canceled"
        assert bob.interrupt() == (130, "sipproto: interrupted\n")


def test_sigterm_ends_a_call_in_order() -> None:
    with serving() as (server, port):
        call = Process("call", "600", *at(port), "--loopback", "--json")
        call.until('"established"')
        assert call.interrupt(signal.SIGTERM) == (130, "sipproto: interrupted\n")
        assert "terminated" in server.until("call ended")


def test_ctrl_c_in_the_demo() -> None:
    process = Process("demo", "call")
    process.until("alice calls bob")
    assert process.interrupt() == (130, "sipproto: interrupted\n")


def test_nobody_reads_the_output() -> None:
    process = subprocess.Popen([*SIPPROTO, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    try:
        errors = process.stderr.read().decode()
        assert process.wait(10) == 1
    finally:
        process.kill()
        process.stderr.close()
    assert errors in ("", "sipproto: nobody reads the output any more\n")  # rich ends silently


# -- the JSON agent --------------------------------------------------------------------------------------------------


class Agent(Process):
    def ask(self, **fields: object) -> dict[str, object]:
        self.write(json.dumps({"id": 1, **fields}).encode() + b"\n")
        reply = json.loads(self.until('"reply"'))
        assert isinstance(reply, dict)
        return reply

    def refused(self, **fields: object) -> str:
        reply = self.ask(**fields)
        assert reply["ok"] is False
        error = reply["error"]
        assert isinstance(error, dict)
        return str(error["code"])

    def complaint(self, line: bytes) -> str:
        self.write(line + b"\n")
        return str(json.loads(self.until('"error"'))["message"])


@pytest.mark.parametrize("runtime", ["anyio-asyncio", "trio"])
def test_an_agent_survives_whatever_it_is_told(port: str, runtime: str) -> None:
    agent = Agent("agent", "--runtime", runtime)
    needy = [
        "register",
        "unregister",
        "call",
        "answer",
        "reject",
        "hangup",
        "hold",
        "resume",
        "dtmf",
        "info",
        "message",
        "options",
        "stats",
        "sdp",
        "transfer",
    ]
    assert {agent.refused(command=command, target="600") for command in needy} == {"invalid_state", "no_call"}
    assert agent.refused(command="fly") == "unknown_command"
    for line in (b"{", b"[]", b"7", b'{"command": 5}', b"\xff\xfe", b"[" * 100_000, b"{" + b"x" * 2_000_000 + b"}"):
        assert "cannot read a command" in agent.complaint(line)
    address = {"url": f"ws://127.0.0.1:{port}/", "user": "alice", "domain": DOMAIN, "password": "pw"}
    assert agent.refused(command="open") == "bad_field"
    wrong: Mapping[str, object]
    for wrong in ({"url": 5}, {"user": None}, {"password": 7}, {"ca_file": []}, {"display_name": {}}):
        assert agent.refused(command="open", **{**address, **wrong}) == "bad_field"
    for wrong in ({"url": "x"}, {"domain": "a b"}, {"display_name": "x\r\ny"}):
        assert agent.refused(command="open", **{**address, **wrong}) == "invalid_state"
    assert agent.refused(command="open", **{**address, "url": "ws://127.0.0.1:1/"}) == "connection_error"
    assert agent.refused(command="open", register=True, **{**address, "password": "no"}) == "authentication_error"
    assert agent.ask(command="open", register=True, **address)["ok"] is True
    assert agent.ask(command="options", target=f"sip:{DOMAIN}")["status"] == 200
    assert agent.refused(command="options", target="600", timeout="soon") == "bad_field"
    assert agent.refused(command="call") == "bad_field"
    assert agent.refused(command="call", target="600\r\nX: y") in ("invalid_state", "bad_field")
    assert agent.refused(command="call", target="nobody\ud800") in ("not_found", "invalid_state", "bad_field")
    assert agent.refused(command="call", target="600", audio=False) == "bad_field"
    assert agent.refused(command="color", color=[1, 2]) == "bad_field"
    assert agent.refused(command="color", color=[256, 0, 0]) == "bad_field"
    agent.write(b'{"id": 1, "command": "color", "color": [Infinity, 1, 2]}\n')
    assert "bad_field" in agent.until('"reply"')
    assert agent.ask(command="tone", frequency=500)["ok"] is True
    assert agent.refused(command="dtmf", digits="1", transport="smoke") == "not_supported"
    assert agent.refused(command="dtmf", digits="1", transport="RTP") == "no_call"
    assert agent.refused(command="hangup", call="in-9") == "no_call"
    assert agent.refused(command="accept_transfer") == agent.refused(command="reject_transfer") == "no_transfer"
    assert agent.refused(command="subscribe", target="bob") == "bad_field"
    assert agent.refused(command="unsubscribe", subscription="sub-9") == "invalid_state"
    assert agent.ask(command="unregister")["ok"] is True
    assert agent.ask(command="close")["ok"] is True
    assert agent.refused(command="register") == "invalid_state"
    assert agent.ask(command="quit")["ok"] is True
    assert agent.end() == (0, "")


@pytest.mark.interop  # for its time
def test_transfers_and_subscriptions_of_agents() -> None:
    with serving() as (_, port):
        alice, bob = (Agent("agent", *at(port, user), "--loopback", "--register") for user in ("alice", "bob"))
        for agent in (alice, bob):
            agent.until('"registered"')
        alice.write(json.dumps({"id": 2, "command": "call", "target": "bob"}).encode() + b"\n")
        bob.until('"incoming"')
        assert bob.ask(command="answer")["ok"] is True
        assert json.loads(alice.until('"reply"'))["ok"] is True
        alice.write(json.dumps({"id": 3, "command": "transfer", "target": "600"}).encode() + b"\n")
        asked = json.loads(bob.until('"transfer"'))
        assert (asked["event"], asked["state"], asked["target"]) == ("transfer", "requested", f"sip:600@{DOMAIN}")
        assert bob.ask(command="accept_transfer", transfer=asked["transfer"])["ok"] is True
        told = json.loads(alice.until('"transfer"'))
        assert (told["event"], told["state"]) == ("transfer", "progress") and 100 <= told["status"] <= 200
        assert json.loads(alice.until('"reply"'))["status"] == 200
        # bob has no such package
        assert alice.refused(command="subscribe", target="bob", package="presence") == "sip_failure_code"
        for agent in (alice, bob):
            assert agent.ask(command="quit")["ok"] is True
            assert agent.end() == (0, "")


SUBSCRIBED = o.SubscriptionChanged(subscription="sub-1", state=SubscriptionState.ACTIVE, expires=600)
NOTIFIED = o.NotifyReceived(subscription="sub-1", event="presence", content_type="text/plain", body=b"here", headers=())


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (SUBSCRIBED, {"event": "subscription", "subscription": "sub-1", "state": "active", "expires": 600}),
        (
            NOTIFIED,
            {
                "event": "notify",
                "subscription": "sub-1",
                "package": "presence",
                "content_type": "text/plain",
                "body": "here",
            },
        ),
        (
            o.NotificationReceived(from_uri="sip:pbx", event="", content_type="text/plain", body=b"\xff"),
            {"event": "notify", "from": "sip:pbx", "package": "", "content_type": "text/plain", "body": "\ufffd"},
        ),
        (
            o.SubscriptionEnded(subscription="w", cause=o.Cause.EXPIRED),
            {"event": "watcher", "subscription": "w", "state": "ended", "cause": "expired", "reason": "", "detail": ""},
        ),
        (
            o.PublicationChanged(publication="p", state=PublicationState.ENDED, cause=o.Cause.TERMINATED),
            {"event": "publication", "publication": "p", "state": "ended", "cause": "terminated"},
        ),
        (
            o.CallEnded(
                call="c",
                cause=o.Cause.CANCELED,
                originator=o.Originator.REMOTE,
                reasons=(o.Reason(protocol="SIP", cause=200),),
            ),
            {
                "event": "call",
                "call": "c",
                "state": "ended",
                "originator": "remote",
                "cause": "canceled",
                "detail": "",
                "reasons": [{"protocol": "SIP", "cause": 200, "text": ""}],
            },
        ),
    ],
)
def test_events_as_json(event: o.Event, expected: dict[str, object]) -> None:
    assert event_fields(event) == expected


def test_an_agent_in_a_call_whose_input_ends() -> None:
    with serving() as (server, port):
        agent = Agent("agent", *at(port), "--loopback", "--register")
        reply = agent.ask(command="call", target="600", video=True)
        assert reply["ok"] is True
        stats = agent.ask(command="stats")
        assert "audio" in stats and "video" in stats
        assert "m=audio" in str(agent.ask(command="sdp")["local"])
        for command in ("hold", "resume"):
            assert agent.ask(command=command)["ok"] is True
        assert agent.ask(command="info", content_type="text/plain", body="x")["ok"] in (True, False)
        assert agent.process.stdin is not None
        agent.process.stdin.close()
        assert agent.end() == (0, "")
        server.until("call ended: terminated")


def test_ctrl_c_while_an_agent_reads() -> None:
    agent = Agent("agent")
    assert agent.refused(command="fly") == "unknown_command"
    assert agent.interrupt() == (130, "sipproto: interrupted\n")


# -- the demo --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["trio"])
def test_the_demo(runtime: str) -> None:
    process = Process("demo", "call", "--runtime", runtime)
    process.until("alice hears 660 Hz", 25.0)
    process.until("Measured (call set-up")
    process.until("All good.")
    assert process.end() == (0, "")
