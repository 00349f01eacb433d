"""ICE that can be restarted under a DTLS transport which notices nothing of it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from typing import Any

import aioice
from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs
from attrs import field, frozen

from sipproto.negotiation import TransportPair

_log = logging.getLogger("sipproto.media")

_LOOPBACK = "127.0.0.1"
_RECEIVE_LIMIT = 2048  # datagrams waiting for DTLS: more is a flood
_CANDIDATE_LIMIT = 64  # each costs 20 ms and more of checks
_STOP_TIMEOUT = 2.0
# Seconds before ICE may fail for want of candidates: the peer may reach us although we cannot reach what it named, a
# browser's mDNS names for example (RFC 8863).
_PATIENCE = 5.0
# Seconds that a pair stays open after we left it: the peer may go over a little later than we do.
_LINGER = 1.0


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


class _Connection(aioice.Connection):
    def __init__(self, options: IceOptions, controlling: bool, ufrag: str | None, password: str | None) -> None:
        super().__init__(
            ice_controlling=controlling,
            local_username=ufrag,
            local_password=password,
            **options.connection_arguments(),
        )
        self._options = options
        self.deliver: Callable[[bytes], None] = lambda data: None

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: float = 5
    ) -> list[aioice.Candidate]:
        # aioice leaves loopback out; a machine without any other address could not even call itself.
        if self._options.include_loopback or not addresses:
            addresses = [*addresses, _LOOPBACK]
        bound: Any = min(timeout, self._options.gather_timeout)  # annotated int, passed on to asyncio.wait
        return await super().get_component_candidates(component, addresses, timeout=bound)

    def data_received(self, data: bytes, component: int) -> None:
        # Past aioice's queue, which is one of this connection alone: `recv` then only tells of the end.
        self.deliver(data)

    def take_sockets_of(self, other: _Connection) -> None:
        """Goes on with the sockets and candidates of a connection whose credentials it shares."""
        self._protocols, other._protocols = other._protocols, []
        for protocol in self._protocols:
            protocol.receiver = self
            self._hear_only_the_peer(protocol)
        self._local_candidates = other.local_candidates
        self._local_candidates_start = self._local_candidates_end = True

    def _hear_only_the_peer(self, protocol: Any) -> None:
        """The peer before goes on sending here, and its DTLS messages would spoil the handshake with the new one."""
        receive = type(protocol).datagram_received

        def received(data: bytes, address: tuple[Any, ...]) -> None:
            is_stun = data[:1] < b"\x04"  # RFC 7983 7
            if is_stun or any(pair.remote_addr == tuple(address[:2]) for pair in self._check_list):
                receive(protocol, data, address)

        protocol.datagram_received = received


class Generation:
    """One ICE session: credentials of ours and, once agreed on, of the peer; sockets; the pair that was found.

    `controlling` is the role that we shall have if the peer answers an offer of ours: its checks arrive before its
    answer does, and must not find us in another one.
    """

    def __init__(
        self, options: IceOptions, *, controlling: bool, ufrag: str | None = None, password: str | None = None
    ) -> None:
        self._options = options
        self._expected = controlling
        self._connection = _Connection(options, controlling, ufrag, password)
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

    async def gather(self) -> None:
        """Raises ConnectionError when nothing can be bound."""
        await self._connection.gather_candidates()
        self.candidates = tuple(self._connection.local_candidates)
        if not self.candidates:
            raise ConnectionError("no network address could be bound for media")

    def for_another_peer(self) -> Generation:
        """One with the same credentials and sockets, for a peer that answered the same offer of ours. This one is dead.

        Raises ValueError when it has been closed.
        """
        if self._ending is not None:
            raise ValueError("the peer has new ICE credentials, but the transport that it was told of is closed")
        other = Generation(self._options, controlling=self._expected, ufrag=self.ufrag, password=self.password)
        other._connection.take_sockets_of(self._connection)
        other.candidates = self.candidates
        self.alive = False
        return other

    def deliver_to(self, deliver: Callable[[bytes], None]) -> None:
        self._connection.deliver = deliver

    async def connect(self, pair: TransportPair, ended: Callable[[Generation], None]) -> None:
        """Finds a path to the peer, or raises ConnectionError. `ended` is called when it is lost, not by `close`."""
        remote, connection = pair.remote, self._connection
        if pair.ice_controlling is not self._expected:  # else a role conflict may have been settled already
            connection.ice_controlling = pair.ice_controlling
        connection.remote_is_lite = remote.ice_lite
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
            await asyncio.wait_for(self._connection.close(), _STOP_TIMEOUT)
        except Exception as error:
            _log.warning("closing an ICE transport: %r", error)


class IceTransport:
    """What RTCDtlsTransport needs of an ICE transport, over ICE sessions that come and go (RFC 8445 9).

    Sends over one of them and receives from all. It never fails: what cannot be sent is dropped and counted, because
    an error would end the RTP senders and the DTLS association, which a restart has to find alive.
    """

    def __init__(self, generation: Generation, changed: Callable[[], None]) -> None:
        self._received: asyncio.Queue[bytes] = asyncio.Queue(_RECEIVE_LIMIT)
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
        generation.deliver_to(self._deliver)

    # -- for RTCDtlsTransport ----------------------------------------------------------------------------------------

    @property
    def role(self) -> str:
        return "controlling" if self.current.controlling else "controlled"

    async def _recv(self) -> bytes:
        return await self._received.get()

    async def _send(self, data: bytes) -> None:
        if self.alive:
            try:
                await self.current.send(data)
                return
            except (ConnectionError, OSError):
                pass
        self.dropped += 1

    def _deliver(self, data: bytes) -> None:
        # An empty datagram, which anybody can send, would end aiortc's DTLS reader with an IndexError.
        if data and not self._received.full():
            self.last_received = self._loop.time()
            self._received.put_nowait(data)

    # -- sessions ----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether there is a path to the peer."""
        return self.current.alive

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
