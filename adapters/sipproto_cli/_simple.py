"""The commands without a call of their own: `register`, `options`, `devices`."""

from __future__ import annotations

import json

from attrs import asdict
from rich.console import Console

from sipproto.agent import outputs as o
from sipproto_cli._common import Account, CommandProblem, printable, say
from sipproto_client import run_endpoint
from sipproto_client.port import Runtime
from sipproto_devices import KINDS, Device, DeviceError, list_devices

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
