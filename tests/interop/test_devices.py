"""Devices with the real libraries: a screen of Xvfb, and PortAudio on ALSA devices that are made of nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipproto_aiortc import AiortcEngine, MediaSetup
from sipproto_devices import Device, Screen, list_devices
from tests.media._rig import End, connect, sees, until

pytestmark = pytest.mark.interop
_ROOT = Path(__file__).resolve().parents[2]

_ALSA = "pcm.!default { type null hint { show on description Nothing } }\n"
# In a process of its own: PortAudio looks for devices once, and ALSA reads its configuration from the environment.
_SOUND = """
import queue, time
from sipproto_devices import Microphone, RINGBACK, Speaker, list_devices, play
(microphone,), (speaker,) = list_devices("microphone"), list_devices("speaker")
assert microphone.default and microphone.ident == "default, ALSA", microphone
Microphone(microphone.ident).check("audio")
Speaker(speaker.ident).check()
troubles = queue.Queue()
producer = Microphone(microphone.ident).open_audio()
with play(RINGBACK["de"], Speaker(speaker.ident), troubles.put):
    heard, deadline = 0, time.monotonic() + 10
    while heard < 50 and time.monotonic() < deadline:
        heard += producer.read() is not None
        time.sleep(0.02)
producer.close()
assert troubles.empty(), troubles.get()
print("heard", heard)
"""


_PLUGGED = """
import os, pathlib
from sipproto_devices import Microphone, list_devices, look_for_devices
assert [device.name for device in list_devices("microphone")] == ["default"]
config = pathlib.Path(os.environ["ALSA_CONFIG_PATH"])
config.write_text(config.read_text() + "pcm.late { type null hint { show on description Late } }\\n")
assert [device.name for device in list_devices("microphone")] == ["default"]
assert look_for_devices()
assert "late" in [device.name for device in list_devices("microphone")]
Microphone("late, ALSA").check("audio")
print("found")
"""


@contextmanager
def _xvfb() -> Iterator[str]:
    """A display of 320 by 240, all white."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "320x240x24", "-wr", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        try:
            with os.fdopen(reading) as told:
                yield f":{told.readline().strip()}"
        finally:
            server.terminate()


def test_a_screen_is_seen_in_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = AiortcEngine(include_loopback=True)
    with _xvfb() as display:
        monkeypatch.setenv("DISPLAY", display)
        (screen,) = list_devices("screen")
        assert screen == Device(kind="screen", ident=display, name=f"X11 display {display}", default=True)
        setup = MediaSetup(video=Screen(screen.ident, cursor=False))
        setup.check()
        a, b = End(engine, setup), End(engine)
        connect(a, b, "video")
        until(sees(b, (255, 255, 255)))
        assert (b.line("video").frame_width, b.line("video").frame_height) == (320, 240)
        a.close()
        b.close()
    engine.close()


def _with_alsa(program: str, config: Path) -> str:
    config.write_text(_ALSA)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ALSA_CONFIG_PATH": str(config), "PYTHONPATH": str(_ROOT / "adapters")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_microphone_and_speaker_of_portaudio(tmp_path: Path) -> None:
    assert "heard 50" in _with_alsa(_SOUND, tmp_path / "asound.conf")


def test_portaudio_finds_what_was_plugged_in_later(tmp_path: Path) -> None:
    assert "found" in _with_alsa(_PLUGGED, tmp_path / "asound.conf")
