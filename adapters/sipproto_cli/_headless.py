"""`sipproto phone --headless`: the commands of the phone as lines, its states as lines."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
from attrs import NOTHING, fields

from sipproto.errors import SipProtoError
from sipproto_anyio import AnyioRuntime
from sipproto_cli._common import printable
from sipproto_cli._stdin import StdinLines
from sipproto_phone.commands import COMMANDS, CommandProblem, command_of
from sipproto_phone.model import CallView, Phase, PhoneState
from sipproto_phone.phone import Phone
from sipproto_phone.ports import Account, Settings
from sipproto_phone.texts import text

WELCOME = (
    "commands: dial NUMBER, answer, hang_up, hold, resume, mute on, send_digits 12#, ... `help` lists all, `quit` ends"
)
_YES, _NO = ("on", "yes", "true", "1"), ("off", "no", "false", "0")
_DICTS: dict[str, type] = {"account": Account, "settings": Settings}  # whose fields go into a field of a command
_FILES = ("csv",)  # fields that are given as the name of a file


# -- what was typed ----------------------------------------------------------------------------------------------------


def parsed(line: str, calls: tuple[CallView, ...]) -> Any:
    """The command of a line: its name, then values in order or as name=value. The call that is meant may be left out.

    Raises CommandProblem.
    """
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        raise CommandProblem(f"that line cannot be read: {error}", "bad_field") from None
    name = name.replace("-", "_")
    kind = COMMANDS.get(name)
    if kind is None:
        raise CommandProblem(f"there is no command {name!r}; `help` lists all", "unknown_command")
    known = {attribute.name: str(attribute.type) for attribute in fields(kind)}
    given = _given(name, known, words, {call.id for call in calls})
    if "call" in known and known["call"] == "str" and "call" not in given:
        given["call"] = _meant(name, calls)
    return command_of(name, {key: _value(key, known[key], value) for key, value in given.items()})


def _given(name: str, known: dict[str, str], words: list[str], idents: set[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    whole = next((key for key in known if key in _DICTS), None)
    if whole is not None:
        given[whole] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in known:
            given[key] = value
        elif equals and whole is not None:
            given[whole][key] = value
        else:
            free = [one for one in known if one not in given and not (one == "call" and word not in idents)]
            if not free:
                raise CommandProblem(f"{name} takes no {word!r}; `help {name}` says what it takes", "bad_field")
            given[free[0]] = word
    return given


def _meant(name: str, calls: tuple[CallView, ...]) -> str:
    """The call of a command that names none: who rings for `answer` and `hang_up`, else who is talked to, else any."""
    ringing = [call for call in calls if call.phase is Phase.INCOMING]
    others = [call for call in calls if call.phase not in (Phase.INCOMING, Phase.ENDED)]
    held = [call for call in others if call.phase is Phase.HELD]
    talking = [call for call in others if call.phase is not Phase.HELD]
    order = {"answer": ringing, "hang_up": ringing + talking + held, "resume": held}.get(name, talking + held)
    if not order:
        raise CommandProblem("there is no such call", "no_call")
    return order[0].id


def _value(key: str, kind: str, value: Any) -> Any:
    if isinstance(value, dict):
        known = {attribute.name: str(attribute.type) for attribute in fields(_DICTS[key])}
        return {name: _value(name, known.get(name, "str"), one) for name, one in value.items()}
    if key in _FILES:
        try:
            return Path(value).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise CommandProblem(f"cannot read the file {value}", "bad_field") from None
    if kind == "bool":
        if value.lower() not in _YES + _NO:
            raise CommandProblem(f"{key} is on or off", "bad_field")
        return value.lower() in _YES
    if kind.startswith("tuple"):
        return [part.strip() for part in value.split(",")]
    for word, number in (("int", int), ("float", float)):
        if kind.startswith(word):
            try:
                return number(value)
            except ValueError:
                raise CommandProblem(f"{key} has to be a number", "bad_field") from None
    return value


def help_lines(name: str = "") -> Iterator[str]:
    """All commands, or one, with what they take."""
    if name and name.replace("-", "_") not in COMMANDS:
        raise CommandProblem(f"there is no command {name!r}; `help` lists all", "unknown_command")
    for one, kind in COMMANDS.items():
        if name and one != name.replace("-", "_"):
            continue
        words = [_usage(attribute) for attribute in fields(kind)]
        about = " ".join((kind.__doc__ or "").split())
        yield f"{' '.join([one, *words]):44}  {about if name else about.partition('. ')[0]}".rstrip()


def _usage(attribute: Any) -> str:
    name: str = attribute.name
    if name in _DICTS:
        return "name=value ..."
    return name.upper() if attribute.default is NOTHING and name != "call" else f"[{name}]"


# -- what is shown -----------------------------------------------------------------------------------------------------


def news(before: PhoneState, after: PhoneState) -> Iterator[str]:
    """What has changed, as lines for a terminal: no figures, and no countdown."""
    language = after.language
    then, now = before.connection, after.connection
    if (then.online, then.problem, then.detail) != (now.online, now.problem, now.detail) or not before.revision:
        line = text(language, f"online_{now.online.value}")
        if now.problem is not None:
            line += f": {text(language, f'problem_{now.problem.value}')}"
        yield f"{line} ({now.detail})" if now.detail else line
        if now.certificate is not None:
            one = now.certificate
            yield f"{text(language, 'certificate')}: trust_certificate {one.host} {one.fingerprint}"
    if after.mailbox.new and before.mailbox != after.mailbox:
        yield text(language, "mailbox_new", count=after.mailbox.new)
    known = {call.id: call for call in before.calls}
    for call in after.calls:
        line = _call_line(language, call)
        if call.id not in known or _call_line(language, known[call.id]) != line:
            yield line
    for then_text, now_text in ((before.notice, after.notice), (before.devices.problem, after.devices.problem)):
        if now_text and now_text != then_text:
            yield f"! {now_text}"


def _call_line(language: str, call: CallView) -> str:
    ended = call.phase is Phase.ENDED and call.outcome is not None
    words = [text(language, f"outcome_{call.outcome.value}" if ended and call.outcome else f"phase_{call.phase.value}")]
    words += [text(language, "held_by_peer")] if call.held_by_peer else []
    words += [text(language, "muted")] if call.muted else []
    words += [text(language, "transfer_status", status=call.transfer)] if call.transfer is not None else []
    words += [call.detail] if ended and call.detail else []
    name = f"{call.name} {call.shown_number or call.number}".strip()
    return f"[{call.id}] {'<-' if call.incoming else '->'} {name}: {', '.join(words)}"


def shown(command: str, result: Any) -> Iterator[str]:
    """The answer of a command."""
    if command == "list_calls":
        for one in result:
            at = datetime.fromtimestamp(one["started"]).astimezone().strftime("%Y-%m-%d %H:%M")
            way = "<-" if one["incoming"] else "->"
            yield f"{one['id']:>5}  {at}  {way} {one['number']} {one['name']}  {one['outcome']}  {one['duration']:.0f} s"
    elif command == "list_tickets":
        for one in result:
            yield f"{one['id']:>5}  {one['status']:6}  {one['customer']} {one['contact']} {one['number']}: {one['text']}"
    elif isinstance(result, str):
        yield from result.splitlines()
    elif result is not None:
        yield from json.dumps(result, ensure_ascii=False, indent=1).splitlines()
    else:
        yield "ok"


# -- the conversation --------------------------------------------------------------------------------------------------


async def run_headless(phone: Phone, say: Callable[[str], None] = print) -> None:
    """Until end of input or `quit`. Wrong input is told in a line, and never ends it."""

    def out(line: str) -> None:
        say(printable(line))

    out(WELCOME)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, phone, out)
        tasks.start_soon(_until_quit, phone, tasks.cancel_scope)
        lines = StdinLines(AnyioRuntime()).__aiter__()
        async for line in lines:
            if line is None:
                out("! that line is too long")
                continue
            try:
                await _carry_out(phone, line.strip(), lines, out)
            except SipProtoError as error:
                out(f"! {error}")
        tasks.cancel_scope.cancel()


async def _until_quit(phone: Phone, scope: anyio.CancelScope) -> None:
    await phone.wait_quit()
    scope.cancel()


async def _watch(phone: Phone, out: Callable[[str], None]) -> None:
    before = PhoneState()
    async for state in phone.changes():
        for line in news(before, state):
            out(line)
        before = state


async def _carry_out(phone: Phone, line: str, lines: Any, out: Callable[[str], None]) -> None:
    word, _, rest = line.partition(" ")
    if word in ("help", "?"):
        for one in help_lines(rest.strip()):
            out(one)
        return
    command = parsed(line, phone.state.calls)
    if word.replace("-", "_") == "save_account" and command.password is None:
        password = await _password(lines, out)
        command = command_of("save_account", {"account": command.account, "password": password or None})
    result = await phone.do(command)
    for one in shown(word.replace("-", "_"), result):
        out(one)


async def _password(lines: Any, out: Callable[[str], None]) -> str | None:
    """From the environment, or typed unseen; None where nobody types."""
    if (given := os.environ.get("SIPPROTO_PASSWORD")) is not None:
        return given
    if not sys.stdin.isatty():
        return None
    out("password (empty: as it was):")
    with _unseen():
        line: str | None = await anext(lines, None)
    return line


@contextmanager
def _unseen() -> Iterator[None]:
    try:
        import termios
    except ImportError:  # no POSIX: it is seen
        yield
        return
    before = termios.tcgetattr(0)
    hidden = termios.tcgetattr(0)
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
