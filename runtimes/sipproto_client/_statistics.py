"""Statistics of a call as an async iterator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from sipproto.agent.inputs import TimeoutElapsed
from sipproto.agent.media import MediaReport
from sipproto.errors import SipProtoError
from sipproto.media import (
    PollingInput,
    SampleDone,
    SampleFailed,
    StartPolling,
    StatisticsPolling,
    StopPolling,
    TakeSample,
)
from sipproto_client._tasks import plain_task_group
from sipproto_client._timer import EngineTimer
from sipproto_client.port import Event, Runtime, TaskGroup


class StatsSamples:
    """What is measured of a call from now on, as an async iterator that ends with the call.

    Who does not keep up gets the newest report only, not those in between.
    """

    def __init__(
        self, runtime: Runtime, tasks: TaskGroup, measure: Callable[[], Awaitable[MediaReport]], interval: float
    ) -> None:
        self._runtime = runtime
        self._tasks = tasks
        self._measure = measure
        self._polling = StatisticsPolling(interval=interval)
        self._timer = EngineTimer(runtime, self._polling.next_timeout, lambda: self._step(TimeoutElapsed()))
        self._newest: MediaReport | None = None
        self._over = False
        self._bell = runtime.event()

    async def run(self, ended: Event) -> None:
        """Takes samples until `ended`, or until cancelled."""
        self._tasks.start_soon(self._timer.run)
        self._step(StartPolling())
        await ended.wait()
        self._step(StopPolling())
        self._over = True
        self._bell.set()

    def _step(self, what: PollingInput) -> None:
        for output in self._polling.handle(what, self._runtime.now()):
            if isinstance(output, TakeSample):  # one that is dropped ends by itself, and is not waited for any more
                self._tasks.start_soon(self._sample, output.number)
        self._timer.look()

    async def _sample(self, number: int) -> None:
        began = self._runtime.now()
        try:
            report = await self._measure()
        except SipProtoError:  # refused, not measured in time, or over: the next one may succeed
            self._step(SampleFailed(number=number))
            return
        self._newest = report
        self._bell.set()
        self._step(SampleDone(number=number, elapsed=max(0.0, self._runtime.now() - began)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MediaReport:
        while self._newest is None:
            if self._over:
                raise StopAsyncIteration
            bell = self._bell
            await bell.wait()
            if self._bell is bell:  # else another task that iterates was first
                self._bell = self._runtime.event()
        report, self._newest = self._newest, None
        return report


@asynccontextmanager
async def sampled(
    runtime: Runtime, measure: Callable[[], Awaitable[MediaReport]], ended: Event, interval: float
) -> AsyncIterator[StatsSamples]:
    """Samples for the length of a block."""
    async with plain_task_group(runtime) as tasks:
        samples = StatsSamples(runtime, tasks, measure, interval)
        tasks.start_soon(samples.run, ended)
        try:
            yield samples
        finally:
            tasks.cancel()
