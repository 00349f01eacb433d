"""Ladders, diffs and captures: what people look at."""

from __future__ import annotations

import ipaddress
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve, frozen

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import Fault
from sipproto.trace import Step, Transcript, diff, ladder, pcap, read_transcript
from tests.sim.network import Link
from tests.sim.pair import AUDIO, VIDEO
from tests.trace.rig import RecordedPair, simulate
from tests.trace.test_redaction import media_call
from tests.trace.test_replay import digest_call


def story(seed: int, *, hold: bool = True, late: float = 0.0, transport: str = "WS") -> RecordedPair:
    pair = RecordedPair(seed, Link(transport=transport))
    pair.call("a", "call", media=(AUDIO, VIDEO))
    pair.run(1)
    (call,) = pair.b.agent.calls
    pair.command("b", i.Answer(command=0, call=call, media=(AUDIO,)))
    pair.run(2 + late)
    if hold:
        pair.command("a", i.Hold(command=0, call="call"))
    pair.run(2)
    pair.command("a", i.HangUp(command=0, call="call"))
    pair.reconnect = False
    pair.run(100)
    return pair


# -- ladder ----------------------------------------------------------------------------------------------------------


def test_ladder_of_a_call() -> None:
    text = ladder(story(1).recorded["a"].transcript, width=160)
    order = ["Connect #1", "INVITE", "180 Ringing", "200 OK", "ACK", "CallEstablished", "sendonly", "CallEnded", "BYE"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "[audio sendrecv, video sendrecv]" in text and "* OpenMedia" in text
    assert text.split("\n")[0].split() == ["application", "agent", "flow", "1", "WS", "flow", "-1", "WS"]


@pytest.mark.parametrize("width", [10, 60, 77, 100, 160, 400])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    transcript = simulate("ws-reset", "good", 3, calls=3).recorded["a"].transcript
    lines = ladder(transcript, width=width).split("\n")
    assert max(map(len, lines)) <= max(60, width)
    flows = {step.what.flow for step in transcript.steps if isinstance(step.what, i.FlowOpened)}
    assert len(flows) > 3 and (width == 400 or "other flows" in lines[0] or "flows" in lines[0])


def test_ladders_show_no_control_characters() -> None:
    transcript = media_call().transcript
    evil = i.DataReceived(flow=-1, data=b"SIP/2.0 200 \x1b[2J\x07\r\n\r\n")
    detail = o.ProtocolViolated(flow=-1, fault=Fault.BAD_HEADER, detail="\x1b]0;x\x07")
    step = Step(number=9, line=9, now=9.0, what=evil, outputs=(detail,))
    text = ladder(evolve(transcript, steps=(*transcript.steps, step)))
    assert "200 ?[2J?" in text and all(line.isprintable() for line in text.split("\n"))


def test_repetitions_are_marked_and_refusals_shown() -> None:
    pair = simulate("udp-terrible", "good", 4, calls=4)
    assert "(again)" in ladder(pair.recorded["a"].transcript)
    refused = simulate("ws-reset", "good", 3, calls=8)
    assert "refused: there is no call" in "".join(ladder(r.transcript) for r in refused.recorded.values())


def test_an_empty_ladder() -> None:
    text = digest_call().text
    empty = read_transcript(text[: text.index("\n0.0 in")] + "\nend 0\n")
    assert ladder(empty).count("\n") == 2
    assert diff(empty, empty) == []
    assert len(b"".join(pcap(empty))) == 24


# -- diff ------------------------------------------------------------------------------------------------------------


def test_calls_that_differ_by_chance_are_the_same() -> None:
    for brief in (True, False):
        assert diff(story(1).recorded["a"].transcript, story(2).recorded["a"].transcript, brief=brief) == []


def test_what_one_call_has_more_is_shown() -> None:
    one, two = (story(seed, hold=hold).recorded["a"].transcript for seed, hold in ((1, True), (2, False)))
    lines = diff(one, two, brief=True, names=("one", "two"))
    assert lines[:2] == ["--- one", "+++ two"] and lines[2].startswith("@@ -")
    gone = [line for line in lines if line.startswith("-")][1:]
    assert any("INVITE" in line and "sendonly" in line for line in gone)
    assert any("application => agent: Hold" in line for line in gone)
    assert not any("sendonly" in line for line in lines if line.startswith("+"))


def test_headers_count_unless_brief() -> None:
    text = story(1).recorded["a"].text
    one = read_transcript(text)
    two = read_transcript(text.replace("User-Agent: sipproto", "User-Agent: sipprotX"))
    lines = diff(one, two)
    assert any(line.startswith("-") and "User-Agent: sipproto" in line for line in lines)
    assert any(line.startswith("+") and "User-Agent: sipprotX" in line for line in lines)
    assert diff(one, two, brief=True) == []


def test_belonging_together_counts() -> None:
    """A tag that changes within a call is a difference, though tags as such are not."""
    text = story(1).recorded["a"].text
    one = read_transcript(text)
    line = next(step for step in one.steps if isinstance(step.what, i.HangUp))
    bye = next(out for out in line.outputs if isinstance(out, o.SendData))
    tag = bye.data.split(b"From: ")[1].split(b"tag=")[1].split(b"\r\n")[0]
    outputs = tuple(
        evolve(out, data=bye.data.replace(tag, b"z" * len(tag))) if out is bye else out for out in line.outputs
    )
    two = evolve(one, steps=tuple(evolve(step, outputs=outputs) if step is line else step for step in one.steps))
    assert any("tag=" in shown for shown in diff(one, two) if shown[0] in "+-")


def test_times_up_to_a_tolerance() -> None:
    one, two = (story(1, late=late).recorded["a"].transcript for late in (0.0, 0.3))
    assert diff(one, two) == [] and diff(one, two, tolerance=None) == []
    lines = diff(one, two, tolerance=0.1, brief=True)
    assert any(line.startswith("-") and "Hold" in line for line in lines)
    assert any(line.startswith("+") and "Hold" in line for line in lines)
    assert not any(line[0] in "+-" and "Connect" in line for line in lines[2:])


# -- pcap ------------------------------------------------------------------------------------------------------------


@frozen
class Packet:
    when: float
    source: tuple[str, int]
    target: tuple[str, int]
    protocol: int
    data: bytes
    sequence: int = 0


def words_sum(data: bytes) -> int:
    """The Internet checksum in the way of RFC 1071, for comparison."""
    total: int = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def packets(capture: bytes) -> Iterator[Packet]:
    assert struct.unpack("!IHHiIII", capture[:24]) == (0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    at = 24
    while at < len(capture):
        seconds, micros, size, whole = struct.unpack("!IIII", capture[at : at + 16])
        assert size == whole and micros < 1_000_000
        packet = capture[at + 16 : at + 16 + size]
        assert len(packet) == size
        at += 16 + size
        if packet[0] >> 4 == 4:
            assert struct.unpack("!H", packet[2:4])[0] == size and words_sum(packet[:20]) == 0xFFFF
            protocol, hosts, rest = packet[9], (packet[12:16], packet[16:20]), packet[20:]
            pseudo = packet[12:20] + struct.pack("!BBH", 0, protocol, len(rest))
        else:
            assert struct.unpack("!H", packet[4:6])[0] == size - 40
            protocol, hosts, rest = packet[6], (packet[8:24], packet[24:40]), packet[40:]
            pseudo = packet[8:40] + struct.pack("!IHBB", len(rest), 0, 0, protocol)
        assert words_sum(pseudo + rest) == 0xFFFF
        ports = struct.unpack("!HH", rest[:4])
        source, target = ((str(ipaddress.ip_address(host)), port) for host, port in zip(hosts, ports, strict=True))
        if protocol == 17:
            assert struct.unpack("!H", rest[4:6])[0] == len(rest)
        yield Packet(
            seconds + micros / 1e6,
            source,
            target,
            protocol,
            rest[8 if protocol == 17 else 20 :],
            struct.unpack("!I", rest[4:8])[0] if protocol == 6 else 0,
        )


def messages(transcript: Transcript) -> list[bytes]:
    out: list[bytes] = []
    for step in transcript.steps:
        out += [item.data for item in (step.what, *step.outputs) if isinstance(item, i.DataReceived | o.SendData)]
    return out


@pytest.mark.parametrize("transport", ["UDP", "WS", "TCP"])
def test_every_message_is_in_the_capture(transport: str) -> None:
    transcript = story(1, transport=transport).recorded["a"].transcript
    found = list(packets(b"".join(pcap(transcript, start=1_700_000_000))))
    assert [packet.data for packet in found] == [data for data in messages(transcript) if data]
    # beside datagrams there is a stream for what is too large for them
    assert {packet.protocol for packet in found} == {"TCP": {6}, "UDP": {6, 17}, "WS": {17}}[transport]
    assert found[0].when == pytest.approx(1_700_000_001, abs=2) and found[-1].when > found[0].when
    assert all(5060 in (packet.source[1], packet.target[1]) for packet in found)
    if transport == "TCP":  # what was sent before is what comes after it
        for way in {packet.source for packet in found}:
            following = 1
            for packet in found:
                if packet.source == way:
                    assert packet.sequence == following
                    following += len(packet.data)


@pytest.mark.parametrize(
    ("local", "remote", "ends"),
    [
        (("10.1.2.3", 40000), ("10.9.9.9", 5080), (("10.1.2.3", 40000), ("10.9.9.9", 5080))),
        (("2001:db8::5", 40000), ("2001:db8::6", 5080), (("2001:db8::5", 40000), ("2001:db8::6", 5080))),
        (("fe80::1%eth0", 1), None, (("fe80::1", 1), ("2001:db8::101", 5060))),
        (("10.1.2.3", 5062), ("sip.example.com", 99999), (("10.1.2.3", 5062), ("198.51.100.2", 34463))),
        (("10.1.2.3", 5062), ("2001:db8::6", 5080), (("2001:db8::1", 5062), ("2001:db8::6", 5080))),
        (None, None, (("192.0.2.1", 5060), ("198.51.100.2", 5060))),
    ],
)
def test_addresses(local: tuple[str, int] | None, remote: tuple[str, int] | None, ends: tuple[object, object]) -> None:
    base = digest_call().transcript
    opened = Step(number=1, line=1, now=5.0, what=i.FlowOpened(flow=1, transport="UDP", local=local, remote=remote))
    sent = Step(
        number=2,
        line=2,
        now=5.5,
        what=i.DataReceived(flow=1, data=b"\r\n\r\n"),
        outputs=(o.SendData(flow=1, data=b"x" * 70_001),),
    )
    ours, theirs = packets(b"".join(pcap(evolve(base, steps=(opened, sent)), start=10)))
    assert (ours.target, ours.source) == ends and (theirs.source, theirs.target) == ends
    assert ours.when == 10.5 and len(theirs.data) == 65_000  # more does not fit into a datagram


def test_large_stream_data_and_odd_times() -> None:
    base = digest_call().transcript
    opened = i.FlowOpened(flow=1, transport="TLS", local=("10.0.0.1", 3), remote=("10.0.0.2", 5061))
    first = Step(number=1, line=1, now=1e300, what=opened, outputs=(o.SendData(flow=1, data=bytes(150_000)),))
    last = Step(number=2, line=1, now=-1e300, what=i.DataReceived(flow=1, data=b"x"))
    found = list(packets(b"".join(pcap(evolve(base, steps=(first, last))))))
    assert [len(packet.data) for packet in found] == [60_000, 60_000, 30_000, 1]
    assert found[0].target == ("10.0.0.2", 5060)  # else it would be taken for TLS
    assert found[-1].when == 0


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("transport", ["UDP", "WS", "TCP"])
def test_wireshark_sees_sip(tmp_path: Path, transport: str) -> None:
    transcript = story(1, transport=transport).recorded["a"].transcript
    file = tmp_path / "call.pcap"
    file.write_bytes(b"".join(pcap(transcript)))
    command = ["tshark", "-r", str(file), "-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert {"INVITE", "ACK", "BYE", "200", "180"} <= set(seen.split())
