"""Peers that are driven by JSON lines: a command per line in, a reply or an event per line out."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from .child import INSTALL_HINT, PATIENCE, end, launch
from .kamailio import Kamailio, password_of

BROWSER_FOLDER = Path(__file__).resolve().parent / "browser"
# What each side sends, for the other to recognise.
HERTZ = {"alice": 500, "bob": 800, "carol": 1100}
COLORS = {"alice": (200, 30, 30), "bob": (30, 30, 200), "carol": (30, 160, 30)}

# The kinds of BrowserPeer, but for firefox-mdns, which is a Firefox that hides its addresses.
each_browser = pytest.mark.browsers("chromium", "firefox")
# What a browser does not have, by its kind, and why.
LACKS = {
    "firefox": {
        "H264": "it is a plugin that Firefox would have to download",
        "audioLevel of media-source": "its statistics do not have it",
        "padding of inbound-rtp": "its statistics do not count packets of mere padding, with which a call probes its path",
    }
}

Message = dict[str, Any]


class PeerError(Exception):
    """The peer has answered a command with an error."""

    def __init__(self, command: str, error: Mapping[str, Any]) -> None:
        self.code = str(error.get("code", ""))
        self.status: int | None = error.get("status")
        super().__init__(f"{command}: {self.code}: {error.get('message', '')} (status {self.status})")


class PeerFailure(Exception):
    """The peer has ended, or has not said in time what was waited for."""


class JsonPeer:
    """A child process that speaks JSON lines; all methods wait, and may be called from several threads."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str = "peer",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._last_id = 0
        self._commands: dict[int, str] = {}
        self._replies: dict[int, Message] = {}
        self._events: list[Message] = []
        self._errors: deque[str] = deque(maxlen=100)
        self._ended = False
        self._process = launch(
            *argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=None if env is None else dict(env),
            text=True,
            errors="replace",
            bufsize=1,
        )
        self._threads = [
            threading.Thread(target=self._read_output, name=f"{name} output", daemon=True),
            threading.Thread(target=self._read_errors, name=f"{name} errors", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, command: str, *, timeout: float = PATIENCE, **fields: Any) -> Message:
        """Sends a command and returns its reply; raises PeerError if the reply is an error."""
        return self.wait_reply(self.send(command, **fields), timeout)

    def send(self, command: str, **fields: Any) -> int:
        """Sends a command without waiting; the result is for `wait_reply()`."""
        assert self._process.stdin is not None
        with self._changed:
            self._last_id += 1
            message_id = self._last_id
            self._commands[message_id] = command
            try:
                self._process.stdin.write(json.dumps({"id": message_id, "command": command, **fields}) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                raise self._failure(f"cannot take the command {command!r}") from error
        return message_id

    def wait_reply(self, message_id: int, timeout: float = PATIENCE) -> Message:
        command = self._commands[message_id]
        what = f"the reply to {command!r}"
        reply = self._wait(lambda: self._replies.pop(message_id, None), timeout, what)
        if not reply.get("ok"):
            raise PeerError(command, reply.get("error", {}))
        return reply

    def expect(self, event: str, *, timeout: float = PATIENCE, **match: Any) -> Message:
        """Waits for an event with these fields and takes it out; events that do not match stay for later."""
        wanted = {"event": event, **match}
        return self._wait(lambda: self._take_event(wanted), timeout, f"the event {wanted}")

    def pending_events(self) -> list[Message]:
        """The events that no `expect()` has taken yet."""
        with self._changed:
            return list(self._events)

    def forget_events(self) -> None:
        with self._changed:
            self._events.clear()

    def errors(self) -> str:
        """The last lines of the child's standard error."""
        return "\n".join(self._errors)

    def close(self) -> None:
        """Ends the child by closing its input, and with force when it does not end in time."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass  # It has ended already, with a command still unread.
        end(self._process, patience=10)
        for thread in self._threads:
            thread.join(timeout=5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _take_event(self, wanted: Mapping[str, Any]) -> Message | None:
        for index, event in enumerate(self._events):
            if all(event.get(key) == value for key, value in wanted.items()):
                return self._events.pop(index)
        return None

    def _wait(self, take: Callable[[], Message | None], timeout: float, what: str) -> Message:
        deadline = time.monotonic() + timeout
        with self._changed:
            while (found := take()) is None:
                if self._ended:
                    raise self._failure(f"ended before {what}")
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise self._failure(f"did not send {what} in {timeout} s")
                self._changed.wait(remaining)
        return found

    def _failure(self, text: str) -> PeerFailure:
        waiting = "".join(f"\n  {event}" for event in self._events) or " none"
        status = self._process.poll()
        state = "running" if status is None else f"exit status {status}"
        return PeerFailure(
            f"{self.name} {text} ({state})\nevents not yet taken:{waiting}\nits last error output:\n{self.errors()}"
        )

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                self._errors.append(f"not JSON: {line.rstrip()}")
                continue
            with self._changed:
                if isinstance(message.get("reply"), int):
                    self._replies[message["reply"]] = message
                else:
                    self._events.append(message)
                self._changed.notify_all()
        self._process.wait()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line.rstrip())


class BrowserPeer(JsonPeer):
    """JsSIP in a headless browser; one process holds several pages, each with its own user agent."""

    def __init__(self, kind: str = "chromium") -> None:
        if not (BROWSER_FOLDER / "node_modules").is_dir():
            raise RuntimeError(f"the npm packages are missing: {INSTALL_HINT}")
        self.kind = kind
        super().__init__(["node", "peer.mjs", kind], name=kind, cwd=BROWSER_FOLDER)
        try:
            self.expect("ready", timeout=60)  # a busy machine takes its time
        except BaseException:
            self.close()
            raise

    def lacks(self, what: str) -> bool:
        """Whether tests have to do without something (`LACKS`)."""
        return what in LACKS.get(self.kind, {})


class Party:
    """One side of a scenario: an agent process, or a page of the browser."""

    def __init__(self, peer: JsonPeer, user: str, **fixed: Any) -> None:
        self.peer = peer
        self.user = user
        self.fixed = fixed

    def __call__(self, command: str, **fields: Any) -> dict[str, Any]:
        return self.peer.request(command, **self.fixed, **fields)

    def send(self, command: str, **fields: Any) -> int:
        return self.peer.send(command, **self.fixed, **fields)

    def expect(self, event: str, **match: Any) -> dict[str, Any]:
        return self.peer.expect(event, **self.fixed, **match)

    def open(self, kamailio: Kamailio, url: str, **more: Any) -> None:
        settings = {"user": self.user, "password": password_of(self.user), "domain": kamailio.domain}
        self("open", url=url, **{**settings, "register": True, **more})
        self("tone", frequency=HERTZ[self.user])
        color = COLORS[self.user]
        self("color", color=list(color) if not self.fixed else f"rgb{color}")
