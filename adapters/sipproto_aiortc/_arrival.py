"""When a datagram arrived: as the kernel noted it, not as late as a busy process came to read it."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import time

# Of linux/sockios.h: the time of the datagram that was read last from a socket, as a struct timespec (socket(7)).
_SIOCGSTAMPNS = 0x8907
# Seconds: a datagram that seems to have waited longer in the socket came before somebody set the clock.
_OLDEST = 2.0

if sys.platform == "linux":
    # As PyDLL it keeps the interpreter's lock, which fcntl.ioctl() gives away: to get it back from another thread that is
    # busy takes 5 ms, for each packet. The call itself never waits.
    _ioctl = ctypes.PyDLL(None).ioctl
    _ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)

    class ArrivalClock:
        """Of one socket, or of none, such as what comes through a TURN server: then the time of reading has to do."""

        def __init__(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            self._socket = -1 if sock is None else sock.fileno()
            self._stamp = (ctypes.c_long * 2)()
            self.last()  # the kernel notes times from the first question on

        def last(self) -> float:
            """The monotonic time, in seconds, at which the datagram arrived that has just been read."""
            now = time.monotonic()
            if _ioctl(self._socket, _SIOCGSTAMPNS, self._stamp) != 0:  # no socket, or nothing has been read from it
                return now
            waited = time.time() - (self._stamp[0] + self._stamp[1] * 1e-9)
            return now - waited if 0.0 < waited < _OLDEST else now

else:

    class ArrivalClock:
        """The time of reading: other systems tell no more without a way to read of one's own."""

        def __init__(self, transport: asyncio.BaseTransport) -> None:
            pass

        def last(self) -> float:
            """The monotonic time, in seconds."""
            return time.monotonic()
