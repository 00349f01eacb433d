"""Janus as a real WebRTC server, started on free loopback ports, and its HTTP API as the interop tests need it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from .child import PATIENCE, Child
from .ports import free_port

# Where it takes its ports from; below those that the system gives away, and beside those of rtpengine.
_RTP_PORTS = "30000-31999"
_LIBRARIES = "/usr/lib/x86_64-linux-gnu/janus"
_PLUGINS = ("echotest", "videoroom")
_TRANSPORTS = ("http",)

Message = dict[str, Any]


class JanusError(Exception):
    """Janus, or a plugin of it, has refused a request."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(f"{code}: {reason}")


class Janus(Child):
    """`nat` and `media` are settings of these sections of its configuration, such as `ice_lite=True`; `rsa`: an RSA
    certificate in the place of ECDSA. Its API is on loopback; its media are on the `address` of this machine, because
    Janus never uses loopback for them.
    """

    program = "janus"

    def __init__(
        self, *, rsa: bool = False, nat: Mapping[str, object] | None = None, media: Mapping[str, object] | None = None
    ) -> None:
        self.port = free_port("tcp")
        self._rsa = rsa
        self._nat = {"ignore_mdns": True, **(nat or {})}
        self._media = {"rtp_port_range": _RTP_PORTS, **(media or {})}

    def _arguments(self) -> list[str]:
        return [f"--configs-folder={self.folder}", f"--config={self.folder / 'janus.jcfg'}"]

    def _is_ready(self) -> bool:
        try:
            info = httpx.get(f"http://127.0.0.1:{self.port}/janus/info", timeout=1)
        except httpx.HTTPError:
            return False
        self.address: str = info.json()["local-ip"]
        return True

    def _configure(self) -> None:
        sections: dict[str, Mapping[str, object]] = {
            "general": {
                "configs_folder": str(self.folder),
                **{f"{name}_folder": f"{_LIBRARIES}/{name}" for name in ("plugins", "transports", "events", "loggers")},
                "debug_level": 4,
                "debug_colors": False,
                "debug_timestamps": True,
            },
            "certificates": {"rsa_private_key": self._rsa},
            "media": self._media,
            "nat": self._nat,
            "plugins": {"disable": _others("plugins", _PLUGINS)},
            "transports": {"disable": _others("transports", _TRANSPORTS)},
            "events": {"broadcast": False},
        }
        http = {"http": True, "ip": "127.0.0.1", "port": self.port, "https": False, "base_path": "/janus"}
        self._write("janus.jcfg", sections)
        self._write("janus.transport.http.jcfg", {"general": http, "admin": {"admin_http": False}})

    def _write(self, name: str, sections: Mapping[str, Mapping[str, object]]) -> None:
        lines: list[str] = []
        for section, settings in sections.items():
            values = ((key, str(v).lower() if isinstance(v, bool | int) else f'"{v}"') for key, v in settings.items())
            lines += [f"{section}: {{", *(f"  {key} = {value}" for key, value in values), "}"]
        (self.folder / name).write_text("\n".join(lines) + "\n")


def _others(kind: str, wanted: tuple[str, ...]) -> str:
    """The libraries of Janus that are not wanted."""
    names = sorted(path.name for path in Path(_LIBRARIES, kind).glob("libjanus_*.so"))
    return ",".join(name for name in names if name not in {f"libjanus_{one}.so" for one in wanted})


class JanusSession:
    """A session of the API; a thread collects what Janus tells of it. To be used as a context manager."""

    def __init__(self, janus: Janus) -> None:
        self._root = f"http://127.0.0.1:{janus.port}/janus"
        self._client = httpx.Client(timeout=40)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._events: list[Message] = []
        self._ended = False
        self._thread = threading.Thread(target=self._poll, name="janus", daemon=True)

    def __enter__(self) -> Self:
        self.path = f"{self._root}/{self.post(self._root, 'create')['data']['id']}"
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        try:
            # Only news end a poll before its half minute is over: that a handle is detached is such.
            self.attach(_PLUGINS[0]).detach()
            self._thread.join()
            self.post(self.path, "destroy")
        except httpx.HTTPError:
            pass  # Janus was killed
        self._thread.join()
        self._client.close()

    def attach(self, plugin: str) -> Handle:
        """`plugin`: its name without "janus.plugin."."""
        reply = self.post(self.path, "attach", plugin=f"janus.plugin.{plugin}")
        return Handle(self, reply["data"]["id"])

    def post(self, path: str, verb: str, **parts: object) -> Message:
        """A request and its immediate reply. Raises JanusError."""
        return self.post_as(f"t{next(self._numbers)}", path, verb, **parts)

    def post_as(self, transaction: str, path: str, verb: str, **parts: object) -> Message:
        message = {"janus": verb, "transaction": transaction, **parts}
        reply: Message = self._client.post(path, json=message).json()
        return _checked(reply)

    def ask(self, path: str, **parts: object) -> Message:
        """A message for a plugin, and the event that answers it. Raises JanusError."""
        transaction = f"t{next(self._numbers)}"
        reply = self.post_as(transaction, path, "message", **parts)
        if reply["janus"] == "ack":
            reply = self.expect(lambda event: event.get("transaction") == transaction)
        return _checked(reply)

    def expect(self, wanted: Callable[[Message], object], timeout: float = PATIENCE) -> Message:
        """Waits for an event, and takes it."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for event in self._events:
                    if wanted(event):
                        self._events.remove(event)
                        return event
                left = deadline - time.monotonic()
                assert left > 0, f"Janus has not told it in {timeout} s, but {self._events}"
                self._changed.wait(left)

    def _poll(self) -> None:
        with httpx.Client(timeout=40) as client:
            while not self._ended:
                try:
                    told = client.get(self.path, params={"maxev": 10}).json()
                except httpx.HTTPError:
                    return  # Janus was killed
                events = told if isinstance(told, list) else [told]
                with self._changed:
                    self._events += [event for event in events if event["janus"] != "keepalive"]
                    self._changed.notify_all()


class Handle:
    """A plugin handle: one PeerConnection of Janus."""

    def __init__(self, session: JanusSession, number: int) -> None:
        self._session = session
        self.number = number
        self._path = f"{session.path}/{number}"

    def ask(self, body: Message, jsep: tuple[str, str] | None = None) -> tuple[Message, str]:
        """A request of the plugin's API, with the type and text of a description; the data and description of the answer.

        Raises JanusError.
        """
        parts: Message = {"body": body}
        if jsep is not None:
            # Janus is not to wait for candidates: ours are in the description.
            parts["jsep"] = {"type": jsep[0], "sdp": jsep[1], "trickle": False}
        reply = self._session.ask(self._path, **parts)
        sdp: str = reply.get("jsep", {}).get("sdp", "")
        if sdp and "a=end-of-candidates" not in sdp:
            sdp = self._with_candidates(sdp)
        return reply["plugindata"]["data"], sdp

    def _with_candidates(self, sdp: str) -> str:
        """Collects those that Janus trickles (`full_trickle`): who is beyond SIP gets none later."""
        values: list[str] = []
        while not (told := self.expect(lambda event: event["janus"] == "trickle")["candidate"]).get("completed"):
            values.append(told["candidate"])
        lines = "".join(f"a={value}\r\n" for value in values) + "a=end-of-candidates\r\n"
        head, *media = sdp.split("m=")
        return head + "".join(f"m={part}{lines}" for part in media)

    def hang_up(self) -> None:
        """Ends the PeerConnection alone."""
        self._session.post(self._path, "hangup")

    def expect(self, wanted: Callable[[Message], object] = lambda _: True, timeout: float = PATIENCE) -> Message:
        """Waits for what Janus tells of this handle by itself, and takes it."""
        return self._session.expect(lambda event: event.get("sender") == self.number and wanted(event), timeout)

    def detach(self) -> None:
        self._session.post(self._path, "detach")


def _checked(reply: Message) -> Message:
    error = reply.get("error")
    if isinstance(error, dict):
        raise JanusError(error["code"], error["reason"])
    data = reply.get("plugindata", {}).get("data", {})
    if "error_code" in data:
        raise JanusError(data["error_code"], data["error"])
    return reply
