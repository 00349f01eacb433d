"""Server location (RFC 3263): a table of zones and what has to come out, and properties over random zones."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipproto.errors import LocalProtocolError
from sipproto.message import parse_sip_uri
from sipproto.tokens import SeededTokens
from sipproto_stream import (
    Answer,
    AvoidList,
    Found,
    HostMapping,
    Locator,
    LookupFailed,
    Naptr,
    NotFound,
    Question,
    QuestionKind,
    Srv,
    Target,
    find_mapping,
    order_srv,
    parse_host_mapping,
)

Zone = dict[tuple[str, str], Answer]


def naptr(order: int, preference: int, service: str, replacement: str, flags: str = "s") -> Naptr:
    return Naptr(order=order, preference=preference, flags=flags, service=service, replacement=replacement)


def srv(priority: int, weight: int, port: int, target: str) -> Srv:
    return Srv(priority=priority, weight=weight, port=port, target=target)


# The example of RFC 3263 4.1 and 4.2, with addresses.
RFC_EXAMPLE: Zone = {
    ("NAPTR", "example.com"): Found(
        (
            naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com."),
            naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
            naptr(100, 50, "SIP+D2U", "_sip._udp.example.com."),
        )
    ),
    ("SRV", "_sip._tcp.example.com"): Found(
        (srv(0, 1, 5060, "server1.example.com."), srv(1, 2, 5060, "server2.example.com."))
    ),
    ("SRV", "_sips._tcp.example.com"): Found((srv(0, 1, 5061, "server1.example.com."),)),
    ("HOST", "server1.example.com"): Found(("192.0.2.1", "192.0.2.11", "2001:db8::1")),
    ("HOST", "server2.example.com"): Found(("192.0.2.2",)),
}
HOST_ONLY: Zone = {("HOST", "example.com"): Found(("192.0.2.9",))}
NO_NAPTR: Zone = {
    ("SRV", "_sip._udp.example.com"): Found((srv(0, 0, 5080, "u.example.com."),)),
    ("SRV", "_sip._tcp.example.com"): Found((srv(0, 0, 5070, "t.example.com."),)),
    ("HOST", "t.example.com"): Found(("192.0.2.3",)),
    ("HOST", "u.example.com"): Found(("192.0.2.4",)),
    **HOST_ONLY,
}
DENIED: Zone = {("SRV", "_sip._tcp.example.com"): Found((srv(0, 0, 0, "."),)), **HOST_ONLY}


def locate(
    uri: str,
    zone: Zone,
    transports: tuple[str, ...] = ("TLS", "TCP", "UDP"),
    insist: str | None = None,
    hosts: tuple[HostMapping, ...] = (),
) -> tuple[Locator, list[Question]]:
    locator = Locator(parse_sip_uri(uri), tokens=SeededTokens(1), transports=transports, insist=insist, hosts=hosts)
    asked: list[Question] = []
    while locator.questions:
        question = locator.questions[-1]  # in another order than they came
        asked.append(question)
        assert len(asked) < 30
        locator.answer(question, zone.get((question.kind.value, question.name), NotFound()))
        locator.answer(question, LookupFailed("late"))  # changes nothing
    return locator, asked


@pytest.mark.parametrize(
    ("uri", "zone", "expected"),
    [
        ("sip:192.0.2.7", {}, "192.0.2.7:5060 (UDP)"),
        ("sips:192.0.2.7", {}, "192.0.2.7:5061 (TLS)"),
        ("sip:[2001:DB8::7]:99;transport=tcp", {}, "[2001:db8::7]:99 (TCP)"),
        ("sip:192.0.2.7;transport=tls", {}, "192.0.2.7:5061 (TLS)"),
        ("sips:192.0.2.7;transport=tcp", {}, "192.0.2.7:5061 (TLS)"),
        ("sip:example.com;maddr=192.0.2.8", {}, "192.0.2.8:5060 (UDP)"),
        ("sip:other.org;maddr=example.com:", HOST_ONLY, None),
        ("sip:other.org:5062;maddr=example.com", HOST_ONLY, "192.0.2.9:5062 (UDP)"),
        ("sip:example.com:5090", HOST_ONLY, "192.0.2.9:5090 (UDP)"),
        ("sips:example.com:5090", HOST_ONLY, "192.0.2.9:5090 (TLS)"),
        ("sip:example.com.", HOST_ONLY, "192.0.2.9:5060 (UDP)"),
        ("sip:example.com", HOST_ONLY, "192.0.2.9:5060 (UDP)"),
        ("sips:example.com", HOST_ONLY, "192.0.2.9:5061 (TLS)"),
        ("sip:example.com;transport=tcp", HOST_ONLY, "192.0.2.9:5060 (TCP)"),
        # the lowest order alone (RFC 3403 4.1), families in turn
        (
            "sip:example.com",
            RFC_EXAMPLE,
            "192.0.2.1:5061 (TLS) [2001:db8::1]:5061 (TLS) 192.0.2.11:5061 (TLS)",
        ),
        ("sips:example.com", RFC_EXAMPLE, "192.0.2.1:5061 (TLS) [2001:db8::1]:5061 (TLS) 192.0.2.11:5061 (TLS)"),
        (
            "sip:example.com;transport=tcp",
            RFC_EXAMPLE,
            "192.0.2.1:5060 (TCP) [2001:db8::1]:5060 (TCP) 192.0.2.11:5060 (TCP) 192.0.2.2:5060 (TCP)",
        ),
        ("sip:example.com", NO_NAPTR, "192.0.2.3:5070 (TCP)"),
        ("sip:example.com;transport=udp", NO_NAPTR, "192.0.2.4:5080 (UDP)"),
        ("sips:example.com", NO_NAPTR, "192.0.2.9:5061 (TLS)"),
        ("sip:example.com;transport=tcp", DENIED, ""),
        ("sip:example.com", DENIED, ""),
        ("sip:example.com", {}, ""),
    ],
)
def test_what_is_tried(uri: str, zone: Zone, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(LocalProtocolError):
            locate(uri.replace("example.com:", "a..b"), zone)
        return
    locator, _ = locate(uri, zone)
    assert " ".join(map(str, locator.targets)) == expected


def test_only_what_is_needed_is_asked() -> None:
    assert locate("sip:192.0.2.7", {})[1] == []
    assert [q.kind for q in locate("sip:example.com:5060", {})[1]] == [QuestionKind.HOST]
    kinds = [q.kind.value for q in locate("sip:example.com", RFC_EXAMPLE)[1]]
    assert kinds == ["NAPTR", "SRV", "HOST"]
    names = {q.name for q in locate("sips:example.com", {})[1]}
    assert names == {"example.com", "_sips._tcp.example.com"}


def test_a_supported_transport_decides_among_those_of_naptr() -> None:
    locator, asked = locate("sip:example.com", RFC_EXAMPLE, ("UDP", "TCP"))
    assert {t.transport for t in locator.targets} == {"TCP"}  # order 90 before 100, whatever we prefer
    assert Question(QuestionKind.SRV, "_sips._tcp.example.com") not in asked
    locator, _ = locate("sip:example.com", NO_NAPTR, ("UDP", "TCP"))
    assert [str(t) for t in locator.targets] == ["192.0.2.4:5080 (UDP)"]


def test_naptr_that_is_of_no_use_is_passed_over() -> None:
    zone: Zone = {
        ("NAPTR", "example.com"): Found(
            (
                naptr(1, 1, "E2U+sip", "_sip._tcp.evil.example."),
                naptr(1, 1, "SIP+D2T", "_sip._tcp.evil.example.", flags="u"),
                naptr(1, 1, "SIP+D2S", "_sip._sctp.example.com."),
                naptr(1, 1, "SIP+D2T", "."),
                naptr(9, 1, "sip+d2t", "_x._tcp.example.net.", flags="S"),
            )
        ),
        ("SRV", "_x._tcp.example.net"): Found((srv(0, 0, 5077, "192.0.2.44."),)),
    }
    assert [str(t) for t in locate("sip:example.com", zone)[0].targets] == ["192.0.2.44:5077 (TCP)"]


def test_a_secure_first_choice_is_not_left_for_an_insecure_one() -> None:
    records = (naptr(1, 2, "SIP+D2T", "_sip._tcp.example.com."), naptr(1, 1, "SIPS+D2T", "_sips._tcp.example.com."))
    zone = {**RFC_EXAMPLE, ("NAPTR", "example.com"): Found(records)}
    assert {t.transport for t in locate("sip:example.com", zone)[0].targets} == {"TLS"}
    records = (naptr(1, 1, "SIP+D2T", "_sip._tcp.example.com."), naptr(1, 2, "SIPS+D2T", "_sips._tcp.example.com."))
    zone = {**RFC_EXAMPLE, ("NAPTR", "example.com"): Found(records)}
    transports = [t.transport for t in locate("sip:example.com", zone)[0].targets]
    assert transports == ["TCP"] * 4 + ["TLS"] * 3


@pytest.mark.parametrize(
    ("uri", "insist", "expected"),
    [
        ("sip:192.0.2.1:99;transport=udp", "TCP", "192.0.2.1:99 (TCP)"),
        ("sip:192.0.2.1", "tcp", "192.0.2.1:5060 (TCP)"),
        ("sips:192.0.2.1", "TCP", "192.0.2.1:5061 (TLS)"),
        ("sip:192.0.2.1;transport=tls", "TCP", "192.0.2.1:5061 (TLS)"),
        ("sip:192.0.2.1;transport=tcp", "TLS", "192.0.2.1:5061 (TLS)"),
        ("sip:example.com", "UDP", "192.0.2.4:5080 (UDP)"),
    ],
)
def test_the_user_insists(uri: str, insist: str, expected: str) -> None:
    assert [str(t) for t in locate(uri, NO_NAPTR, insist=insist)[0].targets] == [expected]


@pytest.mark.parametrize(
    ("uri", "insist", "transports"),
    [
        ("sips:h", "UDP", ("TLS", "TCP", "UDP")),
        ("sip:h;transport=tls", "UDP", ("TLS", "UDP")),
        ("sip:h;transport=sctp", None, ("TLS", "TCP", "UDP")),
        ("sip:h;transport=ws", None, ("TLS", "TCP", "UDP")),
        ("sip:h;transport", None, ("UDP",)),
        ("sips:h;transport=udp", None, ("TLS", "UDP")),
        ("sips:h", None, ("TCP", "UDP")),
        ("sip:h", "TCP", ("UDP",)),
        ("sip:h;maddr=a..b", None, ("UDP",)),
    ],
)
def test_transports_that_cannot_be_used(uri: str, insist: str | None, transports: tuple[str, ...]) -> None:
    if uri == "sip:h;transport":  # without a value it says nothing
        assert locate(uri, {}, transports, insist)[0].targets == ()
        return
    with pytest.raises(LocalProtocolError) as refused:
        Locator(parse_sip_uri(uri), tokens=SeededTokens(1), transports=transports, insist=insist)
    assert str(refused.value).isprintable()


def test_problems_are_named() -> None:
    assert locate("sip:example.com", {})[0].problem == "the host name 'example.com' is unknown"
    assert locate("sip:example.com", DENIED)[0].problem == "example.com says that it offers no such service"
    dead: Zone = {("HOST", "example.com"): LookupFailed("no answer within 3 s")}
    assert locate("sip:example.com", dead)[0].problem == "the look-up of example.com failed: no answer within 3 s"
    # service records that cannot be had are no reason to give up
    mute = {**HOST_ONLY, ("NAPTR", "example.com"): LookupFailed("refused")}
    assert [str(t) for t in locate("sip:example.com", mute)[0].targets] == ["192.0.2.9:5060 (UDP)"]


def test_mapped_hosts_are_not_asked_for() -> None:
    hosts = (parse_host_mapping("example.com=192.0.2.66"), parse_host_mapping("SERVER1.example.com=[2001:db8::5]:5999"))
    locator, asked = locate("sip:Example.COM;transport=tls", RFC_EXAMPLE, hosts=hosts)
    assert [str(t) for t in locator.targets] == ["192.0.2.66:5061 (TLS)"] and asked == []
    locator, _ = locate("sip:example.com", RFC_EXAMPLE, hosts=hosts[1:])
    assert [str(t) for t in locator.targets] == ["[2001:db8::5]:5999 (TLS)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test=192.0.2.1", HostMapping(name="a.test", address="192.0.2.1")),
        (" A.Test = 192.0.2.1:5061 ", HostMapping(name="a.test", address="192.0.2.1", port=5061)),
        ("a=[::1]", HostMapping(name="a", address="::1")),
        ("a=[::1]:5", HostMapping(name="a", address="::1", port=5)),
    ],
)
def test_host_mappings(text: str, expected: HostMapping) -> None:
    assert parse_host_mapping(text) == expected
    assert find_mapping([HostMapping(name="a", address="::2"), expected], expected.name.upper() + ".") == expected
    assert find_mapping([expected], "b") is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a=", "=192.0.2.1", "a=b", "a=b.test:1", "a=::1", "a=[192.0.2.1]", "a=[::1", "a=[::1]x", "a=1.2.3"),
        *("a=192.0.2.1:", "a=192.0.2.1:0", "a=192.0.2.1:65536", "a=192.0.2.1:x", "a b=192.0.2.1", "a..b=192.0.2.1"),
        *("a=192.0.2.1\n", "a/b=192.0.2.1", "\x1b=192.0.2.1", "a=[]", "a=[::1]:123456"),
    ],
)
def test_bad_host_mappings(text: str) -> None:
    if text == "a=192.0.2.1\n":  # a line may end
        assert parse_host_mapping(text).address == "192.0.2.1"
        return
    with pytest.raises(LocalProtocolError) as refused:
        parse_host_mapping(text)
    assert str(refused.value).isprintable()


def test_weights_are_chances() -> None:
    records = (srv(1, 60, 1, "a."), srv(1, 20, 2, "b."), srv(1, 20, 3, "c."), srv(2, 1, 4, "d."), srv(0, 0, 5, "e."))
    tokens = SeededTokens(7)
    second: Counter[int] = Counter()
    for _ in range(5000):
        ports = [record.port for record in order_srv(records, tokens)]
        assert ports[0] == 5 and ports[4] == 4 and sorted(ports) == [1, 2, 3, 4, 5]
        second[ports[1]] += 1
    assert 2850 < second[1] < 3150 and 900 < second[2] < 1100 and 900 < second[3] < 1100
    zero = Counter(order_srv((srv(1, 0, 1, "a."), srv(1, 99, 2, "b.")), tokens)[0].port for _ in range(5000))
    assert 10 < zero[1] < 120  # one in a hundred: very small, but not none


_hosts = st.sampled_from(["a.test.", "b.test.", "c.test.", "192.0.2.1.", ".", "x y.", "."])
_srvs = st.builds(
    Srv,
    priority=st.integers(0, 3),
    weight=st.integers(0, 65535),
    port=st.integers(0, 65535),
    target=_hosts,
)
_naptrs = st.builds(
    Naptr,
    order=st.integers(0, 3),
    preference=st.integers(0, 3),
    flags=st.sampled_from(["s", "S", "u", ""]),
    service=st.sampled_from(["SIP+D2U", "SIP+D2T", "SIPS+D2T", "X"]),
    replacement=_hosts,
)
_addresses = st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "::1", "::2", "::3", "no address"]), max_size=9)


def _found(
    items: st.SearchStrategy[list[Srv]] | st.SearchStrategy[list[Naptr]] | st.SearchStrategy[list[str]],
) -> object:
    return items.map(lambda found: Found(tuple(found)) if found else NotFound())


@given(st.data(), st.sampled_from(["sip:d.test", "sips:d.test", "sip:d.test;transport=tcp", "sip:d.test:9"]))
def test_any_zone_ends_with_a_bounded_list(data: st.DataObject, uri: str) -> None:
    locator = Locator(parse_sip_uri(uri), tokens=SeededTokens(1))
    strategies = {
        QuestionKind.NAPTR: _found(st.lists(_naptrs, max_size=9)),
        QuestionKind.SRV: _found(st.lists(_srvs, max_size=20)),
        QuestionKind.HOST: _found(_addresses),
    }
    asked = 0
    while locator.questions:
        question = data.draw(st.sampled_from(locator.questions))
        asked += 1
        assert asked <= 1 + 4 + 8
        failure: st.SearchStrategy[Answer] = st.just(LookupFailed("x"))
        locator.answer(question, data.draw(strategies[question.kind] | failure))  # type: ignore[operator]
    assert len(locator.targets) <= 8 * 4 and len(set(locator.targets)) == len(locator.targets)
    assert locator.problem.isprintable()
    for target in locator.targets:
        assert target.address != "no address" and 0 < target.port < 65536
        assert target.transport == "TLS" if uri.startswith("sips") else target.transport in ("UDP", "TCP", "TLS")


def test_the_avoid_list() -> None:
    one, two, three = (Target(transport="TCP", address=f"192.0.2.{n}", port=1) for n in (1, 2, 3))
    avoid = AvoidList(10.0)
    avoid.add(one, 100.0)
    assert avoid.order((one, two, three), 109.9) == (two, three, one)
    avoid.add(two, 105.0)
    assert avoid.order((one, two, three), 109.9) == (three, one, two)
    assert avoid.order((one, two, three), 110.0) == (one, three, two)
    avoid.forgive(two)
    assert avoid.order((one, two, three), 110.0) == (one, two, three)
    for port in range(1, 1000):
        avoid.add(Target(transport="UDP", address="192.0.2.1", port=port), 200.0)
    assert len(avoid) == 256
