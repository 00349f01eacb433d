"""Which devices there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from attrs import frozen
from av.error import FFmpegError

from sipproto_devices._capture import CAMERA_INPUTS
from sipproto_devices._media import DeviceError
from sipproto_devices._sound import ASKING, sound_library

_CAMERAS = Path("/sys/class/video4linux")


@frozen(kw_only=True)
class Device:
    """kind: "microphone", "speaker", "camera" or "screen". ident: what the source or sink of that kind takes as `device`.

    default: it is the one without a name.
    """

    kind: str
    ident: str
    name: str
    default: bool = False


def list_devices(kind: str | None = None, *, library: Any = None) -> tuple[Device, ...]:
    """The devices of a kind, or all, of which sound is left out when PortAudio is missing. May wait for devices.

    PortAudio looks for sound devices when the program first uses it: for what was plugged in later see `look_for_devices`.
    library: what to use in place of the module sounddevice. Raises DeviceError for a kind that cannot be listed here,
    ValueError for one that does not exist.
    """
    if kind is not None:
        if kind not in _LISTS:
            raise ValueError(f"there are no devices of the kind {kind!r}")
        return tuple(_LISTS[kind](library))
    found: list[Device] = []
    for each in _LISTS.values():
        try:
            found.extend(each(library))
        except DeviceError:
            continue
    return tuple(found)


def _sound(kind: str, direction: str, place: int) -> Callable[[Any], Iterator[Device]]:
    def listed(given: Any) -> Iterator[Device]:
        library = sound_library(given)
        with ASKING:
            interfaces, default = library.query_hostapis(), library.default.device[place]
            entries = list(library.query_devices())
        for number, entry in enumerate(entries):
            if entry[f"max_{direction}_channels"] > 0:
                ident = f"{entry['name']}, {interfaces[entry['hostapi']]['name']}"
                yield Device(kind=kind, ident=ident, name=str(entry["name"]), default=number == default)

    return listed


def _cameras(library: Any) -> Iterator[Device]:
    if sys.platform == "linux":
        for entry in sorted(_CAMERAS.glob("video*")):
            ident = f"/dev/{entry.name}"
            yield Device(
                kind="camera",
                ident=ident,
                name=(entry / "name").read_text().strip(),
                default=ident == CAMERA_INPUTS["linux"][1],
            )
        return
    if sys.platform not in CAMERA_INPUTS:
        raise DeviceError(f"cameras are not known on this platform ({sys.platform})")
    try:
        found = av.enumerate_input_devices(CAMERA_INPUTS[sys.platform][0])
    except (FFmpegError, ValueError, OSError) as error:
        raise DeviceError(f"cameras cannot be listed: {error}") from None
    for number, info in enumerate(found):
        if "video" in info.media_types:
            yield Device(kind="camera", ident=info.name, name=info.description or info.name, default=number == 0)


def _screens(library: Any) -> Iterator[Device]:
    if sys.platform == "linux":
        if display := os.environ.get("DISPLAY"):
            yield Device(kind="screen", ident=display, name=f"X11 display {display}", default=True)
        return
    yield Device(kind="screen", ident="", name="the whole desktop", default=True)


_LISTS: dict[str, Callable[[Any], Iterator[Device]]] = {
    "microphone": _sound("microphone", "input", 0),
    "speaker": _sound("speaker", "output", 1),
    "camera": _cameras,
    "screen": _screens,
}
KINDS = tuple(_LISTS)
