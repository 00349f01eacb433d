"""A detailed moving picture as a file: a texture like that of photographs that moves over itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy
from numpy.typing import NDArray

FRAME_RATE = 30


def write_clip(path: Path, width: int, height: int, *, pictures: int = 60) -> str:
    """A file of `pictures` at 30 a second; the middle moves otherwise than the rest."""
    luma, chroma = texture(width, height), texture(width // 2, height // 2)
    top, left = height // 4, width // 4
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "18"}
        for number in range(pictures):
            y = numpy.roll(luma, (3 * number, 5 * number), (0, 1)).copy()
            middle = slice(top, 3 * top), slice(left, 3 * left)
            y[middle] = numpy.roll(luma, -7 * number, 1)[middle]
            c = numpy.roll(chroma, (number, 3 * number), (0, 1)).reshape(-1, width)
            frame = av.VideoFrame.from_ndarray(numpy.vstack([y, c, c]), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def texture(width: int, height: int) -> NDArray[numpy.uint8]:
    """Noise whose amplitude falls with its frequency as in photographs."""
    noise = numpy.fft.rfft2(numpy.random.default_rng(1).standard_normal((height, width)))
    rows = numpy.fft.fftfreq(height)[:, None] * height
    columns = numpy.fft.rfftfreq(width)[None, :] * width
    distance = numpy.sqrt(rows**2 + columns**2)
    distance[0, 0] = 1
    values = numpy.fft.irfft2(noise / distance**1.2, s=(height, width))
    values -= values.min()
    scaled: NDArray[numpy.uint8] = (values / values.max() * 219 + 16).astype(numpy.uint8)
    return scaled
