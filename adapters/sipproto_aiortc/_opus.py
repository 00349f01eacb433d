"""libopus itself, for what FFmpeg's wrappers cannot do: decoding in-band FEC, concealment, DTX, changes under way.

It is the copy that comes with PyAV's wheels, or else that of the system. Also what a packet of Opus says of itself.
Sections are those of RFC 6716 unless told otherwise.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import logging
import re
from ctypes.util import find_library
from typing import Any

import numpy
from attrs import frozen
from numpy.typing import NDArray

from sipproto_aiortc._concealment import Block

_log = logging.getLogger("sipproto.media")

RATE, CHANNELS = 48000, 2
STEP = RATE // 400  # samples: what is concealed is a multiple of 2.5 ms
_LONGEST = RATE * 120 // 1000  # samples of a packet
_FRAME_MS = (  # by the configuration: 3.1, table 2
    *(10, 20, 40, 60) * 3,  # SILK
    *(10, 20) * 2,  # hybrid
    *(2.5, 5, 10, 20) * 4,  # CELT
)
_FIRST_OF_CELT = 16


def duration(packet: bytes) -> int:
    """The samples (at 48 kHz) of a packet of Opus (3.1, 3.2); 0 of one that is none."""
    if not packet:
        return 0
    count = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[packet[0] & 3]
    samples = int(count * _FRAME_MS[packet[0] >> 3] * (RATE // 1000))
    return samples if samples <= _LONGEST else 0


def is_quiet(packet: bytes) -> bool:
    """Whether it is all that is sent of silence for a while (DTX): nothing behind the header (3.1)."""
    return len(packet) <= 2


def has_fec(packet: bytes) -> bool:
    """Whether a packet repeats the one before it: the LBRR flag behind those of voice activity (4.2.3, 4.2.4).

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


_LIBRARY = re.compile(r"(lib)?opus[-.].*(so|dylib|dll)")  # and not libopusenc or the like
_int, _int32, _pointer = ctypes.c_int, ctypes.c_int32, ctypes.c_void_p
_FUNCTIONS = (  # of opus.h: name, result, arguments; `ctl` takes one more, as the request wants it
    ("opus_decoder_create", _pointer, (_int32, _int, ctypes.POINTER(_int))),
    ("opus_decoder_destroy", None, (_pointer,)),
    ("opus_decode", _int, (_pointer, ctypes.c_char_p, _int32, _pointer, _int, _int)),
    ("opus_encoder_create", _pointer, (_int32, _int, _int, ctypes.POINTER(_int))),
    ("opus_encoder_destroy", None, (_pointer,)),
    ("opus_encoder_ctl", _int, (_pointer, _int)),
    ("opus_encode", _int32, (_pointer, _pointer, _int, _pointer, _int32)),
)


@functools.cache
def library() -> Any:
    """libopus, or None where there is none."""
    for name in _names():
        try:
            found = ctypes.CDLL(name)
            for function, result, arguments in _FUNCTIONS:
                member = getattr(found, function)
                member.restype, member.argtypes = result, arguments
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
    bundled = [str(file.locate()) for file in files if _LIBRARY.match(file.name)]
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


_VOIP = 2048  # OPUS_APPLICATION_VOIP
_MOST = 1275 * 3 + 7  # octets of a packet of 60 ms (3.4)
_AUTO, _VOICE = -1000, 3001  # OPUS_AUTO, OPUS_SIGNAL_VOICE
_BANDWIDTHS = {8000: 1101, 12000: 1102, 16000: 1103, 24000: 1104, 48000: 1105}  # OPUS_BANDWIDTH_..., by sampling rate
_DTX_MOST = 2  # octets of a packet that need not be sent


@frozen(kw_only=True)
class Settings:
    """How an encoder encodes. bitrate: bits per second. playback_rate: Hz, what sounds above half of it is left out.

    loss: per cent of packets that get lost, for which `fec` is put into the others. dtx: silence is hardly sent.
    """

    bitrate: int
    playback_rate: int = RATE
    fec: bool = False
    loss: int = 0
    dtx: bool = False
    constant: bool = False

    def requests(self) -> tuple[tuple[int, int], ...]:
        """As opus_defines.h has them."""
        bandwidth = next((code for rate, code in _BANDWIDTHS.items() if rate >= self.playback_rate), _BANDWIDTHS[RATE])
        return (
            (4002, self.bitrate),
            (4004, bandwidth),  # OPUS_SET_MAX_BANDWIDTH
            (4006, int(not self.constant)),  # OPUS_SET_VBR
            (4012, int(self.fec)),
            (4014, self.loss),
            (4016, int(self.dtx)),
            # OPUS_SET_SIGNAL: only the part for voices has FEC, and by itself libopus leaves that to heavy losses.
            (4024, _VOICE if self.fec and self.loss else _AUTO),
        )


class MonoEncoder:
    """An encoder of libopus for one channel at 48 kHz. Its settings may change with each packet."""

    def __init__(self) -> None:
        self._library = library()
        error = ctypes.c_int()
        self._encoder = self._library.opus_encoder_create(RATE, 1, _VOIP, ctypes.byref(error))
        if not self._encoder:
            raise MemoryError(f"libopus made no encoder (error {error.value})")
        self._settings: Settings | None = None
        self._room = ctypes.create_string_buffer(_MOST)

    def __del__(self) -> None:
        if getattr(self, "_encoder", None):
            self._library.opus_encoder_destroy(self._encoder)

    def encode(self, samples: NDArray[numpy.int16], settings: Settings) -> bytes:
        """A packet of 20, 40 or 60 ms. Raises ValueError for samples of another length and settings out of range."""
        if settings != self._settings:
            for request, value in settings.requests():
                if self._library.opus_encoder_ctl(self._encoder, request, ctypes.c_int32(value)) < 0:
                    raise ValueError(f"libopus refuses {request} {value}")
            self._settings = settings
        samples = numpy.ascontiguousarray(samples)
        size = self._library.opus_encode(self._encoder, samples.ctypes.data, len(samples), self._room, _MOST)
        if size < 0:
            raise ValueError(f"{len(samples)} samples cannot be encoded (error {size})")
        return self._room.raw[:size]


def needs_sending(packet: bytes) -> bool:
    """Whether an encoder with `dtx` wants a packet to be sent."""
    return len(packet) > _DTX_MOST
