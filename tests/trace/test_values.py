"""Every value that an engine can be given or give reads back as it was written, also those of classes to come."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.agent import AgentConfig, Input, Output, SessionTimers
from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.auth import BearerToken, Secret
from sipproto.trace import TranscriptDamaged, read_transcript
from sipproto.trace._model import Header
from sipproto.trace._text import NotationError, Structure, octet_lines, read_octet_line, read_value
from sipproto.trace._values import build, data_fields, decode, encode, field_lines, known_classes, members

CLASSES = [*members(Input), *members(Output)]
REFUSING = {"AgentConfig"}  # their validators refuse most of what can be made up
HEAD = "".join(f"{line}\n" for line in ("sipproto transcript 1", *field_lines(Header(engine="x"))))
CONFIG = "".join(f"{line}\n" for line in ("config AgentConfig", *field_lines(AgentConfig(aor="sip:a@b"))))


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type, found as the transcript finds them: from attrs and type hints."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is object:
        results = [cls for name, cls in known_classes().items() if name in ("MediaReport", "Registration")]
        return st.one_of(st.none(), st.integers(), st.floats(), st.text(), *map(values_of, results))
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*map(values_of, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*map(values_of, arguments))
    if attrs.has(hint):
        hints = typing.get_type_hints(hint)
        parts = {str(a.alias): values_of(hints[a.name]) for a in data_fields(hint)}
        if hint is Encoding:
            positive = st.floats(1, allow_infinity=False)
            parts |= {"max_bitrate": st.none() | st.integers(1), "max_framerate": st.none() | positive}
            parts["scale_resolution_down_by"] = positive
        if hint is SenderParameters:
            parts["encodings"] = st.lists(values_of(Encoding), min_size=1, max_size=3).map(tuple)
        if hint is BearerToken:
            parts["token"] = st.from_regex(r"[A-Za-z0-9._~+/-]+=*", fullmatch=True)
        if hint is Secret:
            printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
            parts |= {"username": printable, "password": printable, "realm": st.none() | printable, "ha1": st.just(())}
        built = st.builds(hint, **parts)
        if hint is SessionTimers:  # who asks for them agrees to them
            without = st.builds(hint, **{**parts, "expires": st.just(0)})
            return without | st.builds(hint, **{**parts, "agree": st.just(True)})
        return built
    if issubclass(hint, enum.Enum):
        return st.sampled_from(list(hint))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-(2**200), 2**200),
        float: st.floats(),
        str: st.text() | st.text(st.characters()),
        bytes: st.binary() | st.sampled_from([b"a\r\nb\r\n", b"v=0\n", b"\r", b"\\", b" \r\n \r\n", "grüße".encode()]),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[hint]


def test_every_kind_of_field_is_known() -> None:
    for cls in known_classes().values():
        if attrs.has(cls) and cls.__name__ not in REFUSING:
            values_of(cls)
    assert {cls.__name__ for cls in CLASSES} <= set(known_classes())
    assert len(CLASSES) > 40


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_round_trip(cls: type, data: st.DataObject) -> None:
    value = data.draw(values_of(cls))
    inline = build(typing.cast("Structure", read_value(encode(value))), cls)
    assert encode(inline) == encode(value)
    kind = "in" if cls in members(Input) else "out"
    before = "0.0 in TimeoutElapsed\n" if kind == "out" else ""
    record = "".join(f"{line}\n" for line in [f"0.0 {kind} {cls.__name__}", *field_lines(value)])
    assert all(line.isprintable() for line in record.split("\n"))
    step = read_transcript(f"{HEAD}{CONFIG}{before}{record}end 1\n").steps[0]
    back = step.what if kind == "in" else step.outputs[0]
    assert type(back) is cls
    assert field_lines(back) == field_lines(value)
    if "nan" not in encode(value):
        assert back == value


@given(st.builds(AgentConfig, aor=st.just("sip:a@b"), waits=values_of(known_classes()["Waits"])))
def test_configurations(config: AgentConfig) -> None:
    text = "".join(f"{line}\n" for line in ["config AgentConfig", *field_lines(config)])
    back = read_transcript(f"{HEAD}{text}end 0\n").config
    assert field_lines(back) == field_lines(config)
    assert "tokens" not in text


@given(
    st.binary()
    | st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"\\", b" ", b"x", b"\xc3\xa9", b"\xff", b"| "])).map(b"".join)
)
def test_octets(data: bytes) -> None:
    lines = octet_lines(data)
    assert b"".join(map(read_octet_line, lines)) == data
    assert all(line.isprintable() and not line.endswith(" ") for line in lines)


def test_messages_stay_legible() -> None:
    assert octet_lines(b"BYE sip:a SIP/2.0\r\nSubject: gr\xc3\xbc\xc3\x9fe\r\n\r\nx\x00\xff") == [
        "BYE sip:a SIP/2.0",
        "Subject: grüße",
        "",
        "x\\x00\\xff\\",
    ]


def test_long_binary_is_broken_into_lines() -> None:
    lines = octet_lines(bytes(5000))
    assert len(lines) == 5 and all(len(line) < 5000 for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        "[",
        "[1",
        "[1 2]",
        "A",
        "A(",
        "A(b)",
        "A(b=1",
        "A(b=1, b=2)",
        '"a',
        '"\\q"',
        '"\\x1"',
        '"\\U00110000"',
        "1.",
        "01x",
        "1 2",
        "nano",
        "-",
        ".5",
        'b"\\u0041"',
        "[" * 40 + "]" * 40,
        "1e5e5",
        "A.b.c",
        '"a\nb"',
        "infx",
    ],
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(NotationError):
        read_value(text)


def test_hints_are_kept() -> None:
    hints = typing.get_type_hints(known_classes()["CommandFailed"])
    wrong: list[tuple[Any, Any]] = [(True, int), (1, str), ("1", int), (1.5, int), (None, float), (5, tuple[int, ...])]
    for node, hint in [*wrong, ([], tuple[int, int]), ([1, "x"], tuple[int, ...])]:
        with pytest.raises(NotationError):
            decode(node, hint)
    with pytest.raises(NotationError, match="no Cause"):
        decode(read_value("Cause.NOTHING"), hints["cause"])
    assert decode(3, float) == 3


@pytest.mark.parametrize("value", [{}, {1}, object(), 1j, [[{}]]])
def test_what_cannot_be_written(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_unknown_fields_and_missing_ones() -> None:
    for body in ("  command = 1\n  colour = 2\n", "", '  command = "1"\n'):
        with pytest.raises(TranscriptDamaged) as damaged:
            read_transcript(f"{HEAD}{CONFIG}1.0 in Shutdown\n{body}end 1\n")
        assert damaged.value.line == (HEAD + CONFIG).count("\n") + 1
