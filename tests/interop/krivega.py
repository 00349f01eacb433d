"""Pages with the SIP stacks that the conference SDK is built on, saying what that SDK says.

The SDK itself is on no package registry that a test could take it from; its two stacks are. What it said on the wire
was recorded, see tests/conference/recorded.py: the pages send those very headers and bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sipproto.conference import Info
from sipproto.message import Request
from tests.conference.recorded import Recording, own_lines, recording

from .kamailio import USERS, password_of
from .peers import COLORS, HERTZ, BrowserPeer, Party


@frozen
class Sdk:
    """A version of the SDK. restarts: whether it restarts ICE when the server says so."""

    name: str
    stack: str
    recorded: str
    restarts: bool

    @property
    def recording(self) -> Recording:
        return recording(self.recorded)

    def said(self, name: str) -> Request:
        """What this version says. Not all of it was recorded of the newer one, whose header names are in small letters."""
        if name in self.recording.names(sent=True):
            return self.recording.request(name)
        return recording("v16").request(name)


# Version 16.2 differs from 16.0, the recorded one, in the restart alone.
SDKS = (Sdk("v16.2", "krivega-5", "v16", True), Sdk("v31", "krivega-8", "v31", False))


class SdkPage(Party):
    """A page that is one participant. Commands are those of browser/page.js and browser/conference.js."""

    def __init__(self, browser: BrowserPeer, user: str, sdk: Sdk) -> None:
        super().__init__(browser, user, page=user)
        self.sdk = sdk

    def enter(self, url: str, domain: str, *, register: bool = True, **options: Any) -> None:
        """Connects, and registers, as the SDK does."""
        self(
            "open",
            stack=self.sdk.stack,
            url=url,
            user=self.user,
            password=password_of(self.user) if self.user in USERS else None,
            domain=domain,
            register=register,
            restarts=self.sdk.restarts,
            headers=["X-Vinteo-Remote: 192.0.2.2"],
            options={"display_name": self.user, "session_timers": False, "register_expires": 300, **options},
        )
        self("tone", frequency=HERTZ.get(self.user, 440))
        self("color", color=f"rgb{COLORS.get(self.user, (30, 160, 30))}")

    def say(self, name: str, instead: Mapping[str, str] | None = None) -> int:
        """Says it, see `start`, and gives the status of the answer. Raises PeerError when the SDK takes that for a refusal."""
        status: int = self.peer.wait_reply(self.start(name, instead))["status"]
        return status

    def start(self, name: str, instead: Mapping[str, str] | None = None) -> int:
        """Sends a recorded INFO; `instead`: other values, by header name in small letters. For `peer.wait_reply`."""
        request = self.sdk.said(name)
        lines = [f"{key}: {(instead or {}).get(key.lower(), value)}" for key, value in own_lines(request)]
        content_type = str(request.headers.first("Content-Type"))
        return self.send("info", content_type=content_type, headers=lines, body=request.body.decode() or None)

    def present(self, color: tuple[int, int, int]) -> None:
        """Asks for permission, then offers the second stream."""
        self.say("let me start presentation")
        self("present", color=f"rgb{color}")

    def stop_presenting(self) -> None:
        self.say("presentation stopped")
        self("stop_presenting")

    def hears(self, info: Info) -> None:
        """Waits for an INFO, whose lines have to be these, and no other of the conference."""
        event = self.expect("info", content_type=info.content_type)
        assert conference_lines(event) == {name.lower(): value for name, value in info.headers}


def conference_lines(event: dict[str, Any]) -> dict[str, str]:
    """The header lines of an INFO or NOTIFY that are not SIP's, by name in small letters."""
    return {name: values[0] for name, values in event["headers"].items() if name.startswith("x-")}
