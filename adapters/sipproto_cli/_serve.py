"""The command `serve`: the embedded server with its console and its HTTP API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

from attrs import frozen
from rich.console import Console as Terminal

from sipproto._entropy import SystemTokens
from sipproto.tokens import token
from sipproto_cli._common import CommandProblem
from sipproto_cli._stdin import StdinLines
from sipproto_client.port import Runtime
from sipproto_server import ConferencePolicy, Server, ServerConfig, ServerOutput, run_server
from sipproto_server.console import Console, describe

_PROMPT = "sipproto> "
_TOKEN_LENGTH = 32  # characters
_terminal = Terminal(highlight=False)


@frozen(kw_only=True)
class ServeOptions:
    """What the command line says. users: none are made up. api_port: None for no API, 0 for a free port."""

    host: str
    port: int
    realm: str
    users: Mapping[str, str]
    guests: bool
    policy: ConferencePolicy
    console: bool
    api_port: int | None


def parse_users(texts: list[str]) -> dict[str, str]:
    """name:password pairs. Raises CommandProblem for what is none."""
    users: dict[str, str] = {}
    for text in texts:
        name, colon, password = text.partition(":")
        if not name or not colon or not password:
            raise CommandProblem("--user takes name:password")
        users[name] = password
    return users


class _Screen:
    """Lines on standard output; where somebody types, the prompt comes after them."""

    def __init__(self, *, prompts: bool) -> None:
        self._prompts = prompts

    def say(self, *lines: str) -> None:
        if self._prompts:
            _terminal.print("\r", end="")
        for line in lines:
            _terminal.print(line, markup=False, soft_wrap=True)
        if self._prompts:
            _terminal.print(_PROMPT, end="", markup=False)

    def watch(self, output: ServerOutput) -> None:
        text = describe(output)
        if text is not None:
            self.say(text)


async def run_serve(runtime: Runtime, options: ServeOptions) -> int:
    from sipproto_server.aiortc import AiortcServices

    users = dict(options.users) or {name: token(SystemTokens(), 12) for name in ("alice", "bob")}
    media = AiortcServices()
    config = ServerConfig(
        realm=options.realm,
        users=users,
        guests=options.guests,
        policy=options.policy,
        capabilities=media.capabilities,
    )
    screen = _Screen(prompts=options.console and os.isatty(0) and os.isatty(1))
    host = options.host
    try:
        async with (
            run_server(runtime, config, host=host, port=options.port, media=media, watch=screen.watch) as server,
            AsyncExitStack() as stack,
        ):
            address = f"[{host}]" if ":" in host else host
            lines = [f"listening at ws://{address}:{server.port}/ for the domain {options.realm}"]
            if not options.users:  # made up for this run: nobody could know them otherwise
                lines += [f"user {name}, password {password}" for name, password in users.items()]
            if options.api_port is not None:
                lines.append(await _begin_api(runtime, server, options.api_port, stack))
            lines.append("600 echoes, 700 is a room, 800 a conference; help lists the commands, Ctrl-C ends the server")
            screen.say(*lines)
            if not (options.console and await _serve_console(runtime, server, screen)):
                await runtime.wait(runtime.event(), None)
    except OSError as error:
        raise CommandProblem(f"cannot listen at {host} port {options.port}: {error.strerror or error}") from None
    finally:
        media.close()
    return 0


async def _begin_api(runtime: Runtime, server: Server, port: int, stack: AsyncExitStack) -> str:
    """For as long as `stack` lasts; the line that tells of it."""
    from sipproto_server.http import run_http_api

    secret = token(SystemTokens(), _TOKEN_LENGTH)
    try:
        actual = await stack.enter_async_context(run_http_api(runtime, server, token=secret, port=port))
    except OSError as error:
        raise CommandProblem(f"the API cannot listen at port {port}: {error.strerror or error}") from None
    return f"API at http://127.0.0.1:{actual}/, Authorization: Bearer {secret}"


async def _serve_console(runtime: Runtime, server: Server, screen: _Screen) -> bool:
    """Takes commands until there are no more. Whether there were any: a server without an input goes on."""
    console = Console(server)
    anything = os.isatty(0)
    async for line in StdinLines(runtime):
        anything = True
        screen.say(*(console.line(line) if line is not None else ("the line is too long",)))
        if console.ended:
            break
    return anything
