"""The phone in a terminal: what lines mean, what is told, and a real one of which nothing but its pipes are known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sipproto_cli._headless import help_lines, news, parsed, shown
from sipproto_phone import commands as c
from sipproto_phone.commands import COMMANDS, CommandProblem
from sipproto_phone.model import CallView, Connection, Mailbox, Online, Outcome, Phase, PhoneState, Problem

from .test_webhook import receiver


def call(ident: str, phase: Phase, **more: Any) -> CallView:
    return CallView(id=ident, phase=phase, incoming=phase is Phase.INCOMING, number="600", **more)


TALKING, HELD, RINGS = call("c1", Phase.TALKING), call("c2", Phase.HELD), call("c3", Phase.INCOMING)


@pytest.mark.parametrize(
    ("line", "calls", "command"),
    [
        ("dial 600", (), c.Dial(number="600")),
        ("dial number=sip:x@example.com", (), c.Dial(number="sip:x@example.com")),
        ("answer", (TALKING, RINGS), c.Answer(call="c3")),
        ("hang-up", (TALKING, RINGS), c.HangUp(call="c3")),
        ("hang_up c1", (TALKING, RINGS), c.HangUp(call="c1")),
        ("hold", (HELD, TALKING), c.Hold(call="c1")),
        ("resume", (TALKING, HELD), c.Resume(call="c2")),
        ("mute on", (TALKING,), c.Mute(call="c1", muted=True)),
        ("mute c1 off", (TALKING,), c.Mute(call="c1", muted=False)),
        ("send_digits 12#", (TALKING,), c.SendDigits(call="c1", digits="12#")),
        ("transfer 601", (TALKING,), c.Transfer(call="c1", number="601")),
        ("transfer other=c2", (TALKING, HELD), c.Transfer(call="c1", other="c2")),
        ("set_volume 0.5", (), c.SetVolume(volume=0.5)),
        ("list_calls anna missed=yes limit=5", (), c.ListCalls(search="anna", missed=True, limit=5)),
        ("save_ticket customer='Anna B' text=hi", (), c.SaveTicket(customer="Anna B", text="hi")),
        (
            "save_account server=example.com login=a port=5061 hosts=a=1.1.1.1,b=2.2.2.2",
            (),
            c.SaveAccount(
                account={"server": "example.com", "login": "a", "port": 5061, "hosts": ["a=1.1.1.1", "b=2.2.2.2"]}
            ),
        ),
        ("save_settings call_waiting=off", (), c.SaveSettings(settings={"call_waiting": False})),
    ],
)
def test_lines(line: str, calls: tuple[CallView, ...], command: Any) -> None:
    assert parsed(line, calls) == command


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("fly", "no command 'fly'"),
        ("dial", "needs number"),
        ("dial 1 2", "takes no '2'"),
        ("dial 'x", "quotation"),
        ("answer", "no such call"),
        ("mute maybe", "on or off"),
        ("set_volume loud", "number"),
        ("import_calls /nowhere.csv", "cannot read"),
    ],
)
def test_lines_that_mean_nothing(line: str, reason: str) -> None:
    with pytest.raises(CommandProblem, match=reason):
        parsed(line, (TALKING,) if line.startswith("mute") else ())


def test_help_names_every_command() -> None:
    assert [line.split()[0] for line in help_lines()] == list(COMMANDS)
    [one] = help_lines("send-digits")
    assert one.split()[:3] == ["send_digits", "[call]", "DIGITS"]


def test_a_journal_is_imported_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("started\n")
    assert parsed(f"import_calls {tmp_path / 'calls.csv'}", ()) == c.ImportCalls(csv="started\n")


def test_news() -> None:
    before = PhoneState(revision=1, language="ru")
    failed = Connection(online=Online.FAILED, problem=Problem.WRONG_PASSWORD, detail="403 Forbidden")
    after = evolve(before, connection=failed, calls=(TALKING,), mailbox=Mailbox(new=2), notice="oops")
    assert list(news(before, after)) == [
        "Ошибка: неверный логин или пароль (403 Forbidden)",
        "Новых сообщений: 2",
        "[c1] -> 600: Разговор",
        "! oops",
    ]
    assert not list(news(after, evolve(after, revision=2)))
    over = evolve(TALKING, phase=Phase.ENDED, outcome=Outcome.BUSY, detail="486")
    assert list(news(after, evolve(after, calls=(over,)))) == ["[c1] -> 600: Занято, 486"]


def test_answers() -> None:
    assert list(shown("dial", "c1")) == ["c1"]
    assert list(shown("hold", None)) == ["ok"]


class Terminal:
    """`sipproto phone --demo --headless`, by its pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in self.process.stdout)

    def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def until(self, *any_of: str, after: int = 0) -> int:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            for place, line in enumerate(list(self.lines)[after:], after):
                if any(words in line for words in any_of):
                    return place + 1
            time.sleep(0.02)
        raise AssertionError(f"no {any_of!r} in {self.lines}")

    def ended(self) -> int:
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # prints what each thread does (PYTHONFAULTHANDLER)
            self._thread.join(10)
            raise AssertionError("\n".join(["it does not end:", *self.lines])) from None
        self._thread.join(10)
        return code


def environment(home: Path) -> dict[str, str]:
    """Of a user who has nothing yet, and no keyring."""
    names = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    keyring = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    return {
        **os.environ,
        **{name: str(home) for name in names},
        **keyring,
        "LC_ALL": "C.UTF-8",
        "PYTHONFAULTHANDLER": "1",
    }


def terminal(home: Path, *options: str) -> AbstractContextManager[Terminal]:
    return started(home, "--demo", "--headless", *options)


@contextmanager
def started(home: Path, *options: str) -> Iterator[Terminal]:
    """`sipproto phone` with these options, without sound; killed at the end of the block."""
    command = [sys.executable, "-m", "sipproto_cli", "phone", "--no-audio-devices", *options]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, env=environment(home), text=True, **pipes)  # type: ignore[call-overload]
    try:
        yield Terminal(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            pipe.close()


def test_a_call_in_the_terminal(tmp_path: Path) -> None:
    with terminal(tmp_path) as phone:
        phone.type("fly", "dial 'x", "hold", "\x00\x1b[2J", "help mute", "x" * 2_000_000)
        phone.until("! there is no command 'fly'")
        phone.until("! there is no such call")
        phone.until("that line is too long")
        phone.until("Online")
        phone.type("dial 600")
        phone.until("-> 600: Talking")
        phone.type("mute on", "hold")
        place = phone.until("On hold, microphone off")
        phone.type("resume", "mute off", "send_digits 1#")
        place = phone.until("-> 600: Talking", after=place)
        phone.type("hang_up")
        phone.until("-> 600: Answered", after=place)
        phone.type("list_calls")
        phone.until("-> 600   answered", after=place)
        assert phone.process.stdin is not None
        phone.process.stdin.close()
        assert phone.ended() == 0
        assert not any("Traceback" in line or "\x1b" in line for line in phone.lines)
    assert not list(tmp_path.iterdir())  # a demo keeps nothing


@pytest.mark.interop  # for its time
def test_a_saved_ticket_is_posted(tmp_path: Path) -> None:
    with receiver() as (port, posted), terminal(tmp_path) as phone:
        phone.type(f"save_settings webhook=http://127.0.0.1:{port}/hook", "save_ticket customer=Анна text='help me'")
        phone.until('"customer": "Анна"')
        deadline = time.monotonic() + 20
        while not posted and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [(path, value["text"]) for path, value in posted] == [("/hook", "help me")]
        phone.type(f"save_settings webhook=http://127.0.0.1:{port}/refused", "save_ticket text=again")
        phone.until("! ticket 2 was saved, but 127.0.0.1 answered 500 to it")
        phone.type("list_tickets", "quit")
        phone.until("again")
        assert phone.ended() == 0


@pytest.mark.interop  # for its time
def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    with terminal(tmp_path) as phone:
        phone.until("Online")
        phone.process.send_signal(signal.SIGINT)
        assert phone.ended() == 130
        assert phone.lines[-1] == "sipproto: interrupted"
        assert not any("Traceback" in line for line in phone.lines)
