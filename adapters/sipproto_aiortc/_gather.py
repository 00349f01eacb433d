"""Gathering: the sockets of an ICE session and its candidates, from every server, within a time."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import aioice
from aioice import stun, turn
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol
from attrs import define, field

from sipproto_aiortc._arrival import ArrivalClock
from sipproto_aiortc._facts import ServerError
from sipproto_aiortc._nomination import NominatingConnection
from sipproto_aiortc._servers import Endpoint, IceOptions

_log = logging.getLogger("sipproto.media")

Address = tuple[str, int]

_COMPONENT = 1  # RTP, with RTCP on it
_FIRST_PREFERENCE = 65535  # RFC 8445 5.1.2.1
_ADDRESS_LIMIT = 1024  # of one socket, about which figures are kept
_GIVE_BACK_TIMEOUT = 1.0
# Seconds between two bindings of a channel. It lasts for ten minutes, but the permission of the peer to send for five only,
# and aioice renews it in no other way (RFC 8656 9, 12).
_CHANNEL_REFRESH = 240
_UNREACHED = 701  # W3C RTCPeerConnectionIceErrorEvent.errorCode
_REFUSALS = {
    300: "it refers to another server, which is not supported",
    401: "the user name or password is wrong",
    403: "it forbids this",
    437: "it has lost the allocation",
    438: "it does not accept its own nonce",
    441: "the user name or password is wrong",
    442: "it does not relay UDP",
    486: "its quota of allocations for this user is used up",
    508: "it has no capacity left",
}
# Names are looked up here first, as one that nobody answers for would hold a thread of the loop's executor, which is
# also the one that codes media.
_lookups = ThreadPoolExecutor(2, thread_name_prefix="sipproto-media-lookup")


@define
class Traffic:
    """What passed between a socket of ours and one address of the peer; PairFacts says what it means."""

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    last_packet_sent: float | None = None
    last_packet_received: float | None = None
    current_round_trip_time: float | None = None
    total_round_trip_time: float = 0.0
    requests_sent: int = 0
    consent_requests_sent: int = 0
    responses_received: int = 0
    requests_received: int = 0
    responses_sent: int = 0


class Protocol(StunProtocol):
    """A socket, or an allocation on the TURN server `server`. It counts, and survives whatever is received."""

    def __init__(self, connection: aioice.Connection, server: Endpoint | None = None) -> None:
        super().__init__(connection)
        self.server = server
        self.only_from_the_peer = False
        self._arrivals: ArrivalClock | None = None
        self._traffic: dict[Address, Traffic] = {}
        self._sent: dict[bytes, float] = {}  # when each STUN request went out last
        self._unanswered: dict[Address, stun.Message] = {}  # checks

    def traffic(self, address: Address) -> Traffic:
        """The figures of an address that we ask or that has proved to be the peer's. Beyond the limit nothing is kept."""
        known = self._traffic.get(address)
        if known is None:
            known = Traffic()
            if len(self._traffic) < _ADDRESS_LIMIT:
                self._traffic[address] = known
        return known

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arrivals = ArrivalClock(transport)

    def hear_only_the_peer(self) -> None:
        """The peer before goes on sending here, and its DTLS messages would spoil the handshake with the new one."""
        self._traffic.clear()
        self.only_from_the_peer = True

    async def close(self) -> None:
        """Gives an allocation back, if its server answers soon; it expires anyhow (RFC 8656 6)."""
        if self.server is None:
            return await super().close()
        try:
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT):
                await super().close()
        except TimeoutError:
            _log.info("%s does not answer any more", self.server)
            cast(Any, self.transport)._TurnTransport__close_task.cancel()  # which closes its socket

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        assert isinstance(data, bytes)
        address = (addr[0], addr[1])
        if data[:1] >= b"\x04":  # no STUN (RFC 7983 7)
            if self.only_from_the_peer and all(pair.remote_addr != address for pair in self.receiver._check_list):
                return
            known = self._traffic.get(address)
            if known is not None:
                known.packets_received += 1
                known.bytes_received += len(data)
                known.last_packet_received = time.time()
            assert isinstance(self.receiver, NominatingConnection)
            self.receiver.heard(self, address)
            if self._arrivals is not None:
                cast(Any, self.receiver).arrival = self._arrivals.last()
        try:
            super().datagram_received(data, address)
        except Exception:  # aioice does not expect every malformed message, which anybody can send
            _log.debug("a STUN message could not be handled", exc_info=True)

    async def send_data(self, data: bytes, addr: Address) -> None:
        if self.server is None and self.transport.is_closing():
            raise ConnectionError("the socket is closed")  # asyncio's error would be an AttributeError
        await super().send_data(data, addr)
        traffic = self.traffic(addr)
        traffic.packets_sent += 1
        traffic.bytes_sent += len(data)
        traffic.last_packet_sent = time.time()

    def send_stun(self, message: stun.Message, addr: Address) -> None:
        if message.message_class == stun.Class.REQUEST:
            self._sent[message.transaction_id] = time.monotonic()
        elif message.message_class == stun.Class.RESPONSE:  # which is sent to nobody who does not know our password
            traffic = self.traffic(addr)
            traffic.requests_received += 1
            traffic.responses_sent += 1
        super().send_stun(message, addr)

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        traffic = self.traffic(addr)
        if retransmissions == 0:  # as aioice asks for consent only
            traffic.consent_requests_sent += 1
        else:
            traffic.requests_sent += 1
            self._unanswered[addr] = request
        try:
            answer: tuple[stun.Message, Address] = await super().request(request, addr, integrity_key, retransmissions)
            traffic.responses_received += 1
            traffic.current_round_trip_time = time.monotonic() - self._sent[request.transaction_id]
            traffic.total_round_trip_time += traffic.current_round_trip_time
        finally:
            self._sent.pop(request.transaction_id, None)
            if self._unanswered.get(addr) is request:
                del self._unanswered[addr]
        return answer

    def check_again(self, address: Address) -> None:
        """The peer's own check has arrived, so one of ours may pass now that a NAT or a TURN server stopped before.

        It is not worth waiting half a second for its repetition (RFC 8445 7.3.1.4). Each is repeated so but once.
        """
        request = self._unanswered.pop(address, None)
        if request is not None:
            self.send_stun(request, address)


@define
class Gathering:
    """One gathering. What it opens belongs to the connection at once, which closes it."""

    connection: aioice.Connection
    options: IceOptions
    candidates: list[aioice.Candidate] = field(factory=list)
    servers: dict[Address, Endpoint] = field(factory=dict)  # by the address of the candidate they gave
    errors: list[ServerError] = field(factory=list)

    async def run(self, addresses: Iterable[str]) -> None:
        """Opens a socket on each address and asks every server, within `gather_timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + self.options.gather_timeout
        protocols = [protocol for address in addresses if (protocol := await self._bind(address)) is not None]
        self.candidates = [protocol.local_candidate for protocol in protocols]
        queries = {
            endpoint: [
                asyncio.create_task(self._ask(endpoint, protocol, deadline))
                for protocol in ([None] if endpoint.relays else protocols)
            ]
            for endpoint in self.options.endpoints
        }
        try:
            await self._wait({task for tasks in queries.values() for task in tasks})
        finally:
            for tasks in queries.values():
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint, tasks in queries.items():
            self._take(endpoint, tasks)
        for kind in ("host", "srflx", "relay"):  # no two priorities are the same (RFC 8445 5.1.2)
            for index, candidate in enumerate(c for c in self.candidates if c.type == kind):
                candidate.priority = candidate_priority(_COMPONENT, kind, _FIRST_PREFERENCE - index)

    async def _wait(self, waiting: set[asyncio.Task[aioice.Candidate | None]]) -> None:
        """Until every query has ended, which they all do in time, or until a first one brought a candidate."""
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            found = [task for task in done if task.exception() is None and task.result() is not None]
            if found and self.options.gather_policy == "first":
                return

    def _take(self, endpoint: Endpoint, tasks: list[asyncio.Task[aioice.Candidate | None]]) -> None:
        ended = [task for task in tasks if not task.cancelled()]  # the others were too late to be of use
        errors = [error for task in ended if (error := task.exception()) is not None]
        given = [found for task in ended if task.exception() is None and (found := task.result()) is not None]
        for candidate in given:
            # Where there is no NAT a server-reflexive candidate is a host's again (RFC 8445 5.1.3).
            if all(_place(candidate) != _place(other) for other in self.candidates):
                self.candidates.append(candidate)
                self.servers[_place(candidate)] = endpoint
        if errors and not given:
            code, text = _described(errors[0], endpoint, self.options.gather_timeout)
            self.errors.append(ServerError(url=endpoint.url, code=code, text=f"{endpoint}: {text}"))

    async def _bind(self, address: str) -> Protocol | None:
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.create_datagram_endpoint(
                lambda: Protocol(self.connection), local_addr=(address, 0)
            )
        except OSError:
            return None  # an address that has just gone
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, turn.UDP_SOCKET_BUFFER_SIZE)
        host, port = transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = _candidate("host", (host, port))
        self.connection._protocols.append(protocol)
        return protocol

    async def _ask(self, endpoint: Endpoint, protocol: Protocol | None, deadline: float) -> aioice.Candidate | None:
        async with asyncio.timeout_at(deadline):
            addresses = await _look_up(endpoint)
            if protocol is None:
                return await self._relayed(endpoint)
            return await _reflexive(protocol, addresses)

    async def _relayed(self, endpoint: Endpoint) -> aioice.Candidate:
        """An allocation on a TURN server (RFC 8656 7)."""
        transport, protocol = await turn.create_turn_endpoint(
            lambda: Protocol(self.connection, endpoint),
            server_addr=(endpoint.host, endpoint.port),
            username=endpoint.username,
            password=endpoint.credential,
            ssl=endpoint.context,
            transport="udp" if endpoint.transport == "udp" else "tcp",
            channel_refresh_time=_CHANNEL_REFRESH,
        )
        address, related = transport.get_extra_info("sockname"), transport.get_extra_info("related_address")
        if self.options.policy == "relay":  # nothing else of us is shown (RFC 9429 3.5.3, RFC 8839 5.1)
            related = ("::" if ":" in address[0] else "0.0.0.0", 9)
        protocol.local_candidate = _candidate("relay", address, related)
        self.connection._protocols.append(protocol)
        return protocol.local_candidate


async def _look_up(endpoint: Endpoint) -> list[Address]:
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            _lookups, lambda: socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
        )
        return [(str(address[0]), endpoint.port) for *_, address in found]
    return [(endpoint.host, endpoint.port)]


async def _reflexive(protocol: Protocol, servers: list[Address]) -> aioice.Candidate | None:
    """What a STUN server sees of a socket. None: that one cannot reach the server."""
    base = protocol.local_candidate
    server = next((server for server in servers if _can_reach(base.host, server[0])), None)
    if server is None:
        return None
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    response, _ = await protocol.request(request, server)
    if "XOR-MAPPED-ADDRESS" not in response.attributes:
        raise ConnectionError("it did not say what it sees")
    return _candidate("srflx", response.attributes["XOR-MAPPED-ADDRESS"], (base.host, base.port))


def _can_reach(ours: str, server: str) -> bool:
    here, there = ipaddress.ip_address(ours), ipaddress.ip_address(server)
    return here.version == there.version and (there.is_loopback or not here.is_loopback)


def _candidate(kind: str, address: Address, related: Address | None = None) -> aioice.Candidate:
    base = related[0] if related is not None and kind == "srflx" else address[0]
    return aioice.Candidate(
        foundation=candidate_foundation(kind, "udp", base),
        component=_COMPONENT,
        transport="udp",
        priority=candidate_priority(_COMPONENT, kind),
        host=address[0],
        port=address[1],
        type=kind,
        related_address=related[0] if related is not None else None,
        related_port=related[1] if related is not None else None,
    )


def _place(candidate: aioice.Candidate) -> Address:
    return candidate.host, candidate.port


def _described(error: BaseException, endpoint: Endpoint, limit: float) -> tuple[int, str]:
    """An error code and a text for a user."""
    match error:
        case stun.TransactionFailed():
            code = error.response.error_code or 0
            if code == 401 and (endpoint.username is None or endpoint.credential is None):
                return code, "it asks for a user name and a password"
            return code, _REFUSALS.get(code, f"it refused with the error {code}")
        case TimeoutError() | stun.TransactionTimeout():
            return _UNREACHED, f"it did not answer within {limit:g} s"
        case ssl.SSLCertVerificationError():
            return _UNREACHED, f"its certificate is refused ({error.verify_message.rstrip('.')})"
        case ssl.SSLError():
            return _UNREACHED, f"TLS failed ({error.reason})"
        case socket.gaierror() | UnicodeError():
            return _UNREACHED, "its name is not known"
        case OSError(errno=int(number)):
            return _UNREACHED, f"it cannot be reached ({os.strerror(number)})"
    return _UNREACHED, str(error) or type(error).__name__
