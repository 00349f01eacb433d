"""A mixer of the audio of several calls: the sound of a conference."""

from __future__ import annotations

import threading

from sipproto_devices._buffers import FrameBuffer
from sipproto_devices._media import Samples, mix


class AudioMixer:
    """Calls that share a mixer hear one another and not themselves. 48 kHz mono, frames of 20 ms.

    Each audio line of a call is a member; members of one call (`group`) do not hear one another.
    One mixer may serve calls of several engines (threads). Each listener has a short bounded buffer for each speaker,
    so that nobody waits for anybody and no delay builds up; the cost grows with the square of the members.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: list[MixerMember] = []

    @property
    def members(self) -> int:
        """How many calls take part."""
        with self._lock:
            return len({id(member.group) for member in self._members})

    def join(self, group: object = None) -> MixerMember:
        """A new member, to be closed when its line ends. Without a `group` it is alone in its own."""
        member = MixerMember(self, group)
        with self._lock:
            self._members.append(member)
        return member

    def _leave(self, member: MixerMember) -> None:
        with self._lock:
            if member in self._members:
                self._members.remove(member)
            for other in self._members:
                other._heard.pop(member, None)

    def _spread(self, speaker: MixerMember, samples: Samples) -> None:
        with self._lock:
            if speaker not in self._members:
                return
            for other in self._members:
                if other.group is not speaker.group:
                    other._heard.setdefault(speaker, FrameBuffer(prime=2, limit=6)).push(samples)


class MixerMember:
    """A line's place at a mixer: what it says goes in by `push`, what it hears comes out by `read`."""

    def __init__(self, mixer: AudioMixer, group: object) -> None:
        self._mixer = mixer
        self.group = self if group is None else group
        self._heard: dict[MixerMember, FrameBuffer] = {}

    def push(self, samples: Samples) -> None:
        """20 ms (960 samples) of this line for the others."""
        self._mixer._spread(self, samples)

    def read(self) -> Samples | None:
        """20 ms of all others together, clipped at full scale; None when none of them says anything."""
        with self._mixer._lock:
            parts = [part for buffer in self._heard.values() if (part := buffer.read()) is not None]
        return mix(parts)

    def close(self) -> None:
        self._mixer._leave(self)
