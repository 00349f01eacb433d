"""The commands without a call of their own: `register`, `options`, `serve`, `devices`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import asdict
from rich.console import Console

from sipproto._entropy import SystemTokens
from sipproto.agent import outputs as o
from sipproto.tokens import token
from sipproto_cli._common import Account, CommandProblem, printable, say
from sipproto_client import run_endpoint
from sipproto_client.port import Runtime
from sipproto_devices import KINDS, Device, DeviceError, list_devices
from sipproto_server import Relayed, ServerConfig, UserChanged, run_server

_console = Console(highlight=False)


async def run_register(runtime: Runtime, account: Account, *, stay: bool) -> int:
    async with run_endpoint(runtime, account.config(), flow=account.flow(), trace=account.trace) as endpoint:
        with endpoint.events() as events:
            await endpoint.connect(account.server)
            registration = await endpoint.register()
            _console.print(
                f"registered for {registration.expires} s as {registration.contact}", markup=False, soft_wrap=True
            )
            if not stay:
                return 0
            async for event in events:
                if isinstance(event, o.RegistrationChanged) and event.state is o.RegistrationState.FAILED:
                    _console.print(f"registration failed: {event.detail}", markup=False, soft_wrap=True)
                elif isinstance(event, o.ConnectionChanged) and event.state is o.ConnectionState.DISCONNECTED:
                    raise CommandProblem(f"the connection was lost: {event.error}")
    return 0


async def run_options(runtime: Runtime, account: Account, target: str | None, timeout: float) -> int:
    async with run_endpoint(runtime, account.config(), flow=account.flow(), trace=account.trace) as endpoint:
        await endpoint.connect(account.server)
        start = runtime.now()
        wanted = f"sip:{account.domain}" if target is None else account.target(target)
        status = await endpoint.options(wanted, timeout)
        _console.print(
            f"{wanted} answered {status} after {1000 * (runtime.now() - start):.0f} ms", markup=False, soft_wrap=True
        )
    return 0


def parse_users(texts: list[str]) -> dict[str, str]:
    """name:password pairs. Raises CommandProblem for what is none."""
    users: dict[str, str] = {}
    for text in texts:
        name, colon, password = text.partition(":")
        if not name or not colon or not password:
            raise CommandProblem("--user takes name:password")
        users[name] = password
    return users


async def run_serve(runtime: Runtime, host: str, port: int, realm: str, users: Mapping[str, str]) -> int:
    from sipproto_server.aiortc import AiortcServices

    shown = dict(users)
    if not shown:
        shown = {name: token(SystemTokens(), 12) for name in ("alice", "bob")}
    media = AiortcServices()

    def watch(output: object) -> None:
        match output:
            case UserChanged(user=user, contact=contact):
                _console.print(f"{user}: {'registered' if contact else 'gone'}", markup=False, soft_wrap=True)
            case Relayed(method=method, target=target) if method in ("INVITE", "BYE", "MESSAGE"):
                _console.print(f"{method} relayed to {target}", markup=False, soft_wrap=True)
            case o.IncomingCall(from_uri=from_uri, to_uri=to_uri):
                _console.print(f"{from_uri} calls {to_uri}", markup=False, soft_wrap=True)
            case o.CallEnded(cause=cause, detail=detail):
                _console.print(f"call ended: {cause.value} {detail}", markup=False, soft_wrap=True)
            case _:
                pass

    config = ServerConfig(realm=realm, users=shown, capabilities=media.capabilities)
    try:
        async with run_server(runtime, config, host=host, port=port, media=media, watch=watch) as server:
            address = f"[{host}]" if ":" in host else host
            _console.print(
                f"listening at ws://{address}:{server.port}/ for the domain {realm}", markup=False, soft_wrap=True
            )
            if not users:  # made up for this run: nobody could know them otherwise
                for name, password in shown.items():
                    _console.print(f"user {name}, password {password}", markup=False, soft_wrap=True)
            _console.print("600 echoes, 700 is a room; Ctrl-C ends the server", markup=False, soft_wrap=True)
            await runtime.wait(runtime.event(), None)
    except OSError as error:
        raise CommandProblem(f"cannot listen at {host} port {port}: {error.strerror or error}") from None
    finally:
        media.close()
    return 0


def print_devices(*, as_json: bool) -> None:
    """One line for each device; why a kind cannot be listed goes to standard error."""
    reasons: list[str] = []
    for kind in KINDS:
        try:
            found = list_devices(kind)
        except DeviceError as error:
            reasons.append(str(error))
            continue
        for device in found:
            words = json.dumps(asdict(device)) if as_json else _device_words(device)
            _console.print(words, markup=False, soft_wrap=True)
    for text in dict.fromkeys(reasons):
        say(text)


def _device_words(device: Device) -> str:
    name = device.ident if device.ident.startswith(device.name) else f"{device.ident} ({device.name})"
    return printable(f"{device.kind:10} {name}{', the default' if device.default else ''}")
