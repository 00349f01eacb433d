"""Files that are damaged, cut, foreign or hostile: a typed error that names the line, never anything else."""

from __future__ import annotations

import re
from random import Random

import pytest

from sipproto.trace import (
    TranscriptDamaged,
    TranscriptError,
    TranscriptLimits,
    TranscriptTooLarge,
    TranscriptTruncated,
    TranscriptVersionError,
    ladder,
    pcap,
    read_transcript,
    replay,
)
from tests.trace.rig import simulate
from tests.trace.test_replay import digest_call

TEXT = digest_call().text
FIRST = TEXT.index("\n0.0 in Connect") + 1


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


@pytest.mark.parametrize("data", ["", "x", "sipproto transcript", "SIP/2.0 200 OK\r\n", b"\xd4\xc3\xb2\xa1"])
def test_what_is_no_transcript(data: str | bytes) -> None:
    with pytest.raises((TranscriptVersionError, TranscriptDamaged)) as error:
        read_transcript(data)
    assert error.value.line == 1


def test_another_version() -> None:
    with pytest.raises(TranscriptVersionError, match="format 1"):
        read_transcript(TEXT.replace("transcript 1", "transcript 2", 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("0.0 in Connect", "0.0 in Konnect", "unknown record Konnect"),
        ("0.0 in Connect", "0.0 within Connect", "unknown record"),
        ("0.0 in Connect", "1e999 in Connect", "no time"),
        ("0.0 in Connect", "0.0 in SendData", "unknown record SendData"),
        ("0.0 out OpenFlow", "0.5 out OpenFlow", "belongs to no input"),
        ("0.0 out OpenFlow", "0.0 raised Raised", "nothing is raised"),
        ('  server = "ws://x"', '  server = "ws://x', "a value is expected"),
        ('  server = "ws://x"', '  server: "ws://x"', "a field is expected"),
        ('  server = "ws://x"', "  server = 5", "int is not expected here"),
        ("  flow = 1", "  flow = 1\n  flow = 1", "a field is expected"),
        ("  flow = 1", "flow = 1", "lacks the field flow"),
        ("    | Call-ID", "    Call-ID", "octets are expected"),
        ("    | Call-ID", "    | \\qCall-ID", "not an escape"),
        ("    | Call-ID", "    | XCall-ID", "octets where"),
        ("ConnectionState.CONNECTING", "ConnectionState.CONNECTED2", "no ConnectionState"),
        ("ConnectionState.CONNECTING", "Cause.BUSY", "no ConnectionState"),
        ("tokens 60:", "tokens 6:", "not a token"),
        ("tokens 60:", "tokens 60:-", "not a token"),
        ("config AgentConfig", "config Agent", "configuration is expected"),
        ("config AgentConfig\n", "config AgentConfig\n  tokens = None\n", "no field tokens"),
        ('aor = "sip:alice@example.com"', 'aor = "x"', "no SIP URI"),
        ("bodies = True", "bodies = 7", "int where bool"),
        ("end 5", "end 6", "5 steps where 6"),
    ],
)
def test_damage_is_found_where_it_is(old: str, new: str, says: str) -> None:
    at = TEXT.index(old)
    with pytest.raises(TranscriptDamaged, match=says) as error:
        read_transcript(TEXT.replace(old, new, 1))
    # At the line itself, or at the record that it belongs to.
    above = [number for number, line in enumerate(TEXT.split("\n"), 1) if line and line[0] != " "]
    start = max(number for number in above if number <= line_of(TEXT, at))
    assert start <= error.value.line <= line_of(TEXT, at) + 1
    assert str(error.value).startswith(f"line {error.value.line}: ")


def test_no_octet_less() -> None:
    for end in range(0, len(TEXT) - 1, 5):
        with pytest.raises((TranscriptTruncated, TranscriptVersionError)):
            read_transcript(TEXT[:end])


def test_a_record_after_the_end() -> None:
    with pytest.raises(TranscriptDamaged, match="after the end"):
        read_transcript(TEXT.replace("\n0.4 in", "\nend 4\n\n0.4 in"))


def test_editors_may_touch_it() -> None:
    """Line ends of another system, comments and empty lines change nothing."""
    edited = TEXT.replace("\n", "\r\n").replace("\r\n\r\n", "\r\n# a note\r\n\r\n")
    assert replay(read_transcript(edited)).equal
    assert read_transcript(edited.encode()) == read_transcript(edited)


def test_limits() -> None:
    for limits in (TranscriptLimits(max_size=100), TranscriptLimits(max_steps=4)):
        with pytest.raises(TranscriptTooLarge):
            read_transcript(TEXT, limits=limits)
    deep = "[" * 100_000
    with pytest.raises(TranscriptDamaged, match="too deep"):
        read_transcript(TEXT.replace('"ws://x"', deep, 1))
    assert read_transcript(TEXT, limits=TranscriptLimits(max_steps=5))


def test_partial() -> None:
    text = TEXT[: TEXT.index("\n0.4 in")]
    transcript = read_transcript(text, partial=True)
    assert not transcript.complete and len(transcript.steps) == 4
    with pytest.raises(TranscriptDamaged):  # damage in the middle stays damage
        read_transcript(text.replace("flow = 1", "flow = x", 1), partial=True)
    for end in range(FIRST):
        try:
            assert read_transcript(TEXT[:end], partial=True).steps == ()
        except TranscriptError:
            pass


def test_changed_files_never_do_worse() -> None:
    random = Random(1)
    text = simulate("udp-jitter", "good", 2, calls=2).recorded["a"].text
    lines = text.split("\n")
    read = 0
    for _ in range(150):
        changed = list(lines)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(changed))
            match random.randrange(4):
                case 0:
                    del changed[at]
                case 1:
                    changed.insert(at, random.choice(lines))
                case 2:
                    changed[at] = re.sub(r"[0-9]", lambda _: random.choice("0123456789"), changed[at])
                case _:
                    place = random.randint(0, len(changed[at]))
                    changed[at] = changed[at][:place] + random.choice(' \\"[]()=,.x0|é') + changed[at][place:]
        try:
            transcript = read_transcript("\n".join(changed))
        except TranscriptError:
            continue
        read += 1
        ladder(transcript)
        b"".join(pcap(transcript))
        try:
            replay(transcript)
        except TranscriptError:
            pass
    assert read > 5
