"""libopus itself, for what FFmpeg's decoder cannot do: in-band FEC and concealment (RFC 6716 2.1.7, 4.4).

It is the copy that comes with PyAV's wheels, or else that of the system. Also what a packet of Opus says of itself.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import logging
from ctypes.util import find_library
from typing import Any

import numpy

from sipproto_aiortc._concealment import Block

_log = logging.getLogger("sipproto.media")

RATE, CHANNELS = 48000, 2
STEP = RATE // 400  # samples: what is concealed is a multiple of 2.5 ms
_LONGEST = RATE * 120 // 1000  # samples of a packet
_FRAME_MS = (  # by the configuration of RFC 6716 3.1, table 2
    *(10, 20, 40, 60) * 3,  # SILK
    *(10, 20) * 2,  # hybrid
    *(2.5, 5, 10, 20) * 4,  # CELT
)
_FIRST_OF_CELT = 16


def duration(packet: bytes) -> int:
    """The samples (at 48 kHz) of a packet of Opus (RFC 6716 3.1, 3.2); 0 of one that is none."""
    if not packet:
        return 0
    count = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[packet[0] & 3]
    samples = int(count * _FRAME_MS[packet[0] >> 3] * (RATE // 1000))
    return samples if samples <= _LONGEST else 0


def is_quiet(packet: bytes) -> bool:
    """Whether it is all that is sent of silence for a while (DTX): nothing behind the header (RFC 6716 3.1)."""
    return len(packet) <= 2


def has_fec(packet: bytes) -> bool:
    """Whether a packet repeats the one before it: the LBRR flag behind those of voice activity (RFC 6716 4.2.3, 4.2.4).

    Only of packets with one frame, as those of speech are up to 60 ms.
    """
    config = packet[0] >> 3 if len(packet) > 2 else _FIRST_OF_CELT
    if config >= _FIRST_OF_CELT or packet[0] & 3:
        return False
    frames = max(1, int(_FRAME_MS[config]) // 20)
    flags = packet[1]
    middle = bool(flags & 0x80 >> frames)
    side = bool(packet[0] & 4) and bool(flags & 0x80 >> (2 * frames + 1))
    return middle or side


@functools.cache
def library() -> Any:
    """libopus, or None where there is none."""
    for name in _names():
        try:
            found = ctypes.CDLL(name)
            found.opus_decoder_create.argtypes = (ctypes.c_int32, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
            found.opus_decoder_create.restype = ctypes.c_void_p
            found.opus_decode.argtypes = (
                ctypes.c_void_p,
                ctypes.c_char_p,
                ctypes.c_int32,
                ctypes.c_void_p,
                ctypes.c_int,
                ctypes.c_int,
            )
            found.opus_decode.restype = ctypes.c_int
            found.opus_decoder_destroy.argtypes = (ctypes.c_void_p,)
            found.opus_decoder_destroy.restype = None
        except (OSError, AttributeError) as error:
            _log.debug("libopus %r cannot be used: %r", name, error)
        else:
            return found
    return None


def _names() -> list[str]:
    try:
        files = importlib.metadata.files("av") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    bundled = [str(file.locate()) for file in files if file.name.startswith("libopus")]
    system = find_library("opus") if not bundled else None
    return [*bundled, *([system] if system else [])]


class OpusDecoder:
    """A decoder of libopus. Every method returns samples, and raises ValueError for a packet that is none."""

    def __init__(self) -> None:
        self._library = library()
        error = ctypes.c_int()
        self._decoder = self._library.opus_decoder_create(RATE, CHANNELS, ctypes.byref(error))
        if not self._decoder:
            raise MemoryError(f"libopus made no decoder (error {error.value})")

    def __del__(self) -> None:
        if getattr(self, "_decoder", None):
            self._library.opus_decoder_destroy(self._decoder)

    def decode(self, packet: bytes) -> Block:
        return self._decode(packet, _LONGEST, fec=False)

    def repair(self, following: bytes, count: int) -> Block:
        """So many samples (a multiple of `STEP`) of the packet before `following`, as good as that one knows it."""
        return self._decode(following, count, fec=True)

    def conceal(self, count: int) -> Block:
        """So many samples (a multiple of `STEP`) of what is missing."""
        return self._decode(None, count, fec=False)

    def _decode(self, packet: bytes | None, room: int, *, fec: bool) -> Block:
        block = numpy.empty((room, CHANNELS), numpy.int16)
        count = self._library.opus_decode(self._decoder, packet, len(packet or b""), block.ctypes.data, room, fec)
        if count < 0:
            raise ValueError(f"no packet of Opus (error {count})")
        return block[:count]
