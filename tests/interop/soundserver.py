"""PulseAudio as a real sound server without hardware, for microphones and speakers by PortAudio and ALSA.

It has a room for each name, with a microphone `NAME-mic` and a loudspeaker `NAME-out`: the one hears what the other plays.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
from numpy.typing import NDArray

from .child import Child, launch

RATE = 48000
_READ = RATE // 50 * 2  # octets: 20 ms
_ALSA_DEVICE = 'pcm.{name} {{ type pulse device "{target}" hint {{ show on description "{name}" }} }}\n'


class SoundServer(Child):
    """It has one pair of devices for each name.

    For a mouth and an ear that do not hear one another it takes two.
    """

    program = "pulseaudio"

    def __init__(self, *names: str) -> None:
        self._names = names

    def _configure(self) -> None:
        self._socket = self.folder / "native"
        self.environment: dict[str, str] = {
            **os.environ,
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            "PULSE_SERVER": f"unix:{self._socket}",
            "ALSA_CONFIG_PATH": str(self.folder / "asound.conf"),
        }
        devices = [_ALSA_DEVICE.format(name=f"{name}-mic", target=f"{name}.monitor") for name in self._names]
        devices += [_ALSA_DEVICE.format(name=f"{name}-out", target=name) for name in self._names]
        # PortAudio aborts its process where ALSA has no default device.
        (self.folder / "asound.conf").write_text("".join([*devices, "pcm.!default { type pulse }\n"]))

    def _arguments(self) -> list[str]:
        arguments = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"]
        arguments += ["-L", f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"]
        for name in self._names:
            arguments += ["-L", f"module-null-sink sink_name={name} rate={RATE} channels=1"]
        return arguments

    def _is_ready(self) -> bool:
        return self._control("info").returncode == 0

    def unplug(self, name: str) -> None:
        """Takes a pair of devices away, as pulling a headset out does."""
        listed = self._control("list", "short", "modules").stdout
        number = next(line.split()[0] for line in listed.splitlines() if f"sink_name={name} " in line)
        assert self._control("unload-module", number).returncode == 0

    def _control(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *words], env=self.environment, capture_output=True, text=True, timeout=10, check=False
        )

    @contextmanager
    def playing(self, name: str, samples: NDArray[numpy.int16]) -> Iterator[None]:
        """Plays mono samples of 48 kHz into a device, from the beginning of the block."""
        command = ["pacat", "--playback", "--raw", f"--device={name}", "--latency-msec=20", *_FORMAT]
        with launch(*command, env=self.environment, stdin=subprocess.PIPE) as player:
            assert player.stdin is not None
            feeder = threading.Thread(target=_feed, args=(player, samples.tobytes()), daemon=True)
            feeder.start()
            try:
                yield
            finally:
                player.kill()
                feeder.join()

    @contextmanager
    def listening(self, name: str) -> Iterator[Recording]:
        """Records what is played into a device."""
        command = ["parec", "--raw", f"--device={name}.monitor", "--latency-msec=10", *_FORMAT]
        with launch(*command, env=self.environment, stdout=subprocess.PIPE) as recorder:
            recording = Recording(recorder)
            try:
                yield recording
            finally:
                recorder.kill()
                recording.join()


_FORMAT = ("--format=s16le", f"--rate={RATE}", "--channels=1")


def _feed(player: subprocess.Popen[bytes], data: bytes) -> None:
    assert player.stdin is not None
    try:
        player.stdin.write(data)
    except BrokenPipeError:
        pass  # it was ended before all was played


class Recording:
    """What is heard since it began. `began`: time.monotonic() of its first sample, to some 20 ms."""

    def __init__(self, recorder: subprocess.Popen[bytes]) -> None:
        self.began = 0.0
        self._recorder = recorder
        self._data = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._recorder.stdout is not None
        while data := self._recorder.stdout.read(_READ):
            if not self._data:
                self.began = time.monotonic() - len(data) / 2 / RATE
            self._data += data

    def join(self) -> None:
        self._thread.join(5)

    @property
    def samples(self) -> NDArray[numpy.int16]:
        data = bytes(self._data)
        return numpy.frombuffer(data[: len(data) // 2 * 2], numpy.int16)
