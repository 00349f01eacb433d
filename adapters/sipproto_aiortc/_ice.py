"""ICE that can be restarted under a DTLS transport which notices nothing of it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Callable

import aioice
from aioice import stun
from aioice.ice import CandidatePair, StunProtocol
from attrs import asdict, field, frozen

from sipproto.negotiation import TransportPair
from sipproto_aiortc._facts import CandidateFacts, PairFacts, ServerError
from sipproto_aiortc._gather import Address, Gathering, Protocol
from sipproto_aiortc._nomination import NominatingConnection
from sipproto_aiortc._servers import IceOptions

_log = logging.getLogger("sipproto.media")

_LOOPBACK = "127.0.0.1"
_RECEIVE_LIMIT = 2048  # datagrams waiting for DTLS: more is a flood
_DATAGRAM_LIMIT = 1500  # octets: the buffer of pylibsrtp
_CANDIDATE_LIMIT = 64  # each costs 20 ms and more of checks
_PAIR_LIMIT = 512  # that the peer may bring about by checks from ever new addresses
_STOP_TIMEOUT = 2.0
# Seconds before ICE may fail for want of candidates: the peer may reach us although we cannot reach what it named, a
# browser's mDNS names for example (RFC 8863).
_PATIENCE = 5.0
# Seconds that a pair stays open after we left it: the peer may go over a little later than we do.
_LINGER = 1.0


@frozen
class Credentials:
    """What the peer has to know to check a path to us (RFC 8839 5.4)."""

    ufrag: str
    password: str = field(repr=False)

    @classmethod
    def fresh(cls) -> Credentials:
        """Of 32 and 128 bits of randomness; 24 and 128 are asked for (RFC 8445 5.3)."""
        return cls(secrets.token_hex(4), secrets.token_hex(16))


class _Connection(NominatingConnection):
    def __init__(self, options: IceOptions, controlling: bool, credentials: Credentials) -> None:
        super().__init__(
            ice_controlling=controlling,
            local_username=credentials.ufrag,
            local_password=credentials.password,
            transport_policy=aioice.TransportPolicy.RELAY if options.policy == "relay" else aioice.TransportPolicy.ALL,
        )
        self._options = options
        self.gathering = Gathering(self, options)
        self.selected: CandidatePair | None = None  # stays when the connection is closed
        self.selected_changes = 0
        self.arrival = 0.0  # monotonic, of the datagram that is being handled
        self.deliver: Callable[[bytes, float], None] = lambda data, arrival: None

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: float = 5
    ) -> list[aioice.Candidate]:
        # aioice leaves loopback out; a machine without any other address could not even call itself.
        if self._options.policy == "all" and (self._options.include_loopback or not addresses):
            addresses = [*addresses, _LOOPBACK]
        await self.gathering.run(addresses)
        return self.gathering.candidates

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        # Each new address of the peer would be checked and kept, without an end (RFC 8445 6.1.2.5).
        known = len(self._check_list) < _PAIR_LIMIT or any(pair.remote_addr == addr for pair in self._check_list)
        if known and "PRIORITY" in message.attributes:
            assert isinstance(protocol, Protocol)
            protocol.check_again(addr)
            super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: CandidatePair) -> None:
        super().check_complete(pair)
        selected = self._nominated.get(pair.component)
        if selected is not None and selected is not self.selected:
            self.selected = selected
            self.selected_changes += 1

    def data_received(self, data: bytes, component: int) -> None:
        # Past aioice's queue, which is one of this connection alone: `recv` then only tells of the end.
        self.deliver(data, self.arrival)

    async def close(self) -> None:
        protocols, self._protocols = self._protocols, []
        await super().close()
        # Side by side, and within a time: aioice waits for each in turn until its TURN server answers or 40 s are over.
        await asyncio.gather(*(protocol.close() for protocol in protocols))

    def take_sockets_of(self, other: _Connection) -> None:
        """Goes on with the sockets and candidates of a connection whose credentials it shares."""
        self._protocols, other._protocols = other._protocols, []
        for protocol in self._protocols:
            assert isinstance(protocol, Protocol)
            protocol.receiver = self
            protocol.hear_only_the_peer()
        self.gathering = other.gathering
        self._local_candidates = other.local_candidates
        self._local_candidates_start = self._local_candidates_end = True

    # -- facts -------------------------------------------------------------------------------------------------------

    def local_facts(self, candidate: aioice.Candidate) -> CandidateFacts:
        server = self.gathering.servers.get((candidate.host, candidate.port))
        return candidate_facts(
            candidate,
            url=server.url if server is not None else None,
            relay_protocol=server.transport if server is not None and server.relays else None,
        )

    def pair_facts(self, pair: CandidatePair) -> PairFacts:
        assert isinstance(pair.protocol, Protocol)
        return PairFacts(
            local=self.local_facts(pair.local_candidate),
            remote=candidate_facts(pair.remote_candidate),
            state=pair.state.name.lower().replace("_", "-"),
            nominated=pair.nominated,
            **asdict(pair.protocol.traffic(pair.remote_addr)),
        )


def candidate_facts(
    candidate: aioice.Candidate, url: str | None = None, relay_protocol: str | None = None
) -> CandidateFacts:
    return CandidateFacts(
        type=candidate.type,
        address=candidate.host,
        port=candidate.port,
        priority=candidate.priority,
        foundation=candidate.foundation,
        related_address=candidate.related_address,
        related_port=candidate.related_port,
        url=url,
        relay_protocol=relay_protocol,
    )


class Generation:
    """One ICE session: credentials of ours and, once agreed on, of the peer; sockets; the pair that was found.

    `controlling` is the role that we shall have if the peer answers an offer of ours: its checks arrive before its
    answer does, and must not find us in another one.
    """

    def __init__(self, options: IceOptions, credentials: Credentials, *, controlling: bool) -> None:
        self._options = options
        self._credentials = credentials
        self._expected = controlling
        self._connection = _Connection(options, controlling, credentials)
        self._watching: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self.alive = False  # whether a pair was found and consent to send to the peer is not lost (RFC 7675)
        self.candidates: tuple[aioice.Candidate, ...] = ()

    @property
    def ufrag(self) -> str:
        return self._connection.local_username

    @property
    def password(self) -> str:
        return self._connection.local_password

    @property
    def controlling(self) -> bool:
        return self._connection.ice_controlling

    @property
    def remote_ufrag(self) -> str | None:
        return self._connection.remote_username

    @property
    def server_errors(self) -> tuple[ServerError, ...]:
        return tuple(self._connection.gathering.errors)

    @property
    def selected_changes(self) -> int:
        """How often a pair was selected, the first time included."""
        return self._connection.selected_changes

    def candidate_facts(self) -> tuple[tuple[CandidateFacts, ...], tuple[CandidateFacts, ...]]:
        """Our candidates and those of the peer."""
        ours = (self._connection.local_facts(candidate) for candidate in self.candidates)
        return tuple(ours), tuple(candidate_facts(candidate) for candidate in self._connection.remote_candidates)

    def pair_facts(self) -> tuple[tuple[PairFacts, ...], PairFacts | None]:
        """All pairs, and the one that is in use."""
        facts = {id(pair): self._connection.pair_facts(pair) for pair in self._connection._check_list}
        selected = self._connection.selected if self.alive else None
        return tuple(facts.values()), facts.get(id(selected))

    async def gather(self) -> None:
        """Within the time of the options. Raises ConnectionError when there is no candidate."""
        await self._connection.gather_candidates()
        self.candidates = tuple(self._connection.local_candidates)
        errors = self._connection.gathering.errors
        if not self.candidates and self._options.policy == "relay":
            raise ConnectionError("; ".join(error.text for error in errors) or "no TURN server gave a relay address")
        for error in errors:
            _log.warning("%s", error.text)
        if not self.candidates:
            raise ConnectionError("no network address could be bound for media")

    def for_another_peer(self) -> Generation:
        """One with the same credentials and sockets, for a peer that answered the same offer of ours. This one is dead.

        Raises ValueError when it has been closed.
        """
        if self._ending is not None:
            raise ValueError("the peer has new ICE credentials, but the transport that it was told of is closed")
        other = Generation(self._options, self._credentials, controlling=self._expected)
        other._connection.take_sockets_of(self._connection)
        other.candidates = self.candidates
        self.alive = False
        return other

    def deliver_to(self, deliver: Callable[[bytes, float], None]) -> None:
        """From now on `deliver` gets what is no STUN, with its monotonic time of arrival."""
        self._connection.deliver = deliver

    async def connect(self, pair: TransportPair, ended: Callable[[Generation], None]) -> None:
        """Finds a path to the peer, or raises ConnectionError. `ended` is called when it is lost, not by `close`."""
        remote, connection = pair.remote, self._connection
        if pair.ice_controlling is not self._expected:  # else a role conflict may have been settled already
            connection.ice_controlling = pair.ice_controlling
        connection.peer_checks = not remote.ice_lite
        connection.remote_username, connection.remote_password = remote.ice_ufrag, remote.ice_pwd
        candidates = _parse_candidates(remote.candidates)
        named = [c for c in candidates if c.host.endswith(".local")]
        for candidate in candidates:
            if candidate not in named:
                await connection.add_remote_candidate(candidate)
        resolving = asyncio.create_task(_add_named(connection, named))
        try:
            await connection.connect()
        except ConnectionError:
            raise ConnectionError("ICE found no path to the peer") from None
        finally:
            resolving.cancel()
        self.alive = True
        self._watching = asyncio.create_task(self._watch(ended))

    async def _watch(self, ended: Callable[[Generation], None]) -> None:
        try:
            while True:
                await self._connection.recv()
        except ConnectionError:  # consent expired, or the socket is gone
            pass
        if self.alive:
            self.alive = False
            ended(self)

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError or OSError when it cannot be sent."""
        await self._connection.send(data)

    async def close(self) -> None:
        """Closes the sockets, within a bounded time. May be called more than once."""
        self.alive = False
        if self._watching is not None:
            self._watching.cancel()
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await self._connection.close()
        except Exception as error:
            _log.warning("closing an ICE transport: %r", error)


class IceTransport:
    """What RTCDtlsTransport needs of an ICE transport, over ICE sessions that come and go (RFC 8445 9).

    Sends over one of them and receives from all. It never fails: what cannot be sent is dropped and counted, because
    an error would end the RTP senders and the DTLS association, which a restart has to find alive.
    """

    def __init__(self, generation: Generation, changed: Callable[[], None]) -> None:
        self._received: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue(_RECEIVE_LIMIT)
        self.arrival = 0.0  # monotonic, of what was given to the reader last
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._lingering: Generation | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.current = generation  # what is sent over
        self.agreed = generation  # what the peer knows of; another than `current` while its path is looked for
        self.opened: Generation | None = None  # made for a restart that is not agreed on yet
        self.last_received = self._loop.time()  # of the last DTLS, RTP or RTCP packet
        self.lost_at = self._loop.time()  # when the last path ended; of meaning while there is none
        self.dropped = 0
        self.packets_sent = self.bytes_sent = 0
        self.packets_received = self.bytes_received = 0
        self._changes_before = 0  # of the selected pair, in sessions that are over
        generation.deliver_to(self._deliver)

    # -- for RTCDtlsTransport ----------------------------------------------------------------------------------------

    @property
    def role(self) -> str:
        return "controlling" if self.current.controlling else "controlled"

    async def _recv(self) -> bytes:
        data, self.arrival = await self._received.get()
        return data

    async def _send(self, data: bytes) -> None:
        if self.alive:
            try:
                await self.current.send(data)
                self.packets_sent += 1
                self.bytes_sent += len(data)
                return
            except (ConnectionError, OSError):
                pass
        self.dropped += 1

    def _deliver(self, data: bytes, arrival: float) -> None:
        # aiortc's DTLS reader ends with an error at an empty datagram and at one too long for SRTP, which anybody can send.
        if 0 < len(data) <= _DATAGRAM_LIMIT and not self._received.full():
            self.last_received = self._loop.time()
            self.packets_received += 1
            self.bytes_received += len(data)
            self._received.put_nowait((data, arrival))

    # -- sessions ----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether there is a path to the peer."""
        return self.current.alive

    @property
    def selected_changes(self) -> int:
        """How often the pair in use became another, the first one included."""
        return self._changes_before + self.current.selected_changes

    def open(self, generation: Generation) -> None:
        """Keeps a session ready for a restart; one that was kept before is closed."""
        self.drop_opened()
        self.opened = generation
        generation.deliver_to(self._deliver)

    def drop_opened(self) -> None:
        if self.opened is not None:
            self._retire(self.opened)
        self.opened = None

    def give_away(self) -> Generation:
        """The session for new credentials of the peer. Raises ValueError if there is none.

        That is the one opened for a restart. Without one the peer is another than before which answered the same
        offer, a fork of the call: it knows the credentials and addresses of the session agreed on.
        """
        generation = self.opened or self.agreed.for_another_peer()
        self.opened = None
        return generation

    def agree(self) -> Generation:
        """The peer has new credentials: gives the session to be connected with them. Raises ValueError if there is none."""
        forked, before = self.opened is None, self.agreed
        generation = self.agreed = self.give_away()
        generation.deliver_to(self._deliver)
        if before is not self.current:
            self._retire(before)  # still looking for its path
        elif forked:
            self._switch(generation)
        return generation

    def go_over(self) -> None:
        """The session agreed on is connected: sends over it, and closes the one before a little later."""
        if self.agreed is not self.current:
            self._switch(self.agreed)
        self._changed()

    def give_up(self) -> None:
        """The session agreed on found no path. One that is in use goes on."""
        if self.agreed is not self.current:
            self._retire(self.agreed)

    def lost(self, generation: Generation) -> None:
        """A session ended by itself."""
        self._retire(generation)
        if generation is self.current:
            self.lost_at = self._loop.time()
            self._changed()

    def _switch(self, generation: Generation) -> None:
        before, self.current = self.current, generation
        self._changes_before += before.selected_changes
        self._end_lingering()  # at most one lingers, however fast restarts follow upon each other
        if before.alive:
            self._lingering = before
            self._timer = self._loop.call_later(_LINGER, self._end_lingering)
        else:
            self._retire(before)
        if not generation.alive:
            self.lost_at = self._loop.time()

    def _end_lingering(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._lingering is not None:
            self._retire(self._lingering)
        self._lingering = self._timer = None

    def _retire(self, generation: Generation) -> None:
        task = asyncio.create_task(generation.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        self._changed = lambda: None
        self._end_lingering()
        self.drop_opened()
        for generation in {self.current, self.agreed}:
            self._retire(generation)
        await asyncio.gather(*self._closing, return_exceptions=True)


def default_rank(candidate: aioice.Candidate) -> tuple[bool, bool, bool, int]:
    """Lowest is the best default candidate: not loopback, IPv4, host, then by priority."""
    address = ipaddress.ip_address(candidate.host)
    return address.is_loopback, address.version != 4, candidate.type != "host", -candidate.priority


def _parse_candidates(values: tuple[str, ...]) -> list[aioice.Candidate]:
    """Those that can be used: UDP, for RTP (which RTCP shares), understood, not link-local IPv6 (RFC 8445 6.1.2.2)."""
    out: list[aioice.Candidate] = []
    for value in values[:_CANDIDATE_LIMIT]:
        try:
            candidate = aioice.Candidate.from_sdp(value.removeprefix("candidate:"))
        except ValueError:
            _log.info("a remote candidate was not understood: %r", value)
            continue
        of_use = candidate.transport.lower() == "udp" and candidate.component == 1 and 0 < candidate.port < 65536
        if of_use and not candidate.host.lower().startswith("fe80:"):
            out.append(candidate)
    return out


async def _add_named(connection: _Connection, named: list[aioice.Candidate]) -> None:
    """Resolves mDNS names side by side, then says that there are no more candidates (or ICE would never fail)."""
    start = asyncio.get_running_loop().time()
    if named:
        await asyncio.gather(*(connection.add_remote_candidate(c) for c in named), return_exceptions=True)
    await asyncio.sleep(_PATIENCE - (asyncio.get_running_loop().time() - start))
    await connection.add_remote_candidate(None)
