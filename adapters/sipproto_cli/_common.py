"""What all commands share: settings, event loops, errors in one line."""

from __future__ import annotations

import enum
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import field, frozen

from sipproto.agent import AgentConfig
from sipproto.agent.media import LineStats
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto.message import escape_user
from sipproto_client import FlowSettings, HostMapping, TlsSettings, TraceFile
from sipproto_client.port import Runtime

ERROR, INTERRUPTED = 1, 130
# Else Ctrl-C strikes whatever task runs, such as the one whose connection has yet to carry the BYE.
_TRIO_OPTIONS: dict[str, Any] = {"restrict_keyboard_interrupt_to_checkpoints": True}


class RuntimeName(enum.StrEnum):
    """The event loops that a command can run on."""

    ASYNCIO = "anyio-asyncio"
    ANYIO_TRIO = "anyio-trio"
    TRIO = "trio"


@frozen(kw_only=True)
class Account:
    """Who we are and where the server is."""

    server: str
    user: str
    domain: str
    password: str | None = field(default=None, repr=False)
    display_name: str = ""
    ca_file: str | None = None
    trace: TraceFile | None = None
    hosts: tuple[HostMapping, ...] = ()

    def config(self, **more: Any) -> AgentConfig:
        secrets = () if self.password is None else (Secret(username=self.user, password=self.password),)
        return AgentConfig(
            aor=f"sip:{escape_user(self.user)}@{self.domain}",
            display_name=self.display_name,
            secrets=secrets,
            **more,
        )

    def flow(self) -> FlowSettings:
        return FlowSettings(tls=TlsSettings(ca_file=self.ca_file), hosts=self.hosts)

    def target(self, text: str) -> str:
        """A number or name becomes an address of our domain; an address stays what it is."""
        return text if ":" in text else f"sip:{text if '@' in text else f'{escape_user(text)}@{self.domain}'}"


class CommandProblem(Exception):
    """Ends a command with one line on standard error and a non-zero exit code."""


def run(name: RuntimeName, function: Callable[[Runtime], Coroutine[Any, Any, int]]) -> int:
    """Runs a command on an event loop. Whatever goes wrong becomes one line and an exit code."""
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        if name is RuntimeName.TRIO:
            import trio

            from sipproto_trio import TrioRuntime

            return trio.run(function, TrioRuntime(), **_TRIO_OPTIONS)
        import anyio

        from sipproto_anyio import AnyioRuntime

        backend = name.removeprefix("anyio-")
        options = _TRIO_OPTIONS if backend == "trio" else {}
        return anyio.run(function, AnyioRuntime(), backend=backend, backend_options=options)
    except BaseException as error:
        return _explain(error)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: object) -> None:
    """SIGTERM ends a command as Ctrl-C does: calls and registration are ended first."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background jobs of a shell
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _explain(error: BaseException) -> int:
    while isinstance(error, BaseExceptionGroup):
        error = (error.subgroup(KeyboardInterrupt) or error).exceptions[0]
    match error:
        case KeyboardInterrupt():
            return say("interrupted", INTERRUPTED)
        case BrokenPipeError():
            # Who read our output has gone; the interpreter must not stumble over the rest of it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return say("nobody reads the output any more")
        case ModuleNotFoundError():
            return say(f"{error.name} is not installed: pip install 'sipproto[all]'")
        case CommandProblem() | SipProtoError() | OSError():
            return say(str(error))
        case SystemExit():
            raise error
        case _:
            raise error


def say(text: str, code: int = ERROR) -> int:
    """One line on standard error."""
    print(f"sipproto: {printable(text)}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """What peers wrote, without what would command a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def figures(line: LineStats) -> str:
    """One line of statistics in words."""
    parts = [f"sent {line.packets_sent} pk / {line.bytes_sent // 1000} kB"]
    parts.append(f"got {line.packets_received} pk / {line.bytes_received // 1000} kB")
    if line.audio_level is not None and line.audio_frequency is not None:
        parts.append(f"level {line.audio_level:.2f}, {line.audio_frequency:.0f} Hz")
    if line.frames_decoded is not None and line.frame_width:
        parts.append(f"{line.frames_decoded} frames {line.frame_width}x{line.frame_height}")
    return f"{line.kind} {line.codec or ''} {line.direction}: " + ", ".join(parts)


def check_account(account: Account) -> None:
    """Raises CommandProblem for settings that can never work."""
    try:
        account.config()
    except LocalProtocolError as error:
        raise CommandProblem(str(error)) from None
