"""What holds for any input: no surprise errors, no loss, the same however it is cut, and time in proportion to size."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipproto.errors import FramingError, MessageSyntaxError, RemoteProtocolError
from sipproto.message import (
    Headers,
    Message,
    NameAddr,
    Request,
    Response,
    SipUri,
    StreamParser,
    escape_user,
    fields,
    parse_auth,
    parse_message,
    parse_uri,
    split_list,
    validate,
)
from sipproto.sdp import codecs_of, extensions_of, parse_sdp, ssrcs_of, transport_of

from .samples import octets
from .torture import EXPECTED
from .torture import octets as vector

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
tokens = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=12)
line_text = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=30).map(str.strip)
names = st.sampled_from(["Subject", "X-Unknown", "s", "Organization", "User-Agent"])
pairs = st.lists(st.tuples(names, line_text), max_size=8)
nasty_text = st.text('"\\<>;:,=@[]()/ \tabSIP20.%5*\r\n\0é\udcff', max_size=60)


def built() -> st.SearchStrategy[Message]:
    requests = st.builds(
        Request, tokens, st.sampled_from(["sip:a@b", "tel:+1", "urn:x"]), pairs.map(Headers), st.binary(max_size=50)
    )
    responses = st.builds(Response, st.integers(100, 699), line_text, pairs.map(Headers), st.binary(max_size=50))
    return st.one_of(requests, responses)


@quick
@given(built())
def test_what_is_written_is_read_again(message: Message) -> None:
    again = parse_message(message.to_bytes())
    assert again.to_bytes() == message.to_bytes()
    assert type(again) is type(message) and again.body == message.body
    assert list(again.headers) == list(message.headers)


@quick
@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
    st.text(max_size=20).filter(lambda t: t.isprintable()),
)
def test_addresses_are_read_as_they_were_written(user: str, name: str) -> None:
    uri = SipUri(user=escape_user(user) or None, host="h")
    value = fields.FROM.parse(str(NameAddr(uri, name, fields.FROM.parse("<sip:a>;tag=x").params)))
    assert value == NameAddr(uri, name, value.params) and value.tag == "x"


@quick
@given(st.binary(max_size=200), st.sampled_from(sorted(EXPECTED)), st.integers(0, 400), st.integers(0, 40))
@example(b"", "wsinv", 0, 0)
def test_any_octets_are_a_message_or_a_syntax_error(noise: bytes, name: str, at: int, cut: int) -> None:
    data = vector(name)
    for candidate in (noise, data[:at] + noise + data[at + cut :], noise + b"\r\n\r\n"):
        try:
            message = parse_message(candidate)
        except MessageSyntaxError:
            continue
        validate(message)
        assert repr(message)
        Headers(message.headers if not message.headers.defects else ())
        for field in fields.ALL_FIELDS.values():
            value = message.headers.get(field)
            Headers([("X", "" if value is None else value)])


@quick
@given(nasty_text)
@example('"\\')
@example("a=\x00")
def test_any_text_is_a_value_or_a_syntax_error(text: str) -> None:
    parsers: list[Callable[[str], object]] = [field.parse for field in fields.ALL_FIELDS.values()]
    for parse in [*parsers, parse_uri, parse_auth, lambda t: parse_sdp("v=0\r\n" + t), parse_sdp]:
        try:
            parse(text)
        except MessageSyntaxError:
            pass
    split_list(text)


@quick
@given(
    st.lists(
        st.sampled_from(
            [
                "m=audio 1 X 0 ٣",
                "a=ssrc-group:",
                "a=ssrc-group:FID",
                "a=group:",
                "a=fingerprint:",
                "a=rtpmap:",
                "a=extmap: ",
                "a=ssrc:1",
            ]
        ),
        max_size=8,
    )
)
def test_any_attributes_can_be_read(lines: list[str]) -> None:
    sdp = parse_sdp("\n".join(["v=0", *lines]))
    for media in sdp.media:
        assert len(codecs_of(media)) <= 1
        extensions_of(sdp, media)
        ssrcs_of(media)
        transport_of(sdp, media)


def _stream(pieces: list[bytes]) -> tuple[list[object], object]:
    parser, out = StreamParser(), list[object]()
    for piece in pieces:
        try:
            out += parser.feed(piece)
        except FramingError as error:
            return [*out, *error.before], error.fault
    return out, parser.buffered


@quick
@given(
    st.lists(
        st.sampled_from([octets("l: 3", body=b"abc"), b"\r\n", b"\r\n\r\n", octets("l: 0"), octets(), b"x\r\n\r\n"]),
        max_size=6,
    ),
    st.lists(st.integers(0, 2000), max_size=8),
)
def test_a_stream_may_be_cut_anywhere(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(messages)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert _stream(pieces) == _stream([data]) == _stream([bytes([octet]) for octet in data])


def _seconds(work: Callable[[str], object], text: str) -> float:
    best = 1e9
    for _ in range(3):
        start = time.process_time()
        try:
            work(text)
        except RemoteProtocolError:
            pass
        best = min(best, time.process_time() - start)
    return best


NASTY = [
    '"',
    "\\",
    '\\"',
    '"\\',
    ";",
    ";a",
    ";a=",
    ";a=b",
    ",",
    '",',
    ":",
    "<",
    ">",
    "<,",
    "9",
    " ",
    "\t ",
    "%41",
    "%",
    "(",
    "(\\",
    "a=b,",
    ' ,"',
    "[",
    "@",
    "a.",
    "/",
    "-",
    "SIP/",
    " SIP/2",
]


def _everywhere(text: str) -> None:
    for head in ("", "a", "<sip:a@b>", '"', "sip:a", "SIP/2.0/WS h", "Digest ", "1 ", "a/b", "tel:"):
        for parse in [field.parse for field in DISTINCT]:
            try:
                parse(head + text)
            except MessageSyntaxError:
                pass
    split_list("a" + text + ",b")
    for data in (text, f"OPTIONS {text} SIP/2.0\r\nX: {text}\r\n {text}\r\nVia: a,{text}\r\n\r\n"):
        try:
            message = parse_message(data.encode())
        except MessageSyntaxError:
            continue
        validate(message)
        message.headers.first("x")


DISTINCT = list({field.parse: field for field in fields.ALL_FIELDS.values()}.values())


@pytest.mark.parametrize("piece", NASTY)
def test_time_is_linear(piece: str) -> None:
    # 8 times the text may take 8 times as long; a quadratic parser would take 64 times. Generous, for noisy machines.
    small = _seconds(_everywhere, piece * (1000 // len(piece)))
    large = _seconds(_everywhere, piece * (8000 // len(piece)))
    assert large < 20 * small + 0.03


def test_white_space_before_a_fold_is_linear() -> None:
    start = time.process_time()
    parse_message(octets("Subject: a" + " " * 60_000 + "b\r\n c")).headers.first("subject")
    assert time.process_time() - start < 1


def test_a_stream_in_single_octets_is_linear() -> None:
    def feed(text: str) -> None:
        parser = StreamParser()
        for octet in text.encode():
            parser.feed(bytes([octet]))

    assert _seconds(feed, "A: b\r\n" * 4000) < 30 * _seconds(feed, "A: b\r\n" * 500) + 0.03
