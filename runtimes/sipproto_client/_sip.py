"""UDP, TCP and TLS servers: found as RFC 3263 has it, tried in order."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Protocol

from sipproto._entropy import SystemTokens
from sipproto.agent.outputs import ConnectFailure
from sipproto.errors import LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.message import SipUri, parse_sip_uri
from sipproto.tokens import TokenSource
from sipproto_client._address import describe_error, failure_of
from sipproto_client._channels import DatagramChannel, StreamChannel
from sipproto_client._tasks import plain_task_group
from sipproto_client._tls import TlsSettings, connect_with_tls
from sipproto_client.port import Runtime
from sipproto_client.transport import Channel, ConnectError, Opening
from sipproto_stream import (
    Answer,
    AvoidList,
    Found,
    Locator,
    LookupFailed,
    NotFound,
    Question,
    QuestionKind,
    Target,
    host_is_usable,
    numeric_host,
)

_DIRECT = {"udp": ("udp", 5060), "tcp": ("tcp", 5060), "tls": ("tls", 5061)}


def parse_sip_server(text: str) -> SipUri:
    """A server address as a SIP URI: `sip:` and `sips:` as they are, `tcp://host[:port]` with its port, so that no
    service records are asked for. Raises LocalProtocolError for what is neither.
    """
    scheme, _, rest = text.partition(":")
    direct = _DIRECT.get(scheme.lower())
    try:
        if direct is None:
            uri = parse_sip_uri(text)
        else:
            if not rest.startswith("//") or set(rest) & set(";?@"):
                raise LocalProtocolError(_refusal(text))
            uri = parse_sip_uri(f"sip:{rest[2:].rstrip('/')};transport={direct[0]}")
            uri = SipUri(host=uri.host, port=direct[1] if uri.port is None else uri.port, params=uri.params)
    except MessageSyntaxError:
        raise LocalProtocolError(_refusal(text)) from None
    if uri.port == 0 or uri.password is not None:
        raise LocalProtocolError(_refusal(text))
    if not host_is_usable(uri.host):
        raise LocalProtocolError(f"{excerpt(text)} has characters that cannot stand in a server address")
    return uri


def _refusal(text: str) -> str:
    shown = excerpt(text.rpartition("@")[2])  # a password may stand before it
    return f"{shown} is no server address; it looks like sip:example.com;transport=tcp or tls://sip.example.com:5061"


class Resolver(Protocol):
    """Who answers the questions of server location. `sipproto_stream.lookup.DnsLookup` is one."""

    async def ask(self, question: Question) -> Answer | None:
        """The answer; None for a host that the system should be asked for."""
        ...


class SipTransport:
    """`sip:` and `sips:` servers (RFC 3263), and `udp://`, `tcp://`, `tls://` for those who name host and port.

    transports: what is used, the preferred first, where neither the address nor the DNS decides. resolver: by default
    the name servers of the system, by dnspython; without that only hosts are looked up. attempt: seconds for one
    attempt to connect. lookup: seconds for one question. avoid: seconds for which a server that failed is tried last.
    """

    schemes = ("sip", "sips", "udp", "tcp", "tls")

    def __init__(
        self,
        *,
        transports: Sequence[str] = ("TLS", "TCP", "UDP"),
        resolver: Resolver | None = None,
        tokens: TokenSource | None = None,
        attempt: float = 4.0,
        lookup: float = 4.0,
        avoid: float = 60.0,
    ) -> None:
        self._transports = tuple(transports)
        self._resolver = resolver
        self._tokens = tokens or SystemTokens()
        self._attempt = attempt
        self._lookup = lookup
        self._avoided = AvoidList(avoid)

    def host_of(self, address: str) -> str:
        host = parse_sip_server(address).host
        return numeric_host(host) or host

    async def open(self, address: str, opening: Opening) -> Channel:
        uri = parse_sip_server(address)
        locator = Locator(
            uri,
            tokens=self._tokens,
            transports=self._transports,
            insist=opening.transport,
            hosts=opening.settings.hosts,
        )
        while locator.questions:
            async with plain_task_group(opening.runtime) as tasks:
                for question in locator.questions:
                    tasks.start_soon(self._answer, opening.runtime, locator, question)
        if not locator.targets:
            raise ConnectError(locator.problem, ConnectFailure.UNKNOWN_HOST)
        failures: list[ConnectError] = []
        for target in self._avoided.order(locator.targets, opening.runtime.now()):
            channel = await self._try(target, self.host_of(address).rstrip("."), opening, failures)
            if channel is not None:
                return channel
        first = failures[0]  # what the best of the servers met is what counts
        text = "; ".join(map(str, failures))
        if len(failures) > 1:
            text = f"no server of {uri.host} can be reached: {text}"
        raise ConnectError(text, first.failure, first.certificate)

    async def _try(self, target: Target, name: str, opening: Opening, failures: list[ConnectError]) -> Channel | None:
        """A channel to this target, or None and one more failure. RFC 5922 4: the certificate is for `name`."""
        runtime, channel = opening.runtime, None
        failure = ConnectError(f"no answer from {target} within {self._attempt:g} s", ConnectFailure.TIMEOUT)
        with runtime.move_on_after(self._attempt):
            try:
                channel = await self._connect(target, name, runtime, opening.settings.tls)
            except ConnectError as error:
                failure = error
            except OSError as error:
                text = describe_error(error, target.address, target.port, name)
                failure = ConnectError(text, failure_of(error))
        if channel is None:
            failures.append(failure)
            self._avoided.add(target, runtime.now())
        elif target.transport != "UDP":
            self._avoided.forgive(target)
        return channel

    async def _connect(self, target: Target, name: str, runtime: Runtime, tls: TlsSettings) -> Channel:
        address = (target.address, target.port)
        if target.transport == "UDP":
            datagrams = await runtime.datagrams(remote=address)
            return DatagramChannel(datagrams, address, lambda: self._avoided.add(target, runtime.now()))
        if target.transport == "TLS":
            return StreamChannel(await connect_with_tls(runtime, tls, *address, name), target.transport)
        return StreamChannel(await runtime.connect(*address, None, name), target.transport)

    # -- questions ---------------------------------------------------------------------------------------------------

    async def _answer(self, runtime: Runtime, locator: Locator, question: Question) -> None:
        answer: Answer = LookupFailed(f"no answer within {self._lookup:g} s")
        with runtime.move_on_after(self._lookup):
            answer = await self._ask(runtime, question)
        locator.answer(question, answer)

    async def _ask(self, runtime: Runtime, question: Question) -> Answer:
        if self._resolver is None:
            self._resolver = _default_resolver()
        answer = await self._resolver.ask(question)
        return await _ask_system(runtime, question.name) if answer is None else answer


class _NoDns:
    """Without dnspython there are no service records."""

    async def ask(self, question: Question) -> Answer | None:
        return None if question.kind is QuestionKind.HOST else LookupFailed("dnspython is not installed")


def _default_resolver() -> Resolver:
    try:
        from sipproto_stream.lookup import DnsLookup
    except ModuleNotFoundError:
        return _NoDns()
    return DnsLookup()


async def _ask_system(runtime: Runtime, host: str) -> Answer:
    try:
        found = await runtime.resolve(host)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return LookupFailed(error.strerror or "the name server does not answer")
        return NotFound()
    except OSError as error:
        return LookupFailed(error.strerror or errno.errorcode.get(error.errno or 0, "failed"))
    return Found(tuple(found)) if found else NotFound()
