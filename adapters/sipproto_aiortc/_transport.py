"""One ICE and DTLS transport: aiortc's objects, made to outlive hostile packets and lost paths."""

from __future__ import annotations

import asyncio
import enum
import ipaddress
import logging
from collections.abc import Callable
from typing import Any

import aioice
import pylibsrtp
from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceServer,
    RTCIceTransport,
)
from aiortc.rtcdtlstransport import RtpReceiver, RtpRouter
from aiortc.rtcicetransport import connection_kwargs
from aiortc.rtp import RtpPacket, is_rtcp
from attrs import define, field, frozen

from sipproto.negotiation import LocalTransport, TransportPair

_log = logging.getLogger("sipproto.media")

# aiortc offers ECDSA suites only; a DTLS server with an RSA certificate then fails the handshake.
_CIPHERS = b":".join(
    kind + suite
    for kind in (b"ECDHE-ECDSA-", b"ECDHE-RSA-")
    for suite in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
)
_DIGESTS = frozenset({"sha-256", "sha-384", "sha-512"})
_LOOPBACK = "127.0.0.1"
_RECEIVE_LIMIT = 2048  # datagrams waiting for DTLS: more is a flood, aioice would keep them all
_CANDIDATE_LIMIT = 64  # each costs 20 ms and more of checks
_STOP_TIMEOUT = 2.0
# Seconds before ICE may fail for want of candidates: the peer may reach us although we cannot reach what it named, a
# browser's mDNS names for example (RFC 8863).
_PATIENCE = 5.0


@frozen
class IceServer:
    """A STUN or TURN server (W3C RTCIceServer); aiortc uses the first of each kind."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class IceOptions:
    servers: tuple[IceServer, ...] = ()
    include_loopback: bool = False
    gather_timeout: float = 2.0

    def connection_arguments(self) -> dict[str, Any]:
        """Raises ValueError for a URL that is none."""
        return connection_kwargs(
            [RTCIceServer(list(s.urls), username=s.username, credential=s.credential) for s in self.servers]
        )


class Certificate(RTCCertificate):
    """A certificate whose transports also talk to peers with RSA certificates."""

    def _create_ssl_context(self, srtp_profiles: list[Any]) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(_CIPHERS)
        return context


class _Connection(aioice.Connection):
    def __init__(self, options: IceOptions) -> None:
        super().__init__(ice_controlling=False, **options.connection_arguments())
        self._options = options

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: float = 5
    ) -> list[aioice.Candidate]:
        # aioice leaves loopback out; a machine without any other address could not even call itself.
        if self._options.include_loopback or not addresses:
            addresses = [*addresses, _LOOPBACK]
        bound: Any = min(timeout, self._options.gather_timeout)  # annotated int, passed on to asyncio.wait
        return await super().get_component_candidates(component, addresses, timeout=bound)

    def data_received(self, data: bytes, component: int) -> None:
        # An empty datagram, which anybody can send, would end aiortc's DTLS reader with an IndexError.
        if data and self._queue.qsize() < _RECEIVE_LIMIT:
            super().data_received(data, component)


class _Gatherer(RTCIceGatherer):
    _connection: _Connection

    def __init__(self, options: IceOptions) -> None:
        super().__init__(iceServers=[])
        self._connection = _Connection(options)


class _IceTransport(RTCIceTransport):
    """Drops what cannot be sent, instead of raising: that would end an RTP sender for good."""

    def __init__(self, gatherer: _Gatherer) -> None:
        super().__init__(gatherer)
        self.last_received = 0.0  # loop time of the last DTLS, RTP or RTCP packet
        self.dropped = 0
        self._recv = self._noted_recv
        self._send = self._steady_send

    async def _noted_recv(self) -> bytes:
        data = await self._connection.recv()
        self.last_received = asyncio.get_running_loop().time()
        return data

    async def _steady_send(self, data: bytes) -> None:
        try:
            await self._connection.send(data)
        except (ConnectionError, OSError):
            self.dropped += 1


@define
class Flow:
    """What leaves on an SSRC; nothing does while it is not `open`. Sizes with RTP header, without SRTP."""

    open: bool = False
    packets: int = 0
    octets: int = 0


class _Router(RtpRouter):
    """Also routes by the MID header extension (RFC 8843 9.2): two lines may share payload types without any a=ssrc."""

    def route_rtp(self, packet: RtpPacket) -> RtpReceiver | None:
        by_mid = self.mid_table.get(packet.extensions.mid) if packet.extensions.mid else None
        if by_mid is not None and by_mid in self.payload_type_table.get(packet.payload_type, set()):
            self.ssrc_table[packet.ssrc] = by_mid
            return by_mid
        return super().route_rtp(packet)


class DtlsTransport(RTCDtlsTransport):
    """Counts and gates what is sent, and survives whatever is received."""

    def __init__(self, transport: _IceTransport, certificate: Certificate) -> None:
        super().__init__(transport, [certificate])
        self._rtp_router = _Router()
        self.flows: dict[int, Flow] = {}
        self._told = False
        self.packet_size = 0  # octets of the RTP packet that is being handled, header included

    async def _send_rtp(self, data: bytes) -> None:
        if self.state != "connected":
            return
        flow = None if is_rtcp(data) else self.flows.get(int.from_bytes(data[8:12], "big"))
        if flow is None and not is_rtcp(data):
            return
        if flow is not None:
            if not flow.open:
                return
            flow.packets += 1
            flow.octets += len(data)
        try:
            await super()._send_rtp(data)
        except (ConnectionError, pylibsrtp.Error) as error:
            _log.debug("a packet was not sent: %s", error)

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        self.packet_size = len(data)
        try:
            await super()._handle_rtp_data(data, arrival_time_ms)
        except Exception as error:
            self._dropped("RTP", error)

    async def _handle_rtcp_data(self, data: bytes) -> None:
        try:
            await super()._handle_rtcp_data(data)
        except Exception as error:
            self._dropped("RTCP", error)

    def _dropped(self, what: str, error: Exception) -> None:
        """The first is told, with its place, as it may be a fault of ours; more would let a peer flood the log."""
        if not self._told:
            self._told = True
            _log.warning("an %s packet could not be handled and is dropped, as further ones", what, exc_info=error)


class SlotState(enum.Enum):
    OPEN = "open"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    ENDED = "ended"  # by the peer, properly
    FAILED = "failed"


class Slot:
    """A transport of a call. `changed` is called on the media thread whenever `state` may have changed."""

    def __init__(
        self, options: IceOptions, certificate: Certificate, connect_timeout: float, changed: Callable[[], None]
    ) -> None:
        self._gatherer = _Gatherer(options)
        self._ice = _IceTransport(self._gatherer)
        self.dtls = DtlsTransport(self._ice, certificate)
        self._certificate = certificate
        self._connect_timeout = connect_timeout
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._pair: TransportPair | None = None
        self.state = SlotState.OPEN
        self.error = ""

    @property
    def last_received(self) -> float:
        """Loop time of the last packet of any kind but STUN; 0 before the first."""
        return self._ice.last_received

    async def open(self) -> LocalTransport:
        """Gathers, within the bound of the options."""
        await self._gatherer.gather()
        return self.local()

    def local(self) -> LocalTransport:
        connection = self._gatherer._connection
        candidates = connection.local_candidates
        if not candidates:
            raise ConnectionError("no network address could be bound for media")
        default = min(candidates, key=_default_rank)
        fingerprint = next(f for f in self._certificate.getFingerprints() if f.algorithm == "sha-256")
        return LocalTransport(
            ice_ufrag=connection.local_username,
            ice_pwd=connection.local_password,
            candidates=tuple(candidate.to_sdp() for candidate in candidates),
            fingerprint=("sha-256", fingerprint.value.upper()),
            address=default.host,
            port=default.port,
        )

    def connect(self, pair: TransportPair) -> None:
        """Starts connecting in the background, the first time. Raises ValueError for what cannot be done."""
        usable = [f for f in pair.remote.fingerprints if f[0] in _DIGESTS]
        if not usable:
            raise ValueError("the peer has no certificate fingerprint of a known hash (sha-256, sha-384, sha-512)")
        if self._pair is None:
            self._pair = pair
            self._set(SlotState.CONNECTING)
            self._task = asyncio.create_task(self._connect(pair))
            return
        before = [f for f in self._pair.remote.fingerprints if f[0] in _DIGESTS]
        if sorted(before) != sorted(usable):
            raise ValueError("the peer changed its certificate: a transport cannot change it while it is in use")
        if (before_ufrag := self._pair.remote.ice_ufrag) != pair.remote.ice_ufrag:
            _log.warning("the peer restarted ICE (%s to %s), not supported", before_ufrag, pair.remote.ice_ufrag)

    async def _connect(self, pair: TransportPair) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._start(pair)
        except TimeoutError:
            self.error = f"no connection within {self._connect_timeout:g} s"
        except Exception as error:
            self.error = str(error) or type(error).__name__
        if self.dtls.state == "connected" and not self.error:
            self._set(SlotState.CONNECTED)
            return
        _log.warning("a media transport failed: %s", self.error)
        self._set(SlotState.FAILED)

    async def _start(self, pair: TransportPair) -> None:
        remote, connection = pair.remote, self._gatherer._connection
        connection.ice_controlling = pair.ice_controlling
        self._ice.on("statechange", self._ice_changed)
        self.dtls.on("statechange", self._dtls_changed)
        candidates = _parse_candidates(remote.candidates)
        named = [c for c in candidates if c.host.endswith(".local")]
        for candidate in candidates:
            if candidate not in named:
                await connection.add_remote_candidate(candidate)
        resolving = asyncio.create_task(_add_named(connection, named))
        try:
            parameters = RTCIceParameters(remote.ice_ufrag, remote.ice_pwd, remote.ice_lite)
            await self._ice.start(parameters)
        finally:
            resolving.cancel()
        if self._ice.state != "completed":
            raise ConnectionError("ICE found no path to the peer")
        self.dtls._set_role("client" if pair.dtls_client else "server")
        fingerprints = [RTCDtlsFingerprint(*f) for f in remote.fingerprints]
        await self.dtls.start(RTCDtlsParameters(fingerprints))
        if self.dtls.state != "connected":
            raise ConnectionError("the DTLS handshake failed, or the peer's certificate is not the one it announced")

    def _ice_changed(self) -> None:
        if self._ice.state == "failed" and self.state in (SlotState.CONNECTED, SlotState.ENDED):
            self.error = "the peer is not reachable any more"
            self._set(SlotState.FAILED)

    def _dtls_changed(self) -> None:
        if self.dtls.state == "closed" and self.state is SlotState.CONNECTED:
            self._set(SlotState.ENDED)

    def _set(self, state: SlotState) -> None:
        if state is not self.state:
            self.state = state
            self._changed()

    async def close(self) -> None:
        self._changed = lambda: None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for stop in (self.dtls.stop, self._ice.stop):
            try:
                await asyncio.wait_for(stop(), _STOP_TIMEOUT)
            except Exception as error:
                _log.warning("closing a media transport: %r", error)
        self.dtls.remove_all_listeners()


def _default_rank(candidate: aioice.Candidate) -> tuple[bool, bool, bool, int]:
    """Lowest is the best default candidate: host, IPv4, not loopback, then by priority."""
    address = ipaddress.ip_address(candidate.host)
    return candidate.type != "host", address.version != 4, address.is_loopback, -candidate.priority


def _parse_candidates(values: tuple[str, ...]) -> list[aioice.Candidate]:
    """Those that can be used: UDP, for RTP (which RTCP shares), understood."""
    out: list[aioice.Candidate] = []
    for value in values[:_CANDIDATE_LIMIT]:
        try:
            candidate = aioice.Candidate.from_sdp(value.removeprefix("candidate:"))
        except ValueError:
            _log.info("a remote candidate was not understood: %r", value)
            continue
        if candidate.transport.lower() == "udp" and candidate.component == 1 and 0 < candidate.port < 65536:
            out.append(candidate)
    return out


async def _add_named(connection: _Connection, named: list[aioice.Candidate]) -> None:
    """Resolves mDNS names side by side, then says that there are no more candidates (or ICE would never fail)."""
    start = asyncio.get_running_loop().time()
    if named:
        await asyncio.gather(*(connection.add_remote_candidate(c) for c in named), return_exceptions=True)
    await asyncio.sleep(_PATIENCE - (asyncio.get_running_loop().time() - start))
    await connection.add_remote_candidate(None)
