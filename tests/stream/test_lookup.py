"""The DNS driver against a name server on loopback, on every runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sipproto.message import parse_sip_uri
from sipproto.tokens import SeededTokens
from sipproto_client.port import Runtime
from sipproto_stream import Found, Locator, LookupFailed, Naptr, NotFound, Question, QuestionKind, Srv
from sipproto_stream.lookup import DnsLookup
from tests.client.rig import RUNTIMES, play

runtimes = pytest.mark.parametrize("name", RUNTIMES)
ZONE = {
    ("example.com.", "NAPTR"): [
        '90 50 "s" "SIP+D2T" "" _sip._tcp.example.com.',
        '50 50 "s" "SIPS+D2T" "" _sips._tcp.example.com.',
    ],
    ("_sips._tcp.example.com.", "SRV"): ["0 1 5061 server1.example.com.", "1 0 5061 alias.example.com."],
    ("server1.example.com.", "A"): ["127.0.0.1", "127.0.0.2"],
    ("server1.example.com.", "AAAA"): ["::1"],
    ("alias.example.com.", "CNAME"): ["server2.example.com."],
    ("server2.example.com.", "A"): ["127.0.0.3"],
    ("_many._tcp.example.com.", "SRV"): [f"{n} 0 5060 h{n}.example.com." for n in range(9, -1, -1)],
}


def respond(query: dns.message.Message, records: dict[tuple[str, str], list[str]]) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    question = query.question[0]
    name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
    if (name, "CNAME") in records:
        target = records[name, "CNAME"]
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *target))
        name = target[0]
    if (name, kind) in records:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *records[name, kind]))
    elif not any(known == name for known, _ in records):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response


@asynccontextmanager
async def name_server(
    runtime: Runtime, answer: Callable[[dns.message.Message], bytes | None]
) -> AsyncIterator[DnsLookup]:
    socket = await runtime.datagrams(local=("127.0.0.1", 0))

    async def serve() -> None:
        while True:
            data, sender = await socket.receive()
            reply = answer(dns.message.from_wire(data))
            if reply is not None:
                await socket.send(reply, sender)

    async with runtime.task_group() as tasks:
        tasks.start_soon(serve)
        yield DnsLookup(["127.0.0.1"], port=socket.local[1], timeout=0.5)
        tasks.cancel()
    await socket.aclose()


@runtimes
def test_a_domain_is_located(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with name_server(runtime, lambda query: respond(query, ZONE).to_wire()) as lookup:
            locator = Locator(parse_sip_uri("sip:Example.com"), tokens=SeededTokens(1))
            while locator.questions:
                for question in locator.questions:
                    answer = await lookup.ask(question)
                    assert answer is not None
                    locator.answer(question, answer)
            tried = [str(target) for target in locator.targets]
            assert (tried[0], tried[3]) == ("[::1]:5061 (TLS)", "127.0.0.3:5061 (TLS)")
            assert sorted(tried[1:3]) == ["127.0.0.1:5061 (TLS)", "127.0.0.2:5061 (TLS)"]  # in the server's order
            found = await lookup.ask(Question(QuestionKind.NAPTR, "example.com"))
            assert isinstance(found, Found)
            assert found.records[0] == Naptr(
                order=50, preference=50, flags="s", service="SIPS+D2T", replacement="_sips._tcp.example.com."
            )
            found = await lookup.ask(Question(QuestionKind.SRV, "_many._tcp.example.com"))
            assert isinstance(found, Found)
            first = found.records[0]
            assert isinstance(first, Srv) and first.priority == 0
            assert await lookup.ask(Question(QuestionKind.SRV, "nothing.example.com")) == NotFound()
            assert await lookup.ask(Question(QuestionKind.SRV, "server1.example.com")) == NotFound()
            assert await lookup.ask(Question(QuestionKind.HOST, "nobody.example.com")) == NotFound()

    play(name, scenario)


@runtimes
def test_name_servers_that_fail(name: str) -> None:
    def refuse(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.SERVFAIL)
        return response.to_wire()

    answers: list[Callable[[dns.message.Message], bytes | None]] = [lambda _: None, lambda _: b"garbage", refuse]

    async def scenario(runtime: Runtime) -> None:
        for answer in answers:
            start = runtime.now()
            async with name_server(runtime, answer) as lookup:
                for kind in QuestionKind:
                    failed = await lookup.ask(Question(kind, "example.com"))
                    assert isinstance(failed, LookupFailed) and failed.reason.isprintable(), failed
            assert runtime.now() - start < 4.0
        lookup = DnsLookup(["127.0.0.1"], port=1, timeout=0.3)
        for name in ("a..b", "x" * 64, "example.com"):
            failed = await lookup.ask(Question(QuestionKind.SRV, name))
            assert isinstance(failed, LookupFailed), failed
        # hosts are the system's to find, with its hosts file, unless name servers are given
        assert await DnsLookup().ask(Question(QuestionKind.HOST, "localhost")) is None

    play(name, scenario)
