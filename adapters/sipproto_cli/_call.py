"""`sipproto call` and `sipproto answer`: one call with anything that speaks SIP over WebSocket."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable

from attrs import frozen
from rich.console import Console

from sipproto.agent import Recovery
from sipproto.agent import outputs as o
from sipproto.agent.media import MediaReport
from sipproto_aiortc import AiortcEngine
from sipproto_cli._agent import media_of
from sipproto_cli._common import Account, CommandProblem, figures, printable, say
from sipproto_cli._events import event_fields, stats_fields
from sipproto_client import Call, CommandError, Endpoint, Subscription, run_endpoint
from sipproto_client.port import Runtime
from sipproto_devices import (
    AudioSource,
    EchoCanceller,
    FileSource,
    MediaSetup,
    Microphone,
    Sink,
    SourceError,
    Speaker,
    TestPattern,
    Tone,
    Trouble,
)


@frozen(kw_only=True)
class CallOptions:
    """What a call of the command line sends and keeps.

    microphone, speaker: part of the name of a device, "default" for that one; with echo_cancellation for both of them.
    duration: seconds from its establishment, None without limit. grace: seconds for which it outlives a lost connection.
    """

    audio: bool = True
    video: bool = False
    tone: float = 440.0
    file: str | None = None
    record: str | None = None
    microphone: str | None = None
    speaker: str | None = None
    echo_cancellation: bool = False
    duration: float | None = None
    json: bool = False
    register: bool = False
    grace: float = 30.0
    include_loopback: bool = False

    @property
    def setup(self) -> MediaSetup:
        """Raises CommandProblem when something is not installed."""
        audio: AudioSource = Tone(self.tone) if self.file is None else FileSource(self.file)
        video = TestPattern() if self.file is None else FileSource(self.file)
        if self.microphone is not None:
            audio = Microphone(_device(self.microphone))
        sinks: tuple[Sink, ...] = () if self.speaker is None else (Speaker(_device(self.speaker)),)
        if self.echo_cancellation:
            try:
                canceller = EchoCanceller()
            except SourceError as error:
                raise CommandProblem(str(error)) from None
            audio, sinks = canceller.source(audio), tuple(canceller.sink(sink) for sink in sinks)
        return MediaSetup(
            audio=audio, video=video if self.video else None, record=self.record, sinks=sinks, on_trouble=_say_trouble
        )

    def check(self) -> None:
        """Raises CommandProblem when a file or device cannot be used."""
        try:
            self.setup.check()
        except SourceError as error:
            raise CommandProblem(str(error)) from None


def _device(name: str) -> str | None:
    return None if name == "default" else name


def _say_trouble(trouble: Trouble) -> None:
    say(trouble.error)


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
            print(json.dumps(fields), flush=True)
        elif not isinstance(event, o.ProtocolViolated):
            words = " ".join(str(v) for k, v in fields.items() if k not in ("event", "call") and v not in (None, ""))
            self._console.print(printable(f"{fields['event']}: {words}"), markup=False, soft_wrap=True)

    def report(self, report: MediaReport) -> None:
        if self._json:
            print(json.dumps({"event": "stats", **stats_fields(report)}), flush=True)
            return
        for line in report.lines:
            self._console.print(figures(line), markup=False, soft_wrap=True)


async def talk(runtime: Runtime, call: Call, options: CallOptions, reporter: Reporter) -> None:
    """Stays in an established call until its end or the time limit, then says what was measured.

    Raises CommandProblem when it does not end in order.
    """
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
    if call.ended is not None and call.ended.cause is not o.Cause.TERMINATED:
        raise CommandProblem(f"the call was cut off: {call.ended.detail or call.ended.cause.value}")


async def _print_events(events: Subscription, reporter: Reporter) -> None:
    async for event in events:
        reporter.event(event)


async def run_call(runtime: Runtime, account: Account, target: str, options: CallOptions) -> int:
    """Calls `target`. 0 when the call was established and ended in order."""

    async def act(endpoint: Endpoint, reporter: Reporter) -> int:
        call = await endpoint.call(account.target(target), media_of(options.audio, options.video), setup=options.setup)
        await talk(runtime, call, options, reporter)
        return 0

    return await _with_endpoint(runtime, account, options, act)


async def run_answer(runtime: Runtime, account: Account, options: CallOptions, *, once: bool) -> int:
    """Registers and answers calls: the first one only with `once`, else each after the other until interrupted."""

    async def serve(call: Call, reporter: Reporter) -> None:
        assert call.incoming is not None
        video = options.video and call.incoming.video
        try:
            await call.answer(media_of(options.audio, video), setup=options.setup)
            await talk(runtime, call, options, reporter)
        except (CommandError, CommandProblem) as error:
            if once:
                raise
            say(str(error))  # a caller that changed its mind is no reason to answer nobody any more

    async def act(endpoint: Endpoint, reporter: Reporter) -> int:
        with endpoint.events(_matters_to_answer) as events:
            async for event in events:
                if isinstance(event, o.ConnectionChanged):
                    raise CommandProblem(f"the connection was lost: {event.error}")
                assert isinstance(event, o.IncomingCall)
                call = endpoint.call_of(event.call)
                if call is not None:
                    await serve(call, reporter)
                    if once:
                        break
        return 0

    return await _with_endpoint(runtime, account, options, act)


def _matters_to_answer(event: o.Event) -> bool:
    lost = isinstance(event, o.ConnectionChanged) and event.state is o.ConnectionState.DISCONNECTED
    return lost or isinstance(event, o.IncomingCall)


async def _with_endpoint(
    runtime: Runtime,
    account: Account,
    options: CallOptions,
    act: Callable[[Endpoint, Reporter], Awaitable[int]],
) -> int:
    options.check()
    reporter = Reporter(options.json)
    media = AiortcEngine(include_loopback=options.include_loopback)
    recovery = Recovery(reconnect=options.grace > 0, grace=options.grace)
    config = account.config(capabilities=media.capabilities, recovery=recovery)
    try:
        async with run_endpoint(runtime, config, media=media, flow=account.flow(), trace=account.trace) as endpoint:
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
