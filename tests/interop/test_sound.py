"""Microphones and speakers with a real sound server: from one mouth to one ear, through PortAudio, a call and a server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import numpy
import pytest
from numpy.typing import NDArray

from .child import launch
from .embedded import Embedded
from .kamailio import password_of
from .soundserver import RATE, Recording, SoundServer

pytestmark = pytest.mark.interop
_ROOT = Path(__file__).resolve().parents[2]
_WINDOW = RATE // 50  # samples: 20 ms
_HERTZ = 750  # a whole number of periods in a window
_LOUD = 0.01  # of full scale


@pytest.fixture
def sounds() -> Iterator[SoundServer]:
    with SoundServer("mouth", "ear") as server:
        yield server


def _tone(seconds: float, hertz: float = _HERTZ) -> NDArray[numpy.int16]:
    moments = numpy.arange(round(seconds * RATE)) / RATE
    return (8000 * numpy.sin(2 * numpy.pi * hertz * moments)).astype(numpy.int16)


def _levels(samples: NDArray[numpy.int16], hertz: float = _HERTZ) -> NDArray[numpy.float64]:
    """The amplitude of the tone in each 20 ms, 1 is full scale."""
    windows = samples[: len(samples) // _WINDOW * _WINDOW].reshape(-1, _WINDOW) / 32768
    turning = numpy.exp(-2j * numpy.pi * hertz * numpy.arange(_WINDOW) / RATE)
    levels: NDArray[numpy.float64] = numpy.abs(windows @ turning) * 2 / _WINDOW
    return levels


def _until(good: Callable[[], object], what: str, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not good():
        assert time.monotonic() < deadline, f"did not happen in {timeout} s: {what}"
        time.sleep(0.05)


def _hears(ear: Recording) -> Callable[[], bool]:
    """Whether the last half second was the tone."""
    return lambda: len(_levels(ear.samples)) > 25 and bool((_levels(ear.samples)[-25:] > _LOUD).mean() > 0.9)


def _onset(recording: Recording) -> float:
    """When the first window with the tone began, by time.monotonic()."""
    return recording.began + int(numpy.argmax(_levels(recording.samples) > _LOUD)) * _WINDOW / RATE


@contextmanager
def _call(sounds: SoundServer, server: Embedded, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`sipproto call` to the server's echo, with a real microphone and a real speaker."""
    command = [sys.executable, "-m", "sipproto_cli", "call", f"sip:600@{server.domain}", "--ws", server.ws_url]
    command += ["--user", "alice", "--domain", server.domain, "--json", "--loopback"]
    command += ["--microphone", "mouth-mic", "--speaker", "ear-out", *options]
    environment = {**sounds.environment, "SIPPROTO_PASSWORD": password_of("alice")}
    with launch(*command, env=environment, stdout=PIPE, stderr=PIPE, text=True, cwd=_ROOT) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_from_the_mouth_to_the_ear(sounds: SoundServer) -> None:
    """There and back again through the server: the tone is heard without holes, and soon."""
    with Embedded() as server, _call(sounds, server, "--duration", "60"), sounds.listening("ear") as ear:
        with sounds.playing("mouth", _tone(60)):
            _until(_hears(ear), "the tone at the ear")
        _until(lambda: not (_levels(ear.samples)[-10:] > _LOUD).any(), "silence at the ear")
        with sounds.listening("mouth") as mouth, sounds.playing("mouth", _tone(60)):
            begun = len(_levels(ear.samples))
            _until(lambda: len(_levels(ear.samples)) > begun + 500, "ten seconds at the ear")
        levels = _levels(ear.samples)[begun:] > _LOUD
        heard = levels[int(numpy.argmax(levels)) : 480]
        delay = ear.began + (begun + int(numpy.argmax(levels))) * _WINDOW / RATE - _onset(mouth)
        print(f"heard {heard.mean():.1%} of the tone, {delay:.2f} s after it was said")
        assert heard.mean() > 0.9
        assert delay < 1.0


def test_a_sound_server_that_dies_does_not_end_the_call(sounds: SoundServer) -> None:
    with Embedded() as server, _call(sounds, server, "--duration", "8") as process:
        with sounds.listening("ear") as ear, sounds.playing("mouth", _tone(60)):
            _until(_hears(ear), "the tone at the ear")
        sounds.kill()
        output, told = process.communicate(timeout=40)
    assert process.returncode == 0, told
    assert "the input device 'mouth-mic' is gone" in told
    assert "the output device 'ear-out' is gone" in told
    last = json.loads(output.splitlines()[-1])
    assert last["event"] == "stats" and last["state"] == "connected"
    assert last["audio"]["sent"]["packets"] > 300


def test_a_headset_that_is_pulled_out_leaves_the_phone_the_other_devices(tmp_path: Path) -> None:
    """The sound server moves what is played on to its other devices, or ends it, and then the phone goes over to them.

    What is said is heard where it is said, once more, as the echo.
    """
    with SoundServer("room", "headset") as sounds, Embedded() as server:
        words = [sys.executable, "-m", "tests.interop.sound_child", str(tmp_path), str(server.server.port)]
        words += [server.domain, password_of("alice")]
        with launch(*words, env=sounds.environment, cwd=_ROOT, stdin=PIPE, stdout=PIPE, text=True) as phone:
            assert phone.stdin is not None and phone.stdout is not None
            try:
                assert phone.stdout.readline() == "talking\n"
                _until_echo(sounds, "headset")
                sounds.unplug("headset")
                _until_echo(sounds, "room")
                phone.stdin.close()
                assert phone.wait(30) == 0
            finally:
                phone.kill()


def _until_echo(sounds: SoundServer, name: str) -> None:
    """Until more is heard than is played: a fifth of a second, which is ten windows, and its echoes."""
    for _ in range(10):
        with sounds.listening(name) as ear:
            _until(lambda: len(ear.samples), "something, if only silence")
            with sounds.playing(name, _tone(0.2)):
                deadline = time.monotonic() + 3
                while time.monotonic() < deadline:
                    if (_levels(ear.samples) > _LOUD).sum() > 15:
                        return
                    time.sleep(0.05)
    pytest.fail(f"no echo in the {name}")
