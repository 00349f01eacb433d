"""Messages out of a stream: framing, keep-alives, limits."""

from __future__ import annotations

import pytest

from sipproto.errors import Fault, FramingError
from sipproto.message import KeepAlive, MessageLimits, Request, StreamParser

from .samples import message, octets

ONE = octets("Content-Length: 3", body=b"abc")


def test_keep_alives_between_messages() -> None:
    parser = StreamParser()
    assert parser.feed(b"\r\n\r\n") == [KeepAlive.PONG, KeepAlive.PING]
    assert parser.feed(b"\r") == []
    assert parser.feed(b"\n" + ONE) == [KeepAlive.PONG, message("Content-Length: 3", body=b"abc")]
    assert parser.feed(b"\r\n") == [KeepAlive.PONG]
    assert parser.buffered == 0


@pytest.mark.parametrize(
    "line", ["X: y", "Content-Length: -1", "Content-Length: x", "l: 1\r\nContent-Length: 2", "l: 99999999999"]
)
def test_without_a_length_the_stream_is_lost_for_good(line: str) -> None:
    parser = StreamParser()
    with pytest.raises(FramingError) as caught:
        parser.feed(ONE + octets(line, body=ONE))
    assert caught.value.fault is Fault.CONTENT_LENGTH
    (before,) = caught.value.before
    assert isinstance(before, Request) and before.body == b"abc"
    for _ in range(2):  # what follows the fault is never taken for messages
        with pytest.raises(FramingError) as again:
            parser.feed(ONE)
        assert again.value.before == ()
    assert parser.buffered == 0


def _feed_all(parser: StreamParser, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        parser.feed(data[start : start + step])


@pytest.mark.parametrize("step", [1, 64, 10_000])
def test_limits_do_not_depend_on_the_cut(step: int) -> None:
    limits = MessageLimits(max_size=400)
    for data in (octets("Content-Length: 401"), octets("X: " + "y" * 300, "l: 0"), octets("X: " + "y" * 300)[:-4]):
        parser = StreamParser(limits)
        with pytest.raises(FramingError) as caught:
            _feed_all(parser, data, step)
        assert caught.value.fault is Fault.TOO_LARGE
