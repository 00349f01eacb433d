"""What to encode: decisions of a media sender that need no codec, no clock and no I/O.

`VideoControl` decides for each picture; the rest is what it is made of. An engine asks, and encodes as told.
"""

from sipproto.media._bandwidth import MINIMUM_BITRATE, START_BITRATE, Bandwidth
from sipproto.media._control import VideoControl
from sipproto.media._effective import chosen_encoding, effective_parameters
from sipproto.media._policy import SACRIFICES, Sacrifice, VideoTarget, ample_bitrate, video_target

__all__ = [
    "MINIMUM_BITRATE",
    "SACRIFICES",
    "START_BITRATE",
    "Bandwidth",
    "Sacrifice",
    "VideoControl",
    "VideoTarget",
    "ample_bitrate",
    "chosen_encoding",
    "effective_parameters",
    "video_target",
]
