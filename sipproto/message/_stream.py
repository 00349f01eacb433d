"""Messages out of a byte stream (RFC 3261 18.3) and the keep-alives between them (RFC 5626 3.5.1)."""

from __future__ import annotations

import enum

from sipproto.errors import Fault, FramingError, MessageSyntaxError
from sipproto.message._message import Message
from sipproto.message._parser import DEFAULT_LIMITS, MessageLimits, _parse_head, with_body


class KeepAlive(enum.Enum):
    """What stands between messages: the receiver of a PING answers with a PONG (RFC 5626 4.4.1)."""

    PING = b"\r\n\r\n"
    PONG = b"\r\n"


class StreamParser:
    """Feeds on octets in pieces of any size and gives whole messages.

    The result does not depend on how the octets are cut. Time is linear in their number: no octet is searched twice.
    After a FramingError the stream is lost and the flow has to be closed.
    """

    def __init__(self, limits: MessageLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._head: Message | None = None
        self._needed = 0
        self._half_ping = False
        self._lost: FramingError | None = None

    @property
    def buffered(self) -> int:
        """Octets held of a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message | KeepAlive]:
        """Takes octets, returns the messages and keep-alives that they complete.

        Raises FramingError when the end of a message cannot be found (no or a bad Content-Length) or a limit is passed,
        and again on each later call. What was complete before it is in `before` of the error.
        """
        if self._lost is not None:
            raise FramingError(self._lost.fault, self._lost.detail)
        self._buffer += data
        out: list[Message | KeepAlive] = []
        try:
            while (item := self._next()) is not None:
                out.append(item)
        except FramingError as error:
            self._lost = error
            self._buffer.clear()
            raise FramingError(error.fault, error.detail, before=tuple(out)) from None
        return out

    def _next(self) -> Message | KeepAlive | None:
        if self._head is not None:
            return self._finish_body()
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            # A line end between messages is a pong; the second in a row makes the two a ping. Said as soon as it is
            # known, and the same however the octets are cut. (7.5 tells us to ignore line ends before a start line.)
            del buffer[:2]
            self._searched = 0
            self._half_ping = not self._half_ping
            return KeepAlive.PONG if self._half_ping else KeepAlive.PING
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > self._limits.max_size:
                raise FramingError(Fault.TOO_LARGE, f"headers of more than {self._limits.max_size} octets")
            return None
        if end + 4 > self._limits.max_size:  # the same whether or not the end came with the last octets
            raise FramingError(Fault.TOO_LARGE, f"headers of more than {self._limits.max_size} octets")
        try:
            head = _parse_head(bytes(buffer[:end]), b"", self._limits)
        except MessageSyntaxError as error:
            raise FramingError(error.fault, error.detail) from None
        del buffer[: end + 4]
        self._searched = 0
        self._half_ping = False
        self._head, self._needed = head, self._content_length(head)
        return self._finish_body()

    def _content_length(self, head: Message) -> int:
        # 20.14: mandatory on streams. Differing values leave the end of the body open to dispute.
        values = set(head.headers.raw("Content-Length"))
        if len(values) != 1:
            raise FramingError(Fault.CONTENT_LENGTH, "absent" if not values else "several different values")
        text = values.pop()
        if not (text.isascii() and text.isdecimal()) or len(text) > 10:
            raise FramingError(Fault.CONTENT_LENGTH, "not a number")
        if int(text) > self._limits.max_size:
            raise FramingError(Fault.TOO_LARGE, f"a body of {text} octets")
        return int(text)

    def _finish_body(self) -> Message | None:
        head, needed = self._head, self._needed
        if head is None or len(self._buffer) < needed:
            return None
        body = bytes(self._buffer[:needed])
        del self._buffer[:needed]
        self._head = None
        return with_body(head, body)
