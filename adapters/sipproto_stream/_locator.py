"""Server location (RFC 3263) as a machine: it says what to ask the DNS, takes the answers, and has a list of targets."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from itertools import accumulate, zip_longest

from attrs import frozen

from sipproto.errors import LocalProtocolError, excerpt
from sipproto.message import SipUri
from sipproto.tokens import TokenSource, uniform
from sipproto_stream._hosts import HostMapping, find_mapping, host_is_usable, numeric_host

# What an answer can make us ask and try. More is cut off: the best come first.
_MAX_SERVICES = 4
_MAX_SERVERS = 8
_MAX_ADDRESSES = 4  # of one server

_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
_SERVICES = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}  # RFC 3263 4.1
_LABELS = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp"}


class QuestionKind(enum.Enum):
    """HOST asks for the addresses of a host: A and AAAA, or what the system says."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    HOST = "HOST"


@frozen
class Question:
    """What the DNS is asked. `name` is without a final dot."""

    kind: QuestionKind
    name: str


@frozen(kw_only=True)
class Naptr:
    """A NAPTR record (RFC 3403 4.1)."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@frozen(kw_only=True)
class Srv:
    """A SRV record (RFC 2782). A `target` of "." says that there is decidedly no such service."""

    priority: int
    weight: int
    port: int
    target: str


@frozen
class Found:
    """Records, or addresses for a HOST question: at least one."""

    records: tuple[Naptr, ...] | tuple[Srv, ...] | tuple[str, ...]


@frozen
class NotFound:
    """There is no such name, or it has no such records."""


@frozen
class LookupFailed:
    """No answer: a time-out, a broken server. `reason` is fit for a user."""

    reason: str


Answer = Found | NotFound | LookupFailed


@frozen(kw_only=True)
class Target:
    """Where to connect: transport (as in Via), numeric address, port."""

    transport: str
    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port} ({self.transport})"


@frozen
class _Server:
    """A target whose host may still be a name."""

    transport: str
    host: str
    port: int


class Locator:
    """Finds the targets of one SIP URI, in the order in which to try them.

    Ask `questions`, all at once or one after the other, and give each `answer`. That may bring new questions; when there
    are none left, `targets` is complete, and if it is empty `problem` says why.

    transports: what can be used, the preferred first. They are used where neither the URI nor NAPTR decides, and never as
    a fall-back for one another: who can suppress answers of the DNS must not choose the transport.
    insist: take this transport although the URI says another one. TLS is never left for less: TCP then means TLS.
    hosts: names whose addresses are not asked for.

    Raises LocalProtocolError for a transport that cannot be used.
    """

    def __init__(
        self,
        uri: SipUri,
        *,
        tokens: TokenSource,
        transports: Sequence[str] = ("TLS", "TCP", "UDP"),
        insist: str | None = None,
        hosts: Iterable[HostMapping] = (),
    ) -> None:
        self._tokens = tokens
        self._hosts = tuple(hosts)
        self._transports = [t for t in transports if t == "TLS" or uri.scheme != "sips"]
        if not self._transports:
            raise LocalProtocolError("a sips address needs TLS, which is not available")
        self._name = uri.params.get("maddr") or uri.host
        if not host_is_usable(self._name):
            raise LocalProtocolError(f"{excerpt(self._name)} cannot be a host name")
        self._transport = self._wanted(uri, insist)
        # RFC 3263 4.1: what is not said is UDP, for sips TLS.
        self._default = self._transport or ("UDP" if "UDP" in self._transports else self._transports[0])
        self._open: dict[Question, None] = {}
        self._services: list[tuple[str, str]] = []  # transport and name of its SRV records, the best first
        self._records: dict[str, tuple[Srv, ...]] = {}
        self._is_guess = False  # the services are all that may exist, not those that NAPTR or the URI name
        self._servers: list[_Server] = []
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._reasons: list[str] = []
        self._targets: tuple[Target, ...] = ()
        self._denied = False
        self._start(uri.port)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What has to be asked now; empty when the work is done."""
        return tuple(self._open)

    @property
    def targets(self) -> tuple[Target, ...]:
        return self._targets

    @property
    def problem(self) -> str:
        """Why there are no targets, in one line fit for a user."""
        if self._denied:
            return f"{self._name} says that it offers no such service"
        if self._reasons:
            return f"the look-up of {self._name} failed: {self._reasons[0]}"
        return f"the host name {self._name!r} is unknown"

    def answer(self, question: Question, answer: Answer) -> None:
        """Takes the answer to one of `questions`; one that was not asked, or was answered already, does nothing."""
        if question not in self._open:
            return
        del self._open[question]
        records = answer.records if isinstance(answer, Found) else ()
        if isinstance(answer, LookupFailed):
            self._reasons.append(answer.reason)
        match question.kind:
            case QuestionKind.NAPTR:
                self._take_naptr([r for r in records if isinstance(r, Naptr)])
            case QuestionKind.SRV:
                self._records[question.name] = tuple(r for r in records if isinstance(r, Srv))
                if not self._open:
                    self._choose_services()
            case QuestionKind.HOST:
                found = (r for r in records if isinstance(r, str) and numeric_host(r))
                self._addresses[question.name] = tuple(dict.fromkeys(found))
                if not self._open:
                    self._finish()

    # -- the steps of RFC 3263 4.1 and 4.2 -----------------------------------------------------------------------------

    def _wanted(self, uri: SipUri, insist: str | None) -> str | None:
        """The transport that the URI or the user asks for; None when the DNS may say it."""
        asked = None if uri.transport is None else uri.transport.upper()
        secure = uri.scheme == "sips" or asked == "TLS"
        wanted = asked if insist is None else insist.upper()
        if wanted is None:
            return None
        if secure and wanted == "TCP":
            wanted = "TLS"  # RFC 3261 26.2.2: "sips:...;transport=tcp" is TLS over TCP
        if (secure and wanted != "TLS") or wanted not in self._transports:
            raise LocalProtocolError(f"{wanted} cannot be used for a {uri.scheme} address here")
        return wanted

    def _start(self, port: int | None) -> None:
        mapping = find_mapping(self._hosts, self._name)
        if mapping is not None or numeric_host(self._name) is not None or port is not None:
            self._look_up([_Server(self._default, self._name, port or _PORTS[self._default])])
        elif self._transport is not None:
            self._ask_services([(self._transport, self._service_name(self._transport))])
        else:
            self._ask(Question(QuestionKind.NAPTR, self._plain_name))

    @property
    def _plain_name(self) -> str:
        return self._name.rstrip(".")

    def _service_name(self, transport: str) -> str:
        return f"{_LABELS[transport]}.{self._plain_name}"

    def _ask(self, question: Question) -> None:
        self._open[question] = None

    def _take_naptr(self, records: list[Naptr]) -> None:
        """RFC 3263 4.1; of RFC 3403 4.1 that a higher order does not count once a lower one has something for us."""
        known = [
            (record, transport)
            for record in sorted(records, key=lambda r: (r.order, r.preference))
            if record.flags.lower() == "s"
            and (transport := _SERVICES.get(record.service.upper())) in self._transports
            and transport is not None
            and record.replacement.rstrip(".")
        ]
        if not known:
            self._is_guess = True
            self._ask_services([(transport, self._service_name(transport)) for transport in self._transports])
            return
        first, best = known[0]
        # Where TLS comes first, a server that does not prove who it is must not be left for one that need not.
        self._ask_services(
            [
                (transport, record.replacement.rstrip("."))
                for record, transport in known
                if record.order == first.order and (transport == "TLS" or best != "TLS")
            ]
        )

    def _ask_services(self, services: list[tuple[str, str]]) -> None:
        self._services = services[:_MAX_SERVICES]
        for _, name in self._services:
            self._ask(Question(QuestionKind.SRV, name))

    def _choose_services(self) -> None:
        denied = False
        for transport, name in self._services:
            records = self._records.get(name, ())
            if len(records) == 1 and records[0].target in (".", ""):  # RFC 2782: decidedly not available
                denied = True
                continue
            for record in order_srv(records, self._tokens):
                host = record.target.rstrip(".")
                if host and host_is_usable(host) and 0 < record.port < 65536:
                    self._servers.append(_Server(transport, host, record.port))
            if self._servers and self._is_guess:
                break
        if self._servers:
            self._look_up(self._servers[:_MAX_SERVERS])
        elif denied:
            self._denied = True
        else:  # no SRV records: the host itself (RFC 3263 4.2)
            transport = self._default if self._is_guess else self._services[0][0]
            self._look_up([_Server(transport, self._name, _PORTS[transport])])

    def _look_up(self, servers: list[_Server]) -> None:
        self._servers = servers
        for server in servers:
            known = numeric_host(server.host) is not None or find_mapping(self._hosts, server.host) is not None
            if not known:
                self._ask(Question(QuestionKind.HOST, server.host.rstrip(".")))
        if not self._open:
            self._finish()

    def _finish(self) -> None:
        targets: list[Target] = []
        for server in self._servers:
            port = server.port
            if (mapping := find_mapping(self._hosts, server.host)) is not None:
                addresses: tuple[str, ...] = (mapping.address,)
                port = mapping.port or port
            elif (numeric := numeric_host(server.host)) is not None:
                addresses = (numeric,)
            else:
                addresses = _interleaved(self._addresses.get(server.host.rstrip("."), ()))[:_MAX_ADDRESSES]
            targets += [Target(transport=server.transport, address=a, port=port) for a in addresses]
        self._targets = tuple(dict.fromkeys(targets))


def _interleaved(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """IPv6 and IPv4 in turn, beginning with the family that came first (RFC 8305 4)."""
    first = [a for a in addresses if (":" in a) == (":" in addresses[0])]
    second = [a for a in addresses if a not in first]
    return tuple(a for pair in zip_longest(first, second) for a in pair if a is not None)


def order_srv(records: Iterable[Srv], tokens: TokenSource) -> tuple[Srv, ...]:
    """By priority; within one, at random in proportion to the weights (RFC 2782)."""
    out: list[Srv] = []
    # Those of weight 0 come first in the running sum, so that they have a very small chance.
    pool = sorted(records, key=lambda r: (r.priority, r.weight > 0))
    while pool:
        group = [r for r in pool if r.priority == pool[0].priority]
        sums = list(accumulate(r.weight for r in group))
        mark = int(uniform(tokens) * (sums[-1] + 1))
        chosen = group[next(n for n, total in enumerate(sums) if total >= mark)]
        out.append(chosen)
        pool.remove(chosen)
    return tuple(out)
