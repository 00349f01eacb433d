"""What an application of a conference server says beside the messages: rooms, headers of its calls, its own name."""

from __future__ import annotations

import re

from sipproto.conference._values import PURGATORY
from sipproto.errors import LocalProtocolError
from sipproto.message import Headers

_PEER_TO_PEER = re.compile(r"p2p.+to.+", re.IGNORECASE)
_NOT_IN_APP_NAME = re.compile(r"[@*!|]")


def has_purgatory(room: str | None) -> bool:
    """Whether this is the room in which callers wait who are not admitted yet."""
    return room == PURGATORY


def has_peer_to_peer(room: str | None) -> bool:
    """Whether this is a room of two peers, in any letter case. Which two cannot be told: a user may have "to" in it."""
    return room is not None and _PEER_TO_PEER.fullmatch(room) is not None


def peer_to_peer_room(caller: str, called: str) -> str:
    """The room of two peers, by the user parts of their addresses. Raises LocalProtocolError when one is blank."""
    if not caller.strip() or not called.strip():
        raise LocalProtocolError("a room of two peers needs both of them")
    return f"p2p{caller}to{called}"


def display_name_of(name: str) -> str:
    """The display name as older clients send it: spaces as underscores, because they put no quotes around it."""
    return name.strip(" ").replace(" ", "_")


def get_user_agent(
    app_name: str,
    app_version: str | None = None,
    *,
    browser_name: str | None = None,
    browser_version: str | None = None,
    is_unified_sdp_semantic: bool = True,
) -> str:
    """A User-Agent that servers of the original SDK know: "ChromeNew - MyApp 3".

    is_unified_sdp_semantic: one media line for each track, which is what this library speaks; servers tell it by
    "ChromeNew". False gives "Chrome" alone, for servers that know nothing else. `@ * ! |` in app_name become `_`.
    Raises LocalProtocolError for a name that is blank and for control characters.
    """
    if not app_name.strip():
        raise LocalProtocolError("app_name is blank")
    if not is_unified_sdp_semantic:
        return "Chrome"
    app = _versioned(_NOT_IN_APP_NAME.sub("_", app_name), app_version)
    browser = f"{_versioned(browser_name, browser_version)}, " if browser_name else ""
    text = f"ChromeNew - {browser}{app}"
    Headers([("User-Agent", text)])  # raises
    return text


def _versioned(name: str, version: str | None) -> str:
    return f"{name} {version}" if version else name


def get_extra_headers(
    *,
    is_muted_audio: bool,
    is_muted_video: bool,
    is_registered: bool = False,
    session_id: str | None = None,
    remote_address: str | None = None,
    is_presentation_call: bool = False,
) -> tuple[tuple[str, str], ...]:
    """The headers that a server wants in an INVITE, or in the 200 that answers one: names and values.

    is_registered: False asks for admission by way of the purgatory. session_id: of the application. remote_address:
    the public address of this client; a REGISTER has it, too. is_presentation_call: the call has only a second
    stream. Raises LocalProtocolError for control characters.
    """
    headers = (
        ("X-Vinteo-Mic-State", "0" if is_muted_audio else "1"),
        ("X-Vinteo-MainCam-State", "0" if is_muted_video else "1"),
        ("X-Vinteo-Purgatory-Call", "" if is_registered else "yes"),
        ("X-Vinteo-Session", session_id or ""),
        ("X-Vinteo-Presentation-Call", "yes" if is_presentation_call else ""),
        ("X-Vinteo-Remote", remote_address or ""),
    )
    Headers(headers)  # raises
    return tuple((name, value) for name, value in headers if value)
