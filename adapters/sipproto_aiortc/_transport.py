"""One ICE and DTLS transport: aiortc's objects, made to outlive hostile packets, lost paths and restarts."""

from __future__ import annotations

import asyncio
import base64
import enum
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pylibsrtp
from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceTransport,
)
from aiortc.rtcdtlstransport import RtpReceiver, RtpRouter, certificate_digest
from aiortc.rtp import RtpPacket, is_rtcp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sipproto.media.congestion import split_feedback
from sipproto.negotiation import LocalTransport, TransportPair
from sipproto_aiortc._facts import CertificateFacts, IceFacts
from sipproto_aiortc._ice import Credentials, Generation, IceTransport, default_rank
from sipproto_aiortc._outlet import Flow, Outlet
from sipproto_aiortc._recent import Recent
from sipproto_aiortc._servers import IceOptions
from sipproto_aiortc._told import Told

_log = logging.getLogger("sipproto.media")

# The names that OpenSSL and IANA have for the suites we offer. aiortc offers those with ECDSA only; a DTLS server with an
# RSA certificate then fails the handshake.
_CIPHERS = {
    f"ECDHE-{kind}-{suite}": f"TLS_ECDHE_{kind}_WITH_{name}"
    for kind in ("ECDSA", "RSA")
    for suite, name in (
        ("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"),
        ("AES128-SHA", "AES_128_CBC_SHA"),
        ("AES256-SHA", "AES_256_CBC_SHA"),
    )
}
_DIGESTS = frozenset({"sha-256", "sha-384", "sha-512"})
_STOP_TIMEOUT = 2.0
_STREAMS = 1024  # of a transport, whose receivers are known by SSRC


class Certificate(RTCCertificate):
    """A certificate whose transports also talk to peers with RSA certificates."""

    def _create_ssl_context(self, srtp_profiles: list[Any]) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(":".join(_CIPHERS).encode())
        return context

    def facts(self) -> CertificateFacts:
        return _certificate_facts(self._cert)


def _certificate_facts(certificate: x509.Certificate) -> CertificateFacts:
    return CertificateFacts(
        fingerprint=certificate_digest(certificate, "sha-256"),
        algorithm="sha-256",
        base64=base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
    )


class Router(RtpRouter):
    """Also routes by the MID header extension (RFC 8843 9.2): two lines may share payload types without any a=ssrc.

    `arrived` is told of each packet, whoever it is for.
    """

    def __init__(self, arrived: Callable[[RtpPacket], None]) -> None:
        super().__init__()
        self._arrived = arrived
        self.ssrc_table = Recent(_STREAMS)

    def route_rtp(self, packet: RtpPacket) -> RtpReceiver | None:
        self._arrived(packet)
        by_mid = self.mid_table.get(packet.extensions.mid) if packet.extensions.mid else None
        if by_mid is not None and by_mid in self.payload_type_table.get(packet.payload_type, set()):
            self.ssrc_table[packet.ssrc] = by_mid
            return by_mid
        return super().route_rtp(packet)


class DtlsTransport(RTCDtlsTransport):
    """Counts and gates what is sent, and survives whatever is received."""

    def __init__(self, transport: IceTransport, certificate: Certificate) -> None:
        super().__init__(cast(RTCIceTransport, transport), [certificate])  # it has what is used of one
        self._ice = transport
        self._rtp_router = Router(self._arrived)
        self.flows: dict[int, Flow] = {}
        self.outlet = Outlet(self._leave)
        self.told = Told(self._leave)
        self._told = False
        # Of the RTP packet that is being handled: octets, header included, and the monotonic time of its arrival.
        self.packet_size = 0
        self.arrival = 0.0

    @property
    def role(self) -> str:
        """client, server, or unknown while that is not agreed on."""
        return self._role if self._role in ("client", "server") else "unknown"

    @property
    def tls_version(self) -> str | None:
        return f"{self._ssl.get_protocol_version():04X}" if self.encrypted and self._ssl is not None else None

    @property
    def dtls_cipher(self) -> str | None:
        name = self._ssl.get_cipher_name() if self._ssl is not None else None
        return None if name is None else _CIPHERS.get(name, name)  # OpenSSL knows those of TLS 1.3 by their IANA names

    @property
    def srtp_cipher(self) -> str | None:
        if self._tx_srtp is None or self._ssl is None:
            return None
        return self._ssl.get_selected_srtp_profile().decode().replace("_CM_SHA1_", "_CM_HMAC_SHA1_")  # as IANA has it

    @property
    def remote_certificate(self) -> CertificateFacts | None:
        certificate = self._ssl.get_peer_certificate(as_cryptography=True) if self._ssl is not None else None
        return None if certificate is None else _certificate_facts(certificate)

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        """RFC 8122 5: one fingerprint with the best hash has to match, as a peer may have several certificates.

        aiortc wants all of them to match the one certificate that is used.
        """
        certificate = self._ssl.get_peer_certificate(as_cryptography=True) if self._ssl is not None else None
        assert certificate is not None  # of either side, as RTCCertificate asks for it
        told = [(one.algorithm.lower(), one.value.upper()) for one in remoteParameters.fingerprints]
        best = max(algorithm for algorithm, _ in told if algorithm in _DIGESTS)
        shown = certificate_digest(certificate, best)
        used = [RTCDtlsFingerprint(best, shown)] if (best, shown) in told else remoteParameters.fingerprints
        super()._validate_peer_identity(RTCDtlsParameters(used))

    async def _send_rtp(self, data: bytes) -> None:
        if self.state != "connected":
            return
        if is_rtcp(data):
            await self._leave(data)
            return
        flow = self.flows.get(int.from_bytes(data[8:12], "big"))
        if flow is not None and flow.open:
            await self.outlet.put(flow, data if flow.rewrite is None else flow.rewrite(data))

    async def _leave(self, data: bytes) -> None:
        if self.state != "connected":
            return
        try:
            await super()._send_rtp(data)
        except (ConnectionError, pylibsrtp.Error) as error:
            _log.debug("a packet was not sent: %s", error)

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        self.packet_size, self.arrival = len(data), self._ice.arrival
        try:
            await super()._handle_rtp_data(data, arrival_time_ms - round(1000 * (time.monotonic() - self.arrival)))
        except Exception as error:
            self._dropped("RTP", error)

    async def _handle_rtcp_data(self, data: bytes) -> None:
        try:
            feedback, rest = split_feedback(data)
            if feedback:
                self.outlet.receive(feedback)
            if rest:
                await super()._handle_rtcp_data(rest)
        except Exception as error:
            self._dropped("RTCP", error)

    def _arrived(self, packet: RtpPacket) -> None:
        number = packet.extensions.transport_sequence_number
        if number is not None:
            self.told.arrived(number, packet.ssrc, self.packet_size, self.arrival)

    async def stop(self) -> None:
        self.outlet.close()
        self.told.close()
        await super().stop()

    def _dropped(self, what: str, error: Exception) -> None:
        """The first is told, with its place, as it may be a fault of ours; more would let a peer flood the log."""
        if not self._told:
            self._told = True
            _log.warning("an %s packet could not be handled and is dropped, as further ones", what, exc_info=error)


class SlotState(enum.Enum):
    OPEN = "open"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"  # no path since a short while; an ICE restart may bring a new one
    ENDED = "ended"  # by the peer, properly
    FAILED = "failed"


class Slot:
    """A transport of a call. `changed` is called on the media thread whenever `state` may have changed.

    For each session `take` and then `connect` are called; between the two the caller has to give up what uses another
    DTLS transport than `dtls`, which is a new one when the peer has another certificate, and calls `close_left`.
    """

    def __init__(
        self,
        options: IceOptions,
        certificate: Certificate,
        credentials: Credentials,
        connect_timeout: float,
        changed: Callable[[], None],
    ) -> None:
        self._options = options
        self._certificate = certificate
        self._connect_timeout = connect_timeout
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._ice = IceTransport(Generation(options, credentials, controlling=True), self._tell)
        self.dtls = self._new_dtls()
        self._left: tuple[IceTransport, DtlsTransport] | None = None
        self._due: Generation | None = None  # to be connected
        self._connecting: asyncio.Task[None] | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._pair: TransportPair | None = None
        self._closed = False
        self.error = ""

    def _new_dtls(self) -> DtlsTransport:
        dtls = DtlsTransport(self._ice, self._certificate)
        dtls.on("statechange", self._tell)
        return dtls

    def _tell(self) -> None:
        self._changed()

    @property
    def state(self) -> SlotState:
        if self._pair is None:
            return SlotState.OPEN
        if self.error:
            return SlotState.FAILED
        if self.dtls.state == "closed":
            return SlotState.ENDED
        if self.dtls.state != "connected":
            return SlotState.CONNECTING
        if self._ice.alive:
            return SlotState.CONNECTED
        return SlotState.LOST if self._loop.time() < self._ice.lost_at + self._connect_timeout else SlotState.FAILED

    @property
    def last_received(self) -> float:
        """Loop time of the last packet of any kind but STUN."""
        return self._ice.last_received

    async def open(self) -> LocalTransport:
        """Gathers, within the bound of the options."""
        await self._ice.current.gather()
        return self.local()

    async def reopen(self, credentials: Credentials) -> LocalTransport:
        """Makes ready for an ICE restart: gathers a second time, with new credentials, beside what is in use."""
        if self._pair is None:
            raise ValueError("a media transport that is not in use yet cannot be restarted")
        generation = Generation(self._options, credentials, controlling=self._pair.ice_controlling)
        try:
            await generation.gather()
        except BaseException:
            await generation.close()
            raise
        self._ice.open(generation)
        return self._described(generation)

    def drop_reopened(self) -> None:
        self._ice.drop_opened()

    def local(self) -> LocalTransport:
        """What the peer knows, or is to know first."""
        return self._described(self._ice.agreed)

    def _described(self, generation: Generation) -> LocalTransport:
        default = min(generation.candidates, key=default_rank)
        fingerprint = next(f for f in self._certificate.getFingerprints() if f.algorithm == "sha-256")
        return LocalTransport(
            ice_ufrag=generation.ufrag,
            ice_pwd=generation.password,
            candidates=tuple(candidate.to_sdp() for candidate in generation.candidates),
            fingerprint=("sha-256", fingerprint.value.upper()),
            address=default.host,
            port=default.port,
        )

    @property
    def _ice_state(self) -> str:
        if self._closed:
            return "closed"
        if self._ice.alive:
            return "connected"
        if self.state is SlotState.FAILED:
            return "failed"
        if self._pair is None:
            return "new"
        return "disconnected" if self._ice.selected_changes else "checking"

    def facts(self) -> IceFacts:
        """What is known now."""
        ice, dtls = self._ice, self.dtls
        ours, theirs = ice.current.candidate_facts()
        pairs, selected = ice.current.pair_facts()
        return IceFacts(
            ice_role=ice.role,
            ice_state=self._ice_state,
            local_ufrag=ice.current.ufrag,
            remote_ufrag=ice.current.remote_ufrag,
            dtls_state=dtls.state,
            dtls_role=dtls.role,
            tls_version=dtls.tls_version,
            dtls_cipher=dtls.dtls_cipher,
            srtp_cipher=dtls.srtp_cipher,
            local_certificate=self._certificate.facts(),
            remote_certificate=dtls.remote_certificate,
            local_candidates=ours,
            remote_candidates=theirs,
            pairs=pairs,
            selected=selected,
            selected_pair_changes=ice.selected_changes,
            packets_sent=ice.packets_sent,
            bytes_sent=ice.bytes_sent,
            packets_received=ice.packets_received,
            bytes_received=ice.bytes_received,
            packets_dropped=ice.dropped,
            available_outgoing_bitrate=dtls.outlet.estimate,
            server_errors=ice.current.server_errors,
        )

    # -- a session ---------------------------------------------------------------------------------------------------

    def check(self, pair: TransportPair) -> None:
        """Raises ValueError for what cannot be done."""
        if not any(algorithm in _DIGESTS for algorithm, _ in pair.remote.fingerprints):
            raise ValueError("the peer has no certificate fingerprint of a known hash (sha-256, sha-384, sha-512)")
        before = self._pair
        if before is not None and pair.remote.same_ice(before.remote) and not pair.remote.same_dtls(before.remote):
            raise ValueError("the peer changed its certificate without an ICE restart")

    def take(self, pair: TransportPair) -> None:
        """Takes over what was agreed on: goes on, restarts ICE, or begins anew. Raises ValueError like `check`."""
        self.check(pair)
        before = self._pair
        if before is None:
            self._due = self._ice.current
        elif pair.remote.same_ice(before.remote):
            self._ice.drop_opened()  # nobody asked for a restart, or the peer ignored it
        elif self._usable and pair.remote.same_dtls(before.remote) and pair.dtls_client == before.dtls_client:
            self._due = self._ice.agree()
        else:
            generation = self._ice.give_away()
            self._left = self._ice, self.dtls
            self.dtls.remove_all_listeners()
            if self._handshake is not None:
                self._handshake.cancel()
                self._handshake = None
            self._ice = IceTransport(generation, self._tell)
            self.dtls = self._new_dtls()
            self._due = generation
        self._pair = pair

    @property
    def _usable(self) -> bool:
        """Whether the DTLS association is there, or may still come about."""
        if self.dtls.state == "connected":
            return True
        return self.dtls.state != "closed" and (self._handshake is None or not self._handshake.done())

    async def close_left(self) -> None:
        """Closes what `take` replaced."""
        left, self._left = self._left, None
        if left is not None:
            await _bounded(left[1].stop())
            await left[0].close()

    def connect(self) -> None:
        """Starts connecting in the background, if there is anything new to connect with."""
        generation, self._due = self._due, None
        if generation is None or self._pair is None:
            return
        if self._connecting is not None:
            self._connecting.cancel()
        self.error = ""
        self._connecting = asyncio.create_task(self._connect(generation, self._pair))
        self._changed()

    async def _connect(self, generation: Generation, pair: TransportPair) -> None:
        ice, deadline = self._ice, self._loop.time() + self._connect_timeout
        error = ""
        try:
            async with asyncio.timeout_at(deadline):
                await generation.connect(pair, ice.lost)
        except Exception as reason:
            error = self._described_error(reason)
            _log.warning("a media transport found no path: %s", error)
        if generation is not self._ice.agreed:
            return  # overtaken by another one, whose turn comes when this task is cancelled
        if error:
            ice.give_up()
            if not ice.alive:
                self._fail(error)
            return
        ice.go_over()
        if self._handshake is None:
            self._handshake = asyncio.create_task(self._shake_hands(pair, deadline))

    async def _shake_hands(self, pair: TransportPair, deadline: float) -> None:
        dtls = self.dtls
        dtls._set_role("client" if pair.dtls_client else "server")
        try:
            async with asyncio.timeout_at(deadline):
                await dtls.start(RTCDtlsParameters([RTCDtlsFingerprint(*f) for f in pair.remote.fingerprints]))
            if dtls.state != "connected":
                raise ConnectionError(
                    "the DTLS handshake failed, or the peer's certificate is not the one it announced"
                )
        except Exception as error:
            self._fail(self._described_error(error))
            _log.warning("a media transport failed: %s", self.error)

    def _described_error(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no connection within {self._connect_timeout:g} s"
        return str(error) or type(error).__name__

    def _fail(self, error: str) -> None:
        self.error = error
        self._changed()

    async def close(self) -> None:
        self._closed = True
        self._changed = lambda: None
        tasks = [task for task in (self._connecting, self._handshake) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.dtls.remove_all_listeners()
        await self.close_left()
        await _bounded(self.dtls.stop())
        await self._ice.close()


async def _bounded(stopping: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await stopping
    except Exception as error:
        _log.warning("closing a media transport: %r", error)
