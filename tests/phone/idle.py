"""What a phone costs that is online and has nothing to do: `python -m tests.phone.idle [SECONDS]` (60 unless told).

The server is in this process and the phone in one of its own, of which the kernel's figures are told: CPU time,
wake-ups (voluntary context switches of all of its threads) and memory. Linux only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from attrs import frozen

from sipproto_phone.model import Online
from sipproto_phone.web import run_page
from tests.phone.rig import TestPhone, account, pbx, settings

_SETTLED = 5.0  # seconds after which nothing of the start is left
_TICK = os.sysconf("SC_CLK_TCK")


@frozen(kw_only=True)
class Cost:
    """Of a process since its start: seconds of CPU, wake-ups, and megabytes that are resident now."""

    cpu: float
    wakeups: int
    resident: float


def cost(pid: int) -> Cost:
    proc = Path(f"/proc/{pid}")
    times = (proc / "stat").read_text().rpartition(")")[2].split()
    statuses = [(task / "status").read_text() for task in (proc / "task").iterdir()]
    return Cost(
        cpu=(int(times[11]) + int(times[12])) / _TICK,
        wakeups=sum(_number(status, "voluntary_ctxt_switches") for status in statuses),
        resident=_number((proc / "status").read_text(), "VmRSS") / 1024,
    )


def _number(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])


async def be_phone(port: int) -> None:
    """The child: online, with its page served and nobody at it."""
    async with TestPhone(settings(account("alice", port))) as phone, run_page(phone):
        await phone.until_online(Online.ONLINE)
        print("online", flush=True)
        await anyio.sleep_forever()


async def measure(seconds: float) -> None:
    async with pbx() as server:
        command = [sys.executable, "-m", "tests.phone.idle", "--phone", str(server.port)]
        async with await anyio.open_process(command, stderr=None) as child:
            try:
                await _measured(child, seconds)
            finally:
                child.terminate()


async def _measured(child: Process, seconds: float) -> None:
    assert child.stdout is not None
    with anyio.fail_after(60):
        await TextReceiveStream(child.stdout).receive()  # it is online; the end of the stream is an error
    await anyio.sleep(_SETTLED)
    before = cost(child.pid)
    await anyio.sleep(seconds)
    after = cost(child.pid)
    assert child.returncode is None
    cpu, wakeups = after.cpu - before.cpu, after.wakeups - before.wakeups
    print(
        f"{seconds:g} s idle and online: {cpu:.2f} s of CPU ({100 * cpu / seconds:.3f} %),"
        f" {wakeups} wake-ups ({wakeups / seconds:.2f} per second), {after.resident:.0f} MB resident"
    )


def main(arguments: list[str]) -> None:
    run: Callable[[], Awaitable[None]]
    if arguments[:1] == ["--phone"]:
        run = partial(be_phone, int(arguments[1]))
    else:
        run = partial(measure, float(arguments[0]) if arguments else 60.0)
    anyio.run(run)


if __name__ == "__main__":
    main(sys.argv[1:])
