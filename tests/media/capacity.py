"""What calls cost: `python -m tests.media.capacity [seconds]` prints tables for docs/media.md.

Each figure comes from a process of its own, pinned to one core, with both ends of all its calls in one engine. The load
of the machine is printed with it: on one that does other work figures are worse.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import asdict, evolve, frozen

from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_aiortc._engine import CAPABILITIES
from tests.media._rig import End, connect, until

CODECS = {"Opus": ("audio", "opus"), "PCMU": ("audio", "PCMU"), "VP8": ("video", "VP8")}
CALLS = (1, 5, 10, 15)
CYCLES = (100, 500, 1000)
_RATES = {"audio": 50, "video": 15}  # frames per second
_TICK = 0.01


@frozen
class Load:
    """What some calls cost: share of a core, lag of the loop (99 % are below, seconds), frames that arrived of those due."""

    cpu: float
    lag: float
    delivered: float
    rss: float  # MB for each call beyond the first


@frozen
class State:
    """What a process holds."""

    rss: float  # MB
    threads: int
    files: int


def state() -> State:
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return State(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threading.active_count(), len(os.listdir("/proc/self/fd")))


def engine_of(codec: str, loop: str = "asyncio") -> AiortcEngine:
    new_loop: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(loop).new_event_loop
    kind, name = CODECS[codec]
    only = tuple(one for one in getattr(CAPABILITIES, kind) if one.name in (name, "rtx"))[:2]
    capabilities = evolve(CAPABILITIES, **{kind: only})
    return AiortcEngine(include_loopback=True, capabilities=capabilities, loop_factory=new_loop)


def setup_of(codec: str) -> MediaSetup:
    return MediaSetup(audio=Tone(440.0), video=TestPattern())


async def _lags(seconds: float) -> list[float]:
    """How late the loop wakes up, sorted."""
    loop, lags = asyncio.get_running_loop(), []
    end = loop.time() + seconds
    while (start := loop.time()) < end:
        await asyncio.sleep(_TICK)
        lags.append(loop.time() - start - _TICK)
    return sorted(lags)


def load(codec: str, calls: int, loop: str, seconds: float) -> Load:
    kind = CODECS[codec][0]
    engine = engine_of(codec, loop)
    pairs = [(End(engine, setup_of(codec)), End(engine, setup_of(codec))) for _ in range(calls)]
    ends = [end for pair in pairs for end in pair]
    rss = 0.0
    for number, pair in enumerate(pairs):
        connect(*pair, kind)
        until(lambda pair=pair: all(end.line(kind).frames_decoded for end in pair), timeout=30)  # type: ignore[misc]
        if number == 0:
            rss = state().rss
    assert engine._loop is not None
    lags = asyncio.run_coroutine_threadsafe(_lags(seconds), engine._loop)
    before = sum(end.line(kind).frames_decoded or 0 for end in ends)
    start, busy = time.monotonic(), time.process_time()
    late = lags.result()
    busy, passed = time.process_time() - busy, time.monotonic() - start
    frames = sum(end.line(kind).frames_decoded or 0 for end in ends) - before
    rss = (state().rss - rss) / (calls - 1) if calls > 1 else 0.0
    engine.close()
    due = passed * _RATES[kind] * len(ends)
    return Load(busy / passed, late[int(0.99 * len(late))], min(1.0, frames / due), rss)


def cycle(engine: AiortcEngine, count: int, codec: str = "Opus") -> State:
    """Calls that connect and end, one after the other; what is left after them."""
    for _ in range(count):
        a, b = End(engine, setup_of(codec)), End(engine, setup_of(codec))
        connect(a, b, CODECS[codec][0])
        a.close()
        b.close()
        until(lambda: not engine._calls and not engine._closing, timeout=10)
    gc.collect()
    return state()


# -- the tables --------------------------------------------------------------------------------------------------------


def _in_process(*arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.media.capacity", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_loads(seconds: float) -> None:
    loops = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
    print("| codec | loop | calls | a core | core per call | loop lag p99 | frames | MB per call | load |")
    print("| --- |" + " --- |" * 8)
    for codec in CODECS:
        for loop in loops:
            for calls in CALLS:
                one = Load(**_in_process("load", codec, str(calls), loop, str(seconds)))
                print(
                    f"| {codec} | {loop} | {calls} | {one.cpu:.0%} | {one.cpu / calls:.1%} | {1000 * one.lag:.0f} ms "
                    f"| {one.delivered:.1%} | {f'{one.rss:.1f}' if one.rss else ''} | {os.getloadavg()[0]:.1f} |",
                    flush=True,
                )


def print_cycles() -> None:
    print("\n| calls begun and ended | RSS | threads | descriptors |\n| --- | --- | --- | --- |")
    engine, done = engine_of("Opus"), 0
    for count in CYCLES:
        left = cycle(engine, count - done)
        done = count
        print(f"| {count} | {left.rss:.1f} MB | {left.threads} | {left.files} |", flush=True)
    engine.close()


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["load"]:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(asdict(load(arguments[1], int(arguments[2]), arguments[3], float(arguments[4])))))
    elif arguments == ["cycles"]:
        print_cycles()
    else:
        print_loads(float(arguments[0]) if arguments else 10.0)
        print_cycles()


if __name__ == "__main__":
    main(sys.argv[1:])
