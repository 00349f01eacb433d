"""Where messages end in the octets of a flow: for masking, ladders and captures. It judges nothing."""

from __future__ import annotations

import re

from sipproto.transaction import FlowId

_LENGTH = re.compile(rb"(?im)^(?:Content-Length|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\r?$")
_STREAMS = ("TCP", "TLS")


def is_stream(transport: str) -> bool:
    return transport.upper() in _STREAMS


def split_stream(data: bytes) -> tuple[list[bytes], bytes | None]:
    """The whole messages and keep-alives at the start of a stream, and the beginning of one that is not complete.

    None for the latter: the last message has no end that could be found, and nothing that follows has one.
    """
    out: list[bytes] = []
    at = 0
    while at < len(data):
        if data.startswith(b"\r\n", at):
            out.append(b"\r\n")
            at += 2
            continue
        head = data.find(b"\r\n\r\n", at)
        if head < 0:
            break
        length = _LENGTH.search(data, at, head + 2)
        if length is None:
            return [*out, data[at:]], None
        end = head + 4 + int(length[1])
        if end > len(data):
            break
        out.append(data[at:end])
        at = end
    return out, data[at:]


class StreamTails:
    """The octets of messages that are not complete yet, by flow.

    A secret may be cut in two by a stream. So a message is shown only when all of it is there; how a stream is cut
    makes no difference to an engine. What has no end, or is longer than `limit`, is given out as it is.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tails: dict[FlowId, bytes] = {}

    def open(self, flow: FlowId, transport: str) -> None:
        if is_stream(transport):
            self._tails[flow] = b""

    def feed(self, flow: FlowId, data: bytes) -> list[bytes]:
        """The messages that these octets complete. For flows that are no stream: the octets."""
        tail = self._tails.get(flow)
        if tail is None:
            return [data]
        messages, rest = split_stream(tail + data)
        if rest is None or len(rest) > self._limit:
            del self._tails[flow]
            return messages if rest is None else [*messages, rest]
        self._tails[flow] = rest
        return messages

    def close(self, flow: FlowId) -> bytes:
        """What was left of a message when the flow ended."""
        return self._tails.pop(flow, b"")

    def flows(self) -> list[FlowId]:
        return list(self._tails)
