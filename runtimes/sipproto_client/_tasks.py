"""Task groups: one without its wrapping, one that outlasts the block beside it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sipproto_client.port import Runtime, TaskGroup


@asynccontextmanager
async def plain_task_group(runtime: Runtime) -> AsyncIterator[TaskGroup]:
    """A task group out of which a single error comes as itself: that there is a group is nobody's business outside.

    Only the layer of this group is taken off; a group that the block itself raised stays one.
    """
    try:
        async with runtime.task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


class Background:
    """A task group whose tasks a cancellation from outside does not reach; only `cancel` ends them.

    What a cancelled block has to say at its end, such as BYE, goes out through tasks that must not be cancelled with it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ready = runtime.event()
        self._stop = runtime.event()
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        with self._runtime.shield(math.inf):
            async with plain_task_group(self._runtime) as tasks:
                self._tasks = tasks
                self._ready.set()
                await self._stop.wait()
                tasks.cancel()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(function, *args)

    def cancel(self) -> None:
        self._stop.set()
