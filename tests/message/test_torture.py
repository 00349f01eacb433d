"""The torture tests: RFC 4475 (SIP) and RFC 5118 (IPv6), as datagrams and as streams."""

from __future__ import annotations

import json

import pytest

from sipproto.errors import Fault, FramingError, MessageSyntaxError
from sipproto.message import (
    KeepAlive,
    Message,
    NameAddr,
    OpaqueUri,
    Request,
    Response,
    SipUri,
    StreamParser,
    fields,
    parse_message,
    unescape,
    validate,
)
from sipproto.sdp import parse_sdp

from .torture import DEVIATIONS, EXPECTED, RFC4475, RFC5118, VECTORS, octets

every = pytest.mark.parametrize("name", EXPECTED)


def request(name: str) -> Request:
    message = parse_message(octets(name))
    assert isinstance(message, Request)
    return message


def need(value: NameAddr | None) -> NameAddr:
    assert value is not None
    return value


def sip(value: NameAddr | None) -> SipUri:
    uri = need(value).uri
    assert isinstance(uri, SipUri)
    return uri


def contacts(message: Message) -> list[NameAddr]:
    return [c for c in message.headers.all(fields.CONTACT) if isinstance(c, NameAddr)]


def vias(message: Message) -> list[tuple[str, str, int | None, str | None]]:
    return [(v.transport, v.host, v.port, v.branch) for v in message.headers.all(fields.VIA)]


def test_every_message_of_the_rfcs_has_a_row() -> None:
    for folder, rows in (("rfc4475", RFC4475), ("rfc5118", RFC5118)):
        index = json.loads((VECTORS / folder / "index.json").read_text())["messages"]
        assert set(rows) == {m["name"] for m in index if m["classification"] != "unreferenced"}
    assert (len(RFC4475), len(RFC5118)) == (49, 12)
    assert DEVIATIONS == ()


@every
def test_who_objects_and_how(name: str) -> None:
    expected = EXPECTED[name]
    if expected.stage == "parse":
        with pytest.raises(MessageSyntaxError) as caught:
            parse_message(octets(name))
        error: MessageSyntaxError | None = caught.value
    else:
        error = validate(parse_message(octets(name)))
        assert (error is None) == (expected.stage == "accept")
    if error is not None:
        assert (error.fault, error.status_hint) == (expected.fault, expected.status)


@every
def test_what_was_parsed_is_written_as_it_came(name: str) -> None:
    if EXPECTED[name].stage == "parse":
        return
    data = octets(name)
    written = parse_message(data).to_bytes()
    if name == "trws":
        data = data.replace(b"SIP/2.0  \r\n", b"SIP/2.0\r\n")
    assert data.startswith(written)
    assert len(data) - len(written) == {"dblreq": 450, "mcl01": 54}.get(name, 0)


@pytest.mark.parametrize("step", [1, 7, 100_000])
@every
def test_streams(name: str, step: int) -> None:
    expected, data, parser = EXPECTED[name], octets(name), StreamParser()
    items: list[object] = []
    fault = None
    try:
        for start in range(0, len(data), step):
            items += parser.feed(data[start : start + step])
    except FramingError as error:
        items += error.before
        fault = error.fault
    assert fault == (expected.stream if isinstance(expected.stream, Fault) else None)
    if name == "dblreq":
        assert items[0] == parse_message(data)
        assert items[1] is KeepAlive.PONG
        second = items[2]
        assert isinstance(second, Request)
        assert (second.method, len(second.body), len(items)) == ("INVITE", 150, 3)
    elif expected.stream == "same":
        rest = len(data) - len(parse_message(data).to_bytes())
        assert items[0] == parse_message(data)
        assert len(items) == 1 and (parser.buffered == 0 or rest)
    else:
        assert items == []
        assert (parser.buffered > 0) == (expected.stream == "waits")


def test_the_unreferenced_file_is_no_message() -> None:
    with pytest.raises(MessageSyntaxError) as caught:
        parse_message((VECTORS / "rfc4475" / "test.dat").read_bytes())
    assert caught.value.fault is Fault.START_LINE


def test_wsinv() -> None:
    m = request("wsinv")
    h = m.headers
    assert (m.method, m.version, len(m.body)) == ("INVITE", "SIP/2.0", 150)
    assert m.uri == SipUri(user="vivekg", host="chair-dnrc.example.com", params=m.uri.params)  # type: ignore[union-attr]
    assert isinstance(m.uri, SipUri) and tuple(m.uri.params) == (("unknownparam", None),)
    to, from_ = need(h.get(fields.TO)), need(h.get(fields.FROM))
    assert (str(to.uri), to.display_name, to.tag) == ("sip:vivekg@chair-dnrc.example.com", "", "1918181833n")
    assert (str(from_.uri), from_.display_name, from_.tag) == ("sip:jdrosen@example.com", 'J Rosenberg \\"', "98asjd8")
    assert h.get(fields.MAX_FORWARDS) == 68
    assert h.get(fields.CALL_ID) == "wsinv.ndaksdj@192.0.2.1"
    assert str(h.get(fields.CSEQ)) == "9 INVITE"
    assert vias(m) == [
        ("UDP", "192.0.2.2", None, "390skdjuw"),
        ("TCP", "spindle.example.com", None, "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", None, "z9hG4bK30239"),
    ]
    assert h.get(fields.SUBJECT) == ""
    assert h.first("NewFangledHeader") == "newfangled value continued newfangled value"
    assert h.first("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert str(h.get(fields.CONTENT_TYPE)) == "application/sdp"
    (route,) = h.all(fields.ROUTE)
    uri = sip(route)
    assert (uri.user, uri.host, uri.is_loose_router) == (None, "services.example.com", True)
    assert uri.params.get("unknownwith") == "value" and uri.params.has("unknown-no-value")
    (contact,) = contacts(m)
    assert (contact.display_name, str(contact.uri)) == ('Quoted string ""', "sip:jdrosen@example.com")
    assert tuple(contact.params) == (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33"))
    assert m.body.startswith(b"v=0\r\no=mhandley") and m.body.endswith(b"a=rtpmap:31 LPC\r\n")


def test_intmeth() -> None:
    m = request("intmeth")
    h = m.headers
    method = "!interesting-Method0123456789_*+`.%indeed'~"
    assert (m.method, m.body) == (method, b"")
    user = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert isinstance(m.uri, SipUri)
    assert (m.uri.user, m.uri.password) == (user, "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")
    assert (m.uri.host, m.uri.port, m.uri.params, m.uri.headers) == ("example.com", None, (), "")
    assert vias(m) == [("TCP", "host1.example.com", None, "z9hG4bK-.!%66*_+`'~")]
    to, from_ = need(h.get(fields.TO)), need(h.get(fields.FROM))
    assert (to.display_name, sip(to).user, to.tag) == ("BEL:\x07 NUL:\x00 DEL:\x7f", user, None)
    assert from_.display_name == "token1~` token2'+_ token3*%!.-"
    assert (str(from_.uri), from_.tag) == ("sip:mundane@example.com", "_token~1'+`*%!-.")
    assert from_.params.get("fromparam''~+*_!.-%") == "работающий"
    assert h.get(fields.CALL_ID) == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert str(h.get(fields.CSEQ)) == f"139122385 {method}"
    assert h.get(fields.MAX_FORWARDS) == 255
    assert h.first("extensionHeader-!.%*+_`'~") == "\ufeff大停電"


def test_what_came_with_control_characters_can_be_written_again() -> None:
    # A response copies To and From: a peer that may send such names must not make us raise.
    to = need(request("intmeth").headers.get(fields.TO))
    again = fields.TO.parse(str(to.with_param("tag", "x")))
    assert (again.display_name, again.uri, again.tag) == (to.display_name, to.uri, "x")
    headers = request("intmeth").headers
    copied = type(headers)(("To", text) for text in headers.raw("To"))
    assert copied.get(fields.TO) == to


def test_esc01() -> None:
    m = request("esc01")
    h = m.headers
    assert isinstance(m.uri, SipUri)
    assert (m.uri.scheme, m.uri.user, m.uri.host) == ("sip", "sips%3Auser%40example.com", "example.net")
    assert m.uri.username == "sips:user@example.com"
    to, from_ = need(h.get(fields.TO)), need(h.get(fields.FROM))
    assert (sip(to).user, sip(to).username, to.tag) == ("%75se%72", "user", None)
    assert (sip(from_).username, sip(from_).host, from_.tag) == ("I have spaces", "example.net", "938")
    assert to.uri.equivalent(SipUri(user="user", host="example.com"))
    (contact,) = contacts(m)
    assert (sip(contact).username, sip(contact).host) == ("caller", "host5.example.net")
    assert tuple(sip(contact).params) == (("lr", None), ("name", "v%61lue%25%34%31"))
    assert sip(contact).is_loose_router
    assert unescape(sip(contact).params.get("name") or "") == "value%41"
    assert h.get(fields.CALL_ID) == "esc01.239409asdfakjkn23onasd0-3234"
    assert (str(h.get(fields.CSEQ)), h.get(fields.MAX_FORWARDS), len(m.body)) == ("234234 INVITE", 87, 150)
    assert vias(m) == [("UDP", "host5.example.net", None, "z9hG4bKkdjuw")]
    assert str(h.get(fields.CONTENT_TYPE)) == "application/sdp"


def test_escnull() -> None:
    m = request("escnull")
    h = m.headers
    assert str(m.uri) == "sip:example.com" and m.body == b""
    for value in (h.get(fields.TO), h.get(fields.FROM)):
        assert (sip(value).user, sip(value).username) == ("null-%00-null", "null-\0-null")
    assert need(h.get(fields.FROM)).tag == "839923423"
    one, two = contacts(m)
    assert (sip(one).username, sip(two).username) == ("\0", "\0\0")
    assert not one.uri.equivalent(two.uri)
    assert (h.get(fields.CALL_ID), str(h.get(fields.CSEQ))) == (
        "escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd",
        "14398234 REGISTER",
    )
    assert (h.get(fields.MAX_FORWARDS), h.get(fields.CONTENT_LENGTH)) == (70, 0)
    assert vias(m) == [("UDP", "host5.example.com", None, "z9hG4bKkdjuw")]


def test_esc02() -> None:
    m = request("esc02")
    h = m.headers
    assert (m.method, str(h.get(fields.CSEQ))) == ("RE%47IST%45R", "29344 RE%47IST%45R")
    assert str(m.uri) == "sip:registrar.example.com"
    to, from_ = need(h.get(fields.TO)), need(h.get(fields.FROM))
    assert (to.display_name, from_.display_name, from_.tag) == ("%Z%45", "%Z%45", "f232jadfj23")
    assert [str(c.uri) for c in contacts(m)] == ["sip:alias1@host1.example.com", "sip:alias3@host3.example.com"]
    assert h.first("C%6Fntact") == "<sip:alias2@host2.example.com>"
    assert vias(m) == [("TCP", "host.example.com", None, "z9hG4bK209%fzsnel234")]
    assert h.get(fields.CALL_ID) == "esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf"
    assert (h.get(fields.MAX_FORWARDS), h.get(fields.CONTENT_LENGTH), m.body) == (70, 0, b"")


def test_lwsdisp() -> None:
    m = request("lwsdisp")
    h = m.headers
    from_ = need(h.get(fields.FROM))
    assert (m.method, str(m.uri), str(h.get(fields.CSEQ))) == ("OPTIONS", "sip:user@example.com", "60 OPTIONS")
    assert (from_.display_name, str(from_.uri), from_.tag) == ("caller", "sip:caller@example.com", "323")
    assert str(need(h.get(fields.TO)).uri) == "sip:user@example.com"
    assert h.get(fields.CALL_ID) == "lwsdisp.1234abcd@funky.example.com"
    assert vias(m) == [("UDP", "funky.example.com", None, "z9hG4bKkdjuw")]
    assert (h.get(fields.MAX_FORWARDS), h.get(fields.CONTENT_LENGTH)) == (70, 0)


def test_longreq() -> None:
    m = request("longreq")
    h = m.headers
    assert (m.method, str(m.uri), len(m.body)) == ("INVITE", "sip:user@example.com", 150)
    to, from_, (contact,) = need(h.get(fields.TO)), need(h.get(fields.FROM)), contacts(m)
    assert to.display_name == "I have a user name of " + 10 * "extreme" + " proportion"
    assert (sip(to).user, sip(to).host, sip(to).port, to.tag) == ("user", "example.com", 6000, None)
    assert [(k[:8], v and v[:8]) for k, v in sip(to).params] == [
        ("unknownp", "verylong"),
        ("longpara", "shortval"),
        ("verylong", None),
    ]
    assert sip(from_).user == 5 * "amazinglylongcallername"
    assert from_.tag == "12" + 50 * "982" + "424" or (from_.tag or "").startswith("12982982")
    assert len(from_.params) == 3 and from_.params[2] == ("unknownvalueless" + 10 * "paramname", None)
    assert sip(contact).user == sip(from_).user and sip(contact).host == "host5.example.net"
    assert h.get(fields.CALL_ID) == "longreq.one" + 20 * "really" + "longcallid"
    assert str(h.get(fields.CSEQ)) == "3882340 INVITE"
    hops = vias(m)
    assert [host for _, host, _, _ in hops] == [*(f"sip{n}.example.com" for n in range(33, 0, -1)), "host.example.com"]
    assert all(hop[0] == "TCP" and hop[3] is None for hop in hops[:-1])
    last = h.all(fields.VIA)[-1]
    assert last.received == "192.0.2.5"
    assert last.branch == "very" + 50 * "long" + "branchvalue"
    assert (h.first("unknown-" + 20 * "long" + "-name") or "").startswith("unknown-longlong")
    assert (h.get(fields.MAX_FORWARDS), h.get(fields.CONTENT_LENGTH)) == (70, 150)


def test_dblreq_as_a_datagram() -> None:
    m = request("dblreq")
    h = m.headers
    assert (m.method, str(m.uri), m.body) == ("REGISTER", "sip:example.com", b"")
    assert str(need(h.get(fields.TO)).uri) == "sip:j.user@example.com"
    assert need(h.get(fields.FROM)).tag == "43251j3j324"
    assert h.get(fields.CALL_ID) == "dblreq.0ha0isndaksdj99sdfafnl3lk233412"
    assert [str(c.uri) for c in contacts(m)] == ["sip:j.user@host.example.com"]
    assert (str(h.get(fields.CSEQ)), h.get(fields.MAX_FORWARDS)) == ("8 REGISTER", 8)
    assert vias(m) == [("UDP", "192.0.2.125", None, "z9hG4bKkdjuw23492")]


def test_semiuri() -> None:
    m = request("semiuri")
    h = m.headers
    assert isinstance(m.uri, SipUri)
    assert (m.uri.username, m.uri.host, m.uri.params) == ("user;par=u@example.net", "example.com", ())
    assert [media.essence for media in h.all(fields.ACCEPT)] == [
        "application/sdp",
        "application/pkcs7-mime",
        "multipart/mixed",
        "multipart/signed",
        "message/sip",
        "message/sipfrag",
    ]
    assert (str(need(h.get(fields.TO)).uri), need(h.get(fields.FROM)).tag) == ("sip:j_user@example.com", "33242")
    assert (h.get(fields.CALL_ID), str(h.get(fields.CSEQ))) == ("semiuri.0ha0isndaksdj", "8 OPTIONS")
    assert (h.get(fields.MAX_FORWARDS), vias(m)) == (3, [("UDP", "192.0.2.1", None, "z9hG4bKkdjuw")])


def test_transports() -> None:
    m = request("transports")
    assert vias(m) == [
        ("UDP", "t1.example.com", None, "z9hG4bKkdjuw"),
        ("SCTP", "t2.example.com", None, "z9hG4bKklasjdhf"),
        ("TLS", "t3.example.com", None, "z9hG4bK2980unddj"),
        ("UNKNOWN", "t4.example.com", None, "z9hG4bKasd0f3en"),
        ("TCP", "t5.example.com", None, "z9hG4bK0a9idfnee"),
    ]
    assert m.headers.get(fields.CALL_ID) == "transports.kijh4akdnaqjkwendsasfdj"
    assert (str(m.headers.get(fields.CSEQ)), m.headers.get(fields.MAX_FORWARDS)) == ("60 OPTIONS", 70)
    assert need(m.headers.get(fields.FROM)).tag == "323"


def test_mpart01() -> None:
    m = request("mpart01")
    h = m.headers
    assert (m.method, str(m.uri)) == ("MESSAGE", "sip:kumiko@example.org")
    assert m.body == octets("mpart01").partition(b"\r\n\r\n")[2]
    assert (len(m.body), m.body.count(b"\0"), h.get(fields.CONTENT_LENGTH)) == (553, 2, 553)
    via = h.require(fields.VIA)
    assert (via.transport, via.sent_by, via.branch) == (
        "UDP",
        "127.0.0.1:5070",
        "z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-",
    )
    assert via.params.has("rport") and via.params.get("rport") is None
    media = h.get(fields.CONTENT_TYPE)
    assert media is not None and (media.essence, media.params.get("boundary")) == (
        "multipart/mixed",
        "7a9cbec02ceef655",
    )
    assert [str(route.uri) for route in h.all(fields.ROUTE)] == ["sip:127.0.0.1:5080"]
    assert [(sip(c).user, sip(c).port) for c in contacts(m)] == [("fluffy", 5070)]
    assert (need(h.get(fields.FROM)).tag, need(h.get(fields.TO)).tag) == ("2fb0dcc9", None)
    assert h.get(fields.CALL_ID) == "3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA.."
    assert (str(h.get(fields.CSEQ)), h.get(fields.MAX_FORWARDS)) == ("1 MESSAGE", 70)
    assert h.get(fields.DATE) == "Sat, 15 Oct 2005 04:44:56 GMT"
    assert h.get(fields.USER_AGENT) == "SIPimp.org/0.2.5 (curses)"
    assert h.first("Content-Transfer-Encoding") == "binary"
    assert (h.get(fields.IDENTITY) or "").endswith("QFteeivUhkMWYUA=")


def test_unreason() -> None:
    m = parse_message(octets("unreason"))
    assert isinstance(m, Response)
    assert (m.status, m.reason) == (200, "= 2**3 * 5**2 но сто девяносто девять - простое")
    h = m.headers
    assert (need(h.get(fields.FROM)).tag, need(h.get(fields.TO)).tag) == ("11141343", "2229")
    assert (str(h.get(fields.CSEQ)), h.get(fields.CALL_ID)) == ("35 INVITE", "unreason.1234ksdfak3j2erwedfsASdf")
    assert vias(m) == [("UDP", "192.0.2.198", None, "z9hG4bK1324923")]
    assert [str(c.uri) for c in contacts(m)] == ["sip:user@host198.example.com"] and len(m.body) == 154


def test_noreason() -> None:
    m = parse_message(octets("noreason"))
    assert isinstance(m, Response)
    assert (m.status, m.reason, m.body) == (100, "", b"")
    h = m.headers
    assert (need(h.get(fields.FROM)).tag, need(h.get(fields.TO)).tag) == ("39ansfi3", "902jndnke3")
    assert (str(h.get(fields.CSEQ)), h.get(fields.CALL_ID)) == ("35 INVITE", "noreason.asndj203insdf99223ndf")
    assert vias(m) == [("UDP", "192.0.2.105", None, "z9hG4bK2398ndaoe")]
    assert [str(c.uri) for c in contacts(m)] == ["sip:user@host105.example.com"]


def test_baddn_with_its_empty_line() -> None:
    error = validate(parse_message(octets("baddn") + b"\r\n"))
    assert error is not None
    assert (error.fault, error.status_hint, error.field) == (Fault.BAD_HEADER, 400, "From")


def test_optional_values_out_of_range_count_as_absent() -> None:
    h = request("scalar02").headers
    assert (h.get(fields.MAX_FORWARDS), h.get(fields.EXPIRES), h.get(fields.CSEQ)) == (None, None, None)
    answer = parse_message(octets("scalarlg")).headers
    assert (answer.get(fields.RETRY_AFTER), answer.get(fields.WARNING)) == (None, None)
    assert request("baddate").headers.get(fields.DATE) is None


def test_schemes_that_are_not_ours_stay_opaque() -> None:
    assert request("unkscm").uri == OpaqueUri("nobodyknowsthisscheme", "totallyopaquecontent")
    assert request("novelsc").uri == OpaqueUri("soap.beep", "//192.0.2.103:3002")
    h = request("unksm2").headers
    assert str(need(h.get(fields.TO)).uri) == "isbn:2983792873"
    assert [str(c.uri) for c in contacts(request("unksm2"))] == ["name:John_Smith"]


def test_later_layers_find_what_they_need() -> None:
    h = request("bext01").headers
    assert h.all(fields.REQUIRE) == ("nothingSupportsThis", "nothingSupportsThisEither")
    assert h.all(fields.PROXY_REQUIRE) == ("noProxiesSupportThis", "norDoAnyProxiesSupportThis")
    authorization = request("regaut01").headers.get(fields.AUTHORIZATION)
    assert authorization is not None and authorization.scheme == "NoOneKnowsThisScheme"
    assert len(parse_message(octets("bcast")).headers.all(fields.VIA)) == 2
    assert request("zeromf").headers.get(fields.MAX_FORWARDS) == 0
    assert str(request("sdp01").headers.get(fields.ACCEPT)) == "text/nobodyknowsthis"
    assert str(request("invut").headers.get(fields.CONTENT_TYPE)) == "application/unknownformat"
    old = request("inv2543")
    assert (old.headers.require(fields.VIA).branch, need(old.headers.get(fields.FROM)).tag) == (None, None)
    assert len(old.body) == 105
    (outside,), (inside,) = contacts(request("cparam01")), contacts(request("cparam02"))
    assert outside.params.has("unknownparam") and not sip(outside).params
    assert not inside.params and sip(inside).params.has("unknownparam")
    (escaped,) = contacts(request("regescrt"))
    assert sip(escaped).headers == "Route=%3Csip:sip.example.com%3E"


def test_ipv6() -> None:
    def uri(name: str) -> tuple[str, int | None]:
        found = request(name).uri
        assert isinstance(found, SipUri)
        return found.host, found.port

    assert uri("ipv6-good") == ("[2001:db8::10]", None)
    assert uri("port-ambiguous") == ("[2001:db8::10:5070]", None)
    assert uri("port-unambiguous") == ("[2001:db8::10]", 5070)
    bracketed = request("via-received-param-with-delim").headers.require(fields.VIA)
    bare = request("via-received-param-no-delim").headers.require(fields.VIA)
    assert (bracketed.host, bracketed.received) == ("[2001:db8::9:1]", "[2001:db8::9:255]")
    assert (bare.received, bare.branch) == ("2001:db8::9:255", "z9hG4bKas3")
    mixed = request("mult-ip-in-header")
    assert [(v.sent_by, v.received) for v in mixed.headers.all(fields.VIA)] == [
        ("[2001:db8::9:1]:6050", None),
        ("192.0.2.1", None),
        ("[2001:db8::9:255]", "192.0.2.200"),
    ]
    assert [v.sent_by for v in request("ipv4-mapped-ipv6").headers.all(fields.VIA)] == [
        "[::ffff:192.0.2.10]:19823",
        "[::ffff:192.0.2.2]",
    ]
    # 4.10: the third colon is read as if it were not there
    three, two = request("ipv6-bug-abnf-3-colons").uri, request("ipv6-correct-abnf-2-colons").uri
    assert three == two and str(three) == "sip:user@[2001:db8::192.0.2.1]"


@pytest.mark.parametrize("name", ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"])
def test_ipv6_in_session_descriptions(name: str) -> None:
    body = request(name).body
    sdp = parse_sdp(body)
    assert sdp.to_bytes() == body
    assert [media.kind for media in sdp.media] == ["audio", "video"]
