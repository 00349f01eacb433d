"""Answers the questions of a Locator with dnspython, which runs on asyncio and trio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from sipproto_stream._locator import Answer, Found, LookupFailed, Naptr, NotFound, Question, QuestionKind, Srv

_MAX_RECORDS = 64


class DnsLookup:
    """Asks the name servers of the system, or those given.

    nameservers: addresses to ask instead of those of the system; then hosts are asked there, too, else they are left to
    the system, which knows its hosts file. port: theirs. timeout: seconds for one question, all attempts together.
    """

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53, timeout: float = 3.0) -> None:
        self._nameservers = tuple(nameservers)
        self._port = port
        self._timeout = timeout
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def ask(self, question: Question) -> Answer | None:
        """The answer; None for a host that the system should be asked for."""
        if question.kind is QuestionKind.HOST and not self._nameservers:
            return None
        try:
            name = dns.name.from_text(question.name).canonicalize()  # absolute: no search list
            if question.kind is QuestionKind.HOST:
                return await self._host(name)
            return await self._records(name, question.kind.value)
        except dns.exception.Timeout:
            return LookupFailed(f"no answer within {self._timeout:g} s")
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return LookupFailed(str(error).partition("\n")[0][:200] or type(error).__name__)

    async def _host(self, name: dns.name.Name) -> Answer:
        answers = [await self._records(name, kind) for kind in ("AAAA", "A")]
        found = tuple(r for a in answers if isinstance(a, Found) for r in a.records if isinstance(r, str))
        if found:
            return Found(found[:_MAX_RECORDS])
        return next((a for a in answers if isinstance(a, LookupFailed)), NotFound())

    async def _records(self, name: dns.name.Name, kind: str) -> Answer:
        if self._resolver is None:
            self._resolver = self._made()
        try:
            # Else dnspython would stay for ever with the event loop that it has seen first.
            backend = dns.asyncbackend.get_backend(dns.asyncbackend.sniff())
            answer = await self._resolver.resolve(name, kind, lifetime=self._timeout, search=False, backend=backend)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return NotFound()
        # Those that count most must survive the cut: a DNS answer has no order.
        records = sorted(answer, key=_rank)[:_MAX_RECORDS]
        return Found(tuple(_READERS[kind](record) for record in records)) if records else NotFound()

    def _made(self) -> dns.asyncresolver.Resolver:
        if not self._nameservers:
            return dns.asyncresolver.Resolver()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = list(self._nameservers)
        resolver.port = self._port
        return resolver


def _rank(record: Any) -> tuple[int, int]:
    """Sorts SRV by priority, NAPTR by order and preference; addresses stay as they are."""
    return (getattr(record, "priority", getattr(record, "order", 0)), getattr(record, "preference", 0))


def _naptr(record: Any) -> Naptr:
    return Naptr(
        order=record.order,
        preference=record.preference,
        flags=record.flags.decode("latin-1"),
        service=record.service.decode("latin-1"),
        replacement=record.replacement.to_text(),
    )


def _srv(record: Any) -> Srv:
    return Srv(priority=record.priority, weight=record.weight, port=record.port, target=record.target.to_text())


def _address(record: Any) -> str:
    return str(record.address)


_READERS: dict[str, Any] = {"NAPTR": _naptr, "SRV": _srv, "A": _address, "AAAA": _address}
