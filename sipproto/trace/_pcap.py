"""Transcripts as captures that Wireshark reads.

The classic pcap format with raw IP packets. The frames around the messages are made up: a flow over UDP or TCP looks
like one, with the addresses that it had as far as they are known; one over WebSocket is shown as UDP to port 5060, without
its frames and handshake, and one over TLS as TCP in the clear.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from attrs import define, field

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.trace._framing import is_stream
from sipproto.trace._model import Transcript

LINKTYPE_RAW = 101  # packets begin with their IPv4 or IPv6 header
_SNAP = 262_144
_MAX_DATAGRAM = 65_000  # of one UDP packet; what is longer is cut
_SEGMENT = 60_000
_SIP_PORT = 5060
_TLS_PORT = 5061  # Wireshark would look for TLS there
_UDP, _TCP = 17, 6
_PSH_ACK = 0x18

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOCAL: dict[int, Address] = {4: ipaddress.ip_address("192.0.2.1"), 6: ipaddress.ip_address("2001:db8::1")}


@define(kw_only=True)
class _Flow:
    """Both ends of a flow, ours first."""

    ends: tuple[tuple[Address, int], tuple[Address, int]]
    stream: bool
    sent: list[int] = field(factory=lambda: [1, 1])  # sequence numbers of TCP, by direction


def pcap(transcript: Transcript, *, start: float | None = None) -> Iterator[bytes]:
    """The octets of a capture file, piece by piece.

    start: POSIX seconds of the first step; None takes what the transcript says, or else 0.
    """
    yield struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAP, LINKTYPE_RAW)
    if not transcript.steps:
        return
    base = transcript.header.started or 0.0 if start is None else start
    first = transcript.steps[0].now
    flows: dict[int, _Flow] = {}
    for step in transcript.steps:
        when = base + step.now - first
        what = step.what
        if isinstance(what, i.FlowOpened):
            flows[what.flow] = _flow(what.flow, what)
        for item, sent in ((what, False), *((output, True) for output in step.outputs)):
            if isinstance(item, i.DataReceived | o.SendData) and item.data:
                flow = flows.get(item.flow)
                if flow is None:
                    flow = flows[item.flow] = _flow(item.flow, None)
                for packet in _packets(flow, item.data, sent):
                    yield _record(when, packet)


def _record(when: float, packet: bytes) -> bytes:
    micros = min(max(0, round(when * 1_000_000)), 0xFFFFFFFF * 1_000_000)
    return struct.pack("!IIII", micros // 1_000_000, micros % 1_000_000, len(packet), len(packet)) + packet


# -- flows -----------------------------------------------------------------------------------------------------------


def _address(host: str | None) -> Address | None:
    try:
        return ipaddress.ip_address((host or "").partition("%")[0].strip("[]"))
    except ValueError:
        return None


def _flow(number: int, opened: i.FlowOpened | None) -> _Flow:
    local_host, local_port = (opened.local if opened else None) or (None, _SIP_PORT)
    remote_host, remote_port = (opened.remote if opened else None) or (None, _SIP_PORT)
    local, remote = _address(local_host), _address(remote_host)
    version = (remote or local or _LOCAL[4]).version
    if local is None or local.version != version:
        local = _LOCAL[version]
    if remote is None:  # RFC 5737, RFC 3849: addresses for documentation; another one for each flow
        base = "198.51.100.1" if version == 4 else "2001:db8::100"
        remote = ipaddress.ip_address(base) + abs(number) % 200
    transport = opened.transport.upper() if opened else ""
    if transport not in ("UDP", "TCP") or remote_port == _TLS_PORT:
        remote_port = _SIP_PORT
    return _Flow(ends=((local, local_port % 65536), (remote, remote_port % 65536)), stream=is_stream(transport))


def _packets(flow: _Flow, data: bytes, sent: bool) -> Iterator[bytes]:
    source, target = flow.ends if sent else flow.ends[::-1]
    if not flow.stream:
        data = data[:_MAX_DATAGRAM]
        head = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0)
        yield _ip(source[0], target[0], _UDP, head, 6, data)
        return
    ours = 0 if sent else 1
    for start in range(0, len(data), _SEGMENT):
        piece = data[start : start + _SEGMENT]
        numbers = (flow.sent[ours] & 0xFFFFFFFF, flow.sent[1 - ours] & 0xFFFFFFFF)
        head = struct.pack("!HHIIBBHHH", source[1], target[1], *numbers, 5 << 4, _PSH_ACK, 0xFFFF, 0, 0)
        flow.sent[ours] += len(piece)
        yield _ip(source[0], target[0], _TCP, head, 16, piece)


def _ip(source: Address, target: Address, protocol: int, head: bytes, checksum_at: int, data: bytes) -> bytes:
    length = len(head) + len(data)
    if source.version == 4:
        pseudo = source.packed + target.packed + struct.pack("!BBH", 0, protocol, length)
    else:
        pseudo = source.packed + target.packed + struct.pack("!IHBB", length, 0, 0, protocol)
    total = _checksum(pseudo + head + data)
    if protocol == _UDP:
        total = total or 0xFFFF  # RFC 768: zero would mean that there is none
    payload = head[:checksum_at] + struct.pack("!H", total) + head[checksum_at + 2 :] + data
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + source.packed + target.packed + payload
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, protocol, 0) + source.packed + target.packed
    return ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:] + payload


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the sum of 16-bit words is the number itself modulo 65535."""
    value = int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF
    return (0xFFFF - value) % 0xFFFF
