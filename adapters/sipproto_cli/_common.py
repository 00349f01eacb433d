"""What all commands share: settings, event loops, errors in one line."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import field, frozen

from sipproto.agent import AgentConfig
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto.message import escape_user
from sipproto_client import FlowSettings, TlsSettings
from sipproto_client.port import Runtime

ERROR, INTERRUPTED = 1, 130


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

    def config(self, **more: Any) -> AgentConfig:
        secrets = () if self.password is None else (Secret(username=self.user, password=self.password),)
        return AgentConfig(
            aor=f"sip:{escape_user(self.user)}@{self.domain}",
            display_name=self.display_name,
            secrets=secrets,
            **more,
        )

    def flow(self) -> FlowSettings:
        return FlowSettings(tls=TlsSettings(ca_file=self.ca_file))

    def target(self, text: str) -> str:
        """A number or name becomes an address of our domain; an address stays what it is."""
        return text if ":" in text else f"sip:{text if '@' in text else f'{escape_user(text)}@{self.domain}'}"


class CommandProblem(Exception):
    """Ends a command with one line on standard error and a non-zero exit code."""


def run(name: RuntimeName, function: Callable[[Runtime], Coroutine[Any, Any, int]]) -> int:
    """Runs a command on an event loop. Whatever goes wrong becomes one line and an exit code."""
    try:
        if name is RuntimeName.TRIO:
            import trio

            from sipproto_trio import TrioRuntime

            return trio.run(function, TrioRuntime())
        import anyio

        from sipproto_anyio import AnyioRuntime

        return anyio.run(function, AnyioRuntime(), backend=name.removeprefix("anyio-"))
    except BaseException as error:
        return _explain(error)


def _explain(error: BaseException) -> int:
    while isinstance(error, BaseExceptionGroup):
        _, interrupts = error.split(lambda e: not isinstance(e, KeyboardInterrupt))
        error = (interrupts or error).exceptions[0]
    match error:
        case KeyboardInterrupt():
            return say("interrupted", INTERRUPTED)
        case CommandProblem() | SipProtoError() | OSError():
            return say(str(error))
        case SystemExit():
            raise error
        case _:
            raise error


def say(text: str, code: int = ERROR) -> int:
    """One line on standard error."""
    print(f"sipproto: {text}", file=sys.stderr)
    return code


def check_account(account: Account) -> None:
    """Raises CommandProblem for settings that can never work."""
    try:
        account.config()
    except LocalProtocolError as error:
        raise CommandProblem(str(error)) from None
