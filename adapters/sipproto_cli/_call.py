"""`sipproto call` and `sipproto answer`: one call with anything that speaks SIP over WebSocket."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable

from attrs import frozen
from rich.console import Console

from sipproto.agent import outputs as o
from sipproto.agent.media import MediaReport
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup, TestPattern, Tone
from sipproto_cli._agent import event_fields, media_of, stats_fields
from sipproto_cli._common import Account
from sipproto_cli._view import figures
from sipproto_client import Call, Endpoint, Subscription, run_endpoint
from sipproto_client.port import Runtime


@frozen(kw_only=True)
class CallOptions:
    """What a call of the command line sends and keeps. `duration`: seconds from its establishment, None without limit."""

    audio: bool = True
    video: bool = False
    tone: float = 440.0
    file: str | None = None
    record: str | None = None
    duration: float | None = None
    json: bool = False
    register: bool = False
    include_loopback: bool = False

    @property
    def setup(self) -> MediaSetup:
        audio = Tone(self.tone) if self.file is None else FileSource(self.file)
        video = TestPattern() if self.file is None else FileSource(self.file)
        return MediaSetup(audio=audio, video=video if self.video else None, record=self.record)


class Reporter:
    """Tells what happens: lines for people, JSON for machines."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(file=sys.stderr if as_json else None, highlight=False)

    def event(self, event: o.Event) -> None:
        fields = event_fields(event)
        if fields is None:
            return
        if self._json:
            print(json.dumps(fields, ensure_ascii=False), flush=True)
        elif not isinstance(event, o.ProtocolViolated):
            words = " ".join(str(v) for k, v in fields.items() if k not in ("event", "call") and v not in (None, ""))
            self._console.print(f"{fields['event']}: {words}", markup=False)

    def report(self, report: MediaReport) -> None:
        if self._json:
            print(json.dumps({"event": "stats", **stats_fields(report)}), flush=True)
            return
        for line in report.lines:
            self._console.print(figures(line), markup=False)


async def talk(runtime: Runtime, endpoint: Endpoint, call: Call, options: CallOptions, reporter: Reporter) -> int:
    """Stays in an established call until its end or the time limit, then says what was measured."""
    last: MediaReport | None = None
    deadline = None if options.duration is None else runtime.now() + options.duration
    try:
        while call.ended is None and (deadline is None or runtime.now() < deadline):
            last = await call.stats()
            left = 1.0 if deadline is None else min(1.0, max(0.0, deadline - runtime.now()))
            await runtime.wait(runtime.event(), left)
        if call.ended is None:
            last = await call.stats()
            await call.hang_up()
    except Exception:
        if call.ended is None:  # the end of the call may cross the question for its figures
            raise
    finally:
        if last is not None:
            reporter.report(last)
    ended = call.ended
    return 0 if ended is None or ended.cause is o.Cause.TERMINATED else 1


async def _print_events(events: Subscription, reporter: Reporter) -> None:
    async for event in events:
        reporter.event(event)


async def run_call(runtime: Runtime, account: Account, target: str, options: CallOptions) -> int:
    """Calls `target`. 0 when the call was established and ended in order."""

    async def act(endpoint: Endpoint, reporter: Reporter) -> int:
        call = await endpoint.call(account.target(target), media_of(options.audio, options.video), setup=options.setup)
        return await talk(runtime, endpoint, call, options, reporter)

    return await _with_endpoint(runtime, account, options, act)


async def run_answer(runtime: Runtime, account: Account, options: CallOptions, *, once: bool) -> int:
    """Registers and answers calls: the first one only with `once`, else each after the other until interrupted."""

    async def act(endpoint: Endpoint, reporter: Reporter) -> int:
        async for call in endpoint.incoming_calls():
            assert call.incoming is not None
            video = options.video and call.incoming.video
            await call.answer(media_of(options.audio, video), setup=options.setup)
            code = await talk(runtime, endpoint, call, options, reporter)
            if once:
                return code
        return 0

    return await _with_endpoint(runtime, account, options, act)


async def _with_endpoint(
    runtime: Runtime,
    account: Account,
    options: CallOptions,
    act: Callable[[Endpoint, Reporter], Awaitable[int]],
) -> int:
    reporter = Reporter(options.json)
    media = AiortcEngine(include_loopback=options.include_loopback)
    config = account.config(capabilities=media.capabilities)
    try:
        async with run_endpoint(runtime, config, media=media, flow=account.flow()) as endpoint:
            with endpoint.events() as events:
                async with runtime.task_group() as tasks:
                    tasks.start_soon(_print_events, events, reporter)
                    await endpoint.connect(account.server)
                    if options.register:
                        await endpoint.register()
                    code = await act(endpoint, reporter)
                    tasks.cancel()
        return code
    finally:
        media.close()
