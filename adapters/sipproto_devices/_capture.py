"""Cameras and screens, by FFmpeg's capture devices: read in a thread of their own, of which the newest picture counts."""

from __future__ import annotations

import os
import sys
import threading
import time

import av
from attrs import field, frozen, validators
from av import VideoFrame

from sipproto_devices._media import DeviceError, SourceError, VideoProducer, reason

_STALL = 5.0  # seconds without a picture after which a device is gone; cameras take a while to begin

# By platform: FFmpeg's name of the input, and what it is to open unless a device is named.
CAMERA_INPUTS = {
    "linux": ("v4l2", "/dev/video0"),
    "darwin": ("avfoundation", "0"),
    "win32": ("dshow", ""),
}
SCREEN_INPUTS = {
    "linux": ("x11grab", ""),
    "darwin": ("avfoundation", "Capture screen 0"),
    "win32": ("gdigrab", "desktop"),
}


def _is_size(instance: object, attribute: object, value: tuple[int, int] | None) -> None:
    if value is not None and (len(value) != 2 or not all(16 <= side <= 7680 for side in value)):
        raise ValueError(f"a size is a width and a height from 16 to 7680 pixels, not {value}")


@frozen
class Camera:
    """The pictures of a camera. device: as `list_devices` gives it, or None for the first.

    size: width and height in pixels (None: as the camera likes), frame_rate: pictures a second (1 to 60); both are wishes
    that the camera has to know. format: the name of an input of FFmpeg in place of that of this platform (v4l2,
    avfoundation, dshow), "lavfi" for example with a filter graph as the device.
    """

    device: str | None = None
    size: tuple[int, int] | None = field(default=None, validator=_is_size)
    frame_rate: int = field(default=30, validator=[validators.ge(1), validators.le(60)])
    format: str | None = None

    def _input(self) -> tuple[str, str]:
        name, first = _of_platform(CAMERA_INPUTS, self.format, "cameras")
        if self.device is None and not first:
            raise DeviceError("say which camera: there is no default one on this platform")
        device = first if self.device is None else self.device
        return name, f"video={device}" if name == "dshow" and "=" not in device else device

    def check(self, kind: str) -> None:
        """Does not open it: some cameras cannot be opened twice in a row."""
        _check(kind, "camera")
        name, device = self._input()
        if name == "v4l2" and not os.access(device, os.R_OK | os.W_OK):
            raise DeviceError(f"there is no camera {device}, or it may not be used")

    def open_video(self) -> VideoProducer:
        options = {} if self.size is None else {"video_size": f"{self.size[0]}x{self.size[1]}"}
        return CaptureProducer("camera", *self._input(), self.frame_rate, options)


@frozen
class Screen:
    """The pictures of a screen. device: on X11 a display such as ":0.0+100,200" (None: that of DISPLAY).

    On macOS the name of a screen, on Windows "desktop" or "title=" and that of a window. Wayland has no such input.
    frame_rate: pictures a second (1 to 60). cursor: whether the pointer is seen, too.
    """

    device: str | None = None
    frame_rate: int = field(default=10, validator=[validators.ge(1), validators.le(60)])
    cursor: bool = True

    def _input(self) -> tuple[str, str]:
        name, first = _of_platform(SCREEN_INPUTS, None, "screens")
        device = self.device or first or os.environ.get("DISPLAY", "")
        if not device:
            raise DeviceError("there is no screen: DISPLAY is not set")
        return name, device

    def check(self, kind: str) -> None:
        _check(kind, "screen")
        self._input()

    def open_video(self) -> VideoProducer:
        name, device = self._input()
        cursor = "capture_cursor" if name == "avfoundation" else "draw_mouse"
        return CaptureProducer("screen", name, device, self.frame_rate, {cursor: str(int(self.cursor))})


def _check(kind: str, what: str) -> None:
    if kind != "video":
        raise SourceError(f"a {what} is no source of {kind}")


def _of_platform(inputs: dict[str, tuple[str, str]], wished: str | None, what: str) -> tuple[str, str]:
    if wished is not None:
        return wished, ""
    if sys.platform not in inputs:
        raise DeviceError(f"{what} are not known on this platform ({sys.platform})")
    return inputs[sys.platform]


class CaptureProducer:
    """One input of FFmpeg that is open; it ends with the first failure, which `read` raises."""

    def __init__(self, what: str, name: str, device: str, frame_rate: int, options: dict[str, str]) -> None:
        self.interval = 1 / frame_rate
        self._what = what
        self._name = name
        self._device = device
        self._options = {"framerate": str(frame_rate), **options}
        self._newest: VideoFrame | None = None
        self._seen = time.monotonic()
        self._failure: DeviceError | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="sipproto-device", daemon=True).start()

    def read(self) -> VideoFrame | None:
        frame, self._newest = self._newest, None
        if frame is None and self._failure is not None:
            raise self._failure
        if frame is None and time.monotonic() - self._seen > _STALL:
            raise DeviceError(f"the {self._what} {self._device!r} gives no pictures")
        return frame

    def close(self) -> None:
        """Tells the thread to end, which it does with the next picture; nobody waits for it."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            with av.open(self._device, format=self._name, options=dict(self._options), timeout=_STALL) as container:
                for frame in container.decode(video=0):
                    if self._stopped.is_set():
                        return
                    self._newest = frame.reformat(width=frame.width & ~1, height=frame.height & ~1, format="yuv420p")
                    self._seen = time.monotonic()
            raise DeviceError(f"the {self._what} {self._device!r} has ended")
        except DeviceError as error:
            self._failure = error
        except Exception as error:
            self._failure = DeviceError(f"the {self._what} {self._device!r} failed: {reason(error)}")
