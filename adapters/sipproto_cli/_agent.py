"""`sipproto agent`: an endpoint that is driven by JSON lines, for bots and test benches.

A command is `{"id": 7, "command": "call", ...}` on a line of standard input; on standard output come
`{"reply": 7, "ok": true, ...}` or `{"reply": 7, "ok": false, "error": {"code", "message", "status"}}`, and events like
`{"event": "call", "call": "out-1", "state": "established", ...}`. `docs/agent.md` lists them all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import DigitWay
from sipproto.errors import SipProtoError
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_cli._common import Account
from sipproto_cli._events import Fields, event_fields, stats_fields
from sipproto_cli._stdin import MAX_LINE, StdinLines
from sipproto_client import (
    Call,
    CommandError,
    Endpoint,
    EndpointClosed,
    Subscription,
    run_endpoint,
)
from sipproto_client.port import Runtime, TaskGroup


class Refused(Exception):
    """A command that cannot be carried out; `code` is a stable word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def media_of(audio: bool, video: bool) -> tuple[tuple[str, Direction], ...]:
    """Lines to offer or accept, sending and receiving."""
    lines = (("audio", audio), ("video", video))
    return tuple((kind, Direction.SENDRECV) for kind, wanted in lines if wanted)


def _text(fields: Fields, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is a text")
    return value


class _Life:
    """An endpoint from its opening to its end."""

    def __init__(self, runtime: Runtime) -> None:
        self.endpoint: Endpoint | None = None
        self.ready = runtime.event()
        self.release = runtime.event()
        self.gone = runtime.event()


class JsonAgent:
    """Reads commands, runs each in a task of its own, writes replies and events."""

    def __init__(
        self, runtime: Runtime, tasks: TaskGroup, media: AiortcEngine, write: Callable[[Fields], None]
    ) -> None:
        self._runtime = runtime
        self._tasks = tasks
        self._media = media
        self._write = write
        self._life: _Life | None = None
        self._account: Account | None = None
        self._calls: list[str] = []  # the newest last
        self._transfers: dict[str, o.TransferRequested] = {}  # that a peer asks for, by their names
        self._subscriptions = 0  # that were made
        self._setup = MediaSetup(audio=Tone(440.0), video=TestPattern(color=(200, 30, 30)))
        self._commands: dict[str, Callable[[Fields], Coroutine[Any, Any, Fields]]] = {
            "open": self._open,
            "close": self._close,
            "register": self._register,
            "unregister": self._unregister,
            "call": self._make_call,
            "answer": self._answer,
            "reject": self._reject,
            "hangup": self._hang_up,
            "hold": self._hold,
            "resume": self._resume,
            "dtmf": self._dtmf,
            "info": self._info,
            "message": self._message,
            "options": self._options,
            "stats": self._stats,
            "sdp": self._sdp,
            "transfer": self._transfer,
            "accept_transfer": self._accept_transfer,
            "reject_transfer": self._reject_transfer,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "tone": self._tone,
            "color": self._color,
        }

    async def serve(self, lines: AsyncIterator[str | None]) -> None:
        """Until the end of the input or `quit`; the endpoint is shut down in order then."""
        try:
            async for line in lines:
                fields = self._parse(line)
                if fields is None:
                    continue
                if fields["command"] == "quit":
                    await self._close(fields)
                    self._reply(fields, {})
                    return
                self._tasks.start_soon(self._carry_out, fields)
        finally:
            with self._runtime.shield(6.0):
                await self._close({})

    def _parse(self, line: str | None) -> Fields | None:
        try:
            if line is None:
                raise ValueError(f"a line of more than {MAX_LINE} octets")
            fields = json.loads(line)
            if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
                raise ValueError("not an object with a command")
        except (ValueError, RecursionError) as error:
            self._write({"event": "error", "message": f"cannot read a command: {error}"})
            return None
        return fields

    def _reply(self, fields: Fields, result: Fields) -> None:
        self._write({"reply": fields.get("id"), "ok": True, **result})

    async def _carry_out(self, fields: Fields) -> None:
        try:
            command = self._commands.get(fields["command"])
            if command is None:
                raise Refused("unknown_command", f"there is no command {fields['command']!r}")
            self._reply(fields, await command(fields))
        except Refused as error:
            self._refuse(fields, error.code, str(error), None)
        except CommandError as error:
            self._refuse(fields, error.code, error.detail, error.status)
        except SipProtoError as error:
            self._refuse(fields, "invalid_state", str(error), None)
        except KeyError as error:
            self._refuse(fields, "bad_field", f"missing field {error}", None)
        except (ValueError, TypeError, ArithmeticError) as error:
            self._refuse(fields, "bad_field", str(error), None)

    def _refuse(self, fields: Fields, code: str, message: str, status: int | None) -> None:
        error: Fields = {"code": code, "message": message}
        if status is not None:
            error["status"] = status
        self._write({"reply": fields.get("id"), "ok": False, "error": error})

    # -- the endpoint ------------------------------------------------------------------------------------------------

    async def start(self, account: Account, *, register: bool) -> None:
        """Opens the endpoint and connects."""
        await self._close({})
        self._account = account
        life = self._life = _Life(self._runtime)
        self._tasks.start_soon(self._live, account, life)
        await life.ready.wait()
        if life.endpoint is None:
            raise EndpointClosed("closed while it was being opened")
        await life.endpoint.connect(account.server)
        if register:
            await life.endpoint.register()

    async def _live(self, account: Account, life: _Life) -> None:
        """The endpoint needs a task of its own: it lives longer than the command that opened it."""
        config = account.config(capabilities=self._media.capabilities)
        try:
            async with run_endpoint(
                self._runtime, config, media=self._media, flow=account.flow(), trace=account.trace
            ) as endpoint:
                with endpoint.events() as events:
                    self._tasks.start_soon(self._pump, events)
                    life.endpoint = endpoint
                    life.ready.set()
                    await life.release.wait()
                    await endpoint.shut_down()
        finally:
            life.ready.set()
            life.gone.set()

    async def _pump(self, events: Subscription) -> None:
        async for event in events:
            if isinstance(event, o.CallEnded):
                self._forget(event.call)
            if isinstance(event, o.TransferRequested):
                self._transfers[event.transfer] = event
            if isinstance(event, o.IncomingCall | o.CallStarted):
                self._calls.append(event.call)
            if (fields := event_fields(event)) is not None:
                self._write(fields)

    def _forget(self, call: str) -> None:
        if call in self._calls:
            self._calls.remove(call)
        self._transfers = {name: asked for name, asked in self._transfers.items() if asked.call != call}

    async def _open(self, fields: Fields) -> Fields:
        account = Account(
            server=_text(fields, "url"),
            user=_text(fields, "user"),
            domain=_text(fields, "domain"),
            password=_text(fields, "password") if fields.get("password") is not None else None,
            display_name=_text(fields, "display_name") if "display_name" in fields else "",
            ca_file=_text(fields, "ca_file") if fields.get("ca_file") is not None else None,
        )
        account.flow().host_of(account.server)
        account.config()  # both raise before the endpoint that is open now is closed
        await self.start(account, register=bool(fields.get("register", False)))
        return {}

    async def _close(self, _: Fields) -> Fields:
        life, self._life = self._life, None
        if life is not None:
            life.release.set()
            await life.gone.wait()
        self._calls.clear()
        self._transfers.clear()
        return {}

    @property
    def endpoint(self) -> Endpoint:
        if self._life is None or self._life.endpoint is None:
            raise Refused("invalid_state", "not open: give the server as an option, or send `open` first")
        return self._life.endpoint

    def _call_of(self, fields: Fields) -> Call:
        ident = fields.get("call") or (self._calls[-1] if self._calls else None)
        call = None if ident is None else self.endpoint.call_of(str(ident))
        if call is None:
            raise Refused("no_call", f"there is no call {ident!r}" if ident else "there is no call")
        return call

    def _target(self, fields: Fields) -> str:
        assert self._account is not None
        return self._account.target(str(fields["target"]))

    # -- commands ----------------------------------------------------------------------------------------------------

    async def _register(self, _: Fields) -> Fields:
        registration = await self.endpoint.register()
        return {"expires": registration.expires}

    async def _unregister(self, _: Fields) -> Fields:
        await self.endpoint.unregister()
        return {}

    def _setup_for(self, fields: Fields) -> MediaSetup:
        record = fields.get("record")
        if record is None:
            return self._setup
        return MediaSetup(audio=self._setup.audio, video=self._setup.video, record=str(record))

    async def _make_call(self, fields: Fields) -> Fields:
        media = media_of(bool(fields.get("audio", True)), bool(fields.get("video", False)))
        call = await self.endpoint.call(self._target(fields), media, setup=self._setup_for(fields))
        return {"call": call.ident}

    async def _answer(self, fields: Fields) -> Fields:
        call = self._call_of(fields)
        if call.incoming is None:
            raise Refused("invalid_state", f"call {call.ident!r} is not an incoming one")
        audio, video = fields.get("audio", call.incoming.audio), fields.get("video", call.incoming.video)
        if not call.incoming.offer:
            audio, video = fields.get("audio", True), fields.get("video", False)
        await call.answer(media_of(bool(audio), bool(video)), setup=self._setup_for(fields))
        return {"call": call.ident}

    async def _reject(self, fields: Fields) -> Fields:
        call = self._call_of(fields)
        if call.incoming is None:
            raise Refused("invalid_state", f"call {call.ident!r} is not an incoming one")
        await call.hang_up(int(fields.get("status", 486)))
        return {"call": call.ident}

    async def _hang_up(self, fields: Fields) -> Fields:
        call = self._call_of(fields)
        await call.hang_up()
        return {"call": call.ident}

    async def _hold(self, fields: Fields) -> Fields:
        await self._call_of(fields).hold()
        return {}

    async def _resume(self, fields: Fields) -> Fields:
        await self._call_of(fields).resume()
        return {}

    async def _dtmf(self, fields: Fields) -> Fields:
        way = str(fields.get("transport", "auto")).lower()
        if way not in (known.value for known in DigitWay):
            raise Refused("not_supported", "digits are sent by RTP or INFO")
        duration = int(fields.get("duration", 160))
        await self._call_of(fields).send_dtmf(str(fields["digits"]), duration=duration, way=DigitWay(way))
        return {}

    async def _info(self, fields: Fields) -> Fields:
        call = self._call_of(fields)
        status = await call.send_info(str(fields["content_type"]), str(fields.get("body", "")).encode())
        return {"status": status}

    async def _message(self, fields: Fields) -> Fields:
        kind = str(fields.get("content_type", "text/plain"))
        return {"status": await self.endpoint.send_message(self._target(fields), str(fields["body"]), kind)}

    async def _options(self, fields: Fields) -> Fields:
        timeout = fields.get("timeout")
        seconds = None if timeout is None else float(timeout)
        return {"status": await self.endpoint.options(self._target(fields), seconds)}

    async def _stats(self, fields: Fields) -> Fields:
        return stats_fields(await self._call_of(fields).stats())

    async def _sdp(self, fields: Fields) -> Fields:
        local, remote = self.endpoint.agent.descriptions(self._call_of(fields).ident)
        return {"local": local.decode("utf-8", "replace"), "remote": remote.decode("utf-8", "replace")}

    # -- transfer ----------------------------------------------------------------------------------------------------

    async def _transfer(self, fields: Fields) -> Fields:
        call = self._call_of(fields)
        if "to" in fields:
            return {"status": await call.transfer(self._call_of({"call": fields["to"]}))}
        return {"status": await call.transfer(self._target(fields))}

    def _asked(self, fields: Fields) -> o.TransferRequested:
        name = fields.get("transfer") or next(reversed(self._transfers), None)
        asked = self._transfers.pop(str(name), None)
        if asked is None:
            raise Refused("no_transfer", "nobody asks for a transfer")
        return asked

    async def _accept_transfer(self, fields: Fields) -> Fields:
        media = media_of(bool(fields.get("audio", True)), bool(fields.get("video", False)))
        call = await self.endpoint.accept_transfer(self._asked(fields), media, setup=self._setup_for(fields))
        return {"call": call.ident}

    async def _reject_transfer(self, fields: Fields) -> Fields:
        await self.endpoint.reject_transfer(self._asked(fields), int(fields.get("status", 603)))
        return {}

    # -- subscriptions -----------------------------------------------------------------------------------------------

    async def _subscribe(self, fields: Fields) -> Fields:
        """Kept until `unsubscribe` or `close`; what it brings is told in events."""
        target, package, expires = self._target(fields), _text(fields, "package"), int(fields.get("expires", 3600))
        self._subscriptions += 1
        name = f"sub-{self._subscriptions}"
        granted = await self.endpoint.run(
            lambda n: i.Subscribe(command=n, subscription=name, target=target, event=package, expires=expires)
        )
        return {"subscription": name, "expires": granted}

    async def _unsubscribe(self, fields: Fields) -> Fields:
        name = _text(fields, "subscription")
        await self.endpoint.run(lambda n: i.Unsubscribe(command=n, subscription=name))
        return {}

    # -- what is sent ------------------------------------------------------------------------------------------------

    async def _tone(self, fields: Fields) -> Fields:
        """The audio of the calls that come after."""
        self._setup = MediaSetup(audio=Tone(float(fields["frequency"])), video=self._setup.video)
        return {}

    async def _color(self, fields: Fields) -> Fields:
        """The video of the calls that come after."""
        red, green, blue = (int(part) for part in fields["color"])
        self._setup = MediaSetup(audio=self._setup.audio, video=TestPattern(color=(red, green, blue)))
        return {}


async def run_agent(runtime: Runtime, account: Account | None, *, register: bool, include_loopback: bool) -> int:
    """The command: serves standard input until it ends."""

    def write(fields: Fields) -> None:
        print(json.dumps(fields), flush=True)

    media = AiortcEngine(include_loopback=include_loopback)
    try:
        async with runtime.task_group() as tasks:
            agent = JsonAgent(runtime, tasks, media, write)
            if account is not None:
                await agent.start(account, register=register)
            await agent.serve(aiter(StdinLines(runtime)))
            tasks.cancel()
    finally:
        media.close()
    return 0
