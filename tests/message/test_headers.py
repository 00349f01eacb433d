"""Header lines: reading, editing and writing them, and what validation asks of them."""

from __future__ import annotations

import pytest

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError
from sipproto.message import (
    AuthInfo,
    Field,
    Headers,
    MessageLimits,
    NameAddr,
    OpaqueUri,
    QuotedStr,
    Request,
    Response,
    SipUri,
    TelUri,
    Timestamp,
    Wildcard,
    fields,
    parse_message,
    quote,
    validate,
)

from .samples import message, octets


def fault(
    *more: str, without: str = "", start: str = "INVITE sip:bob@example.com SIP/2.0", body: bytes = b""
) -> Fault | None:
    error = validate(message(*more, without=without, start=start, body=body))
    return None if error is None else error.fault


def test_the_sample_is_valid() -> None:
    assert fault() is None


@pytest.mark.parametrize(("short", "key"), fields.COMPACT.items())
def test_compact_forms(short: str, key: str) -> None:
    for spelling in (short, short.upper(), key, key.title()):
        h = message(f"{spelling}: x", without="\0").headers
        assert h.raw(key)[-1] == "x" == h.raw(short)[-1]


def test_folding_is_one_space() -> None:
    h = message("Subject: one \r\n\t two\r\n three", "Via:\r\n SIP/2.0/UDP\r\n\tb;branch=z9hG4bK2").headers
    assert h.get(fields.SUBJECT) == "one two three"
    assert [via.branch for via in h.all(fields.VIA)] == ["z9hG4bK1", "z9hG4bK2"]


def test_a_start_line_cannot_be_folded() -> None:
    with pytest.raises(MessageSyntaxError) as caught:
        parse_message(octets().replace(b"\r\nVia", b"\r\n Hidden: x\r\nVia", 1))
    assert caught.value.fault is Fault.START_LINE


def test_lists_run_over_lines_and_commas() -> None:
    h = message("Supported: path, gruu", "k: outbound", 'Contact: "a, <b>" <sip:x@y;a=","@z>, <sip:c,d@e>').headers
    assert h.all(fields.SUPPORTED) == ("path", "gruu", "outbound")
    assert len(h.entries(fields.CONTACT)) == 3


def test_an_empty_list_has_no_values() -> None:
    h = message("Supported:", "Supported: timer").headers
    assert h.all(fields.SUPPORTED) == ("timer",)
    assert h.get(fields.SUPPORTED) == "timer"
    assert message("Supported: ").headers.get(fields.SUPPORTED) is None


def test_an_empty_via_is_no_via() -> None:
    assert fault("Via:", without="Via") is Fault.MISSING_HEADER
    answer = Response(
        200,
        "OK",
        Headers([("Via", ""), ("From", "<sip:a@b>"), ("To", "<sip:a@b>"), ("Call-ID", "c"), ("CSeq", "1 INVITE")]),
    )
    error = validate(parse_message(answer.to_bytes()))
    assert error is not None and error.fault is Fault.MISSING_HEADER


def test_one_bad_contact_fails_alone() -> None:
    h = message("Contact: <sip:a@b>, <sip:@>, <sip:c@d>;q=0.1, tel:+1", without="Contact").headers
    entries = h.entries(fields.CONTACT)
    assert [isinstance(entry, MessageSyntaxError) for entry in entries] == [False, True, False, False]
    assert len(h.all(fields.CONTACT)) == 3


@pytest.mark.parametrize(
    "line",
    [
        "Expires: soon",
        "Date: today",
        "Retry-After: -1",
        "Session-Expires: x",
        "Warning: no",
        "P-Asserted-Identity: <",
        "Accept: /",
    ],
)
def test_a_bad_optional_header_never_loses_the_message(line: str) -> None:
    m = message(line)
    assert validate(m) is None
    field = fields.ALL_FIELDS[line.partition(":")[0].lower()]
    assert m.headers.get(field) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('"a \\"b\\" \\\\c" <sip:x@y>', 'a "b" \\c'),
        ('";,<>" <sip:x@y>', ";,<>"),
        ("José Ünal <sip:x@y>", "José Ünal"),
        ('"" <sip:x@y>', ""),
        ('"a\\\x07b" <sip:x@y>', "a\x07b"),
    ],
)
def test_display_names(text: str, name: str) -> None:
    value = fields.FROM.parse(text)
    assert value.display_name == name
    assert fields.FROM.parse(str(value)) == value


def test_octets_that_are_not_utf8_survive() -> None:
    data = octets("Subject: x").replace(b"Subject: x", b"Subject: \xff\xfe\xe9")
    m = parse_message(data)
    assert m.to_bytes() == data
    assert m.headers.get(fields.SUBJECT) == "\udcff\udcfe\udce9"
    assert Headers([("Subject", m.headers.raw("Subject")[0])]).raw("Subject") == ("\udcff\udcfe\udce9",)


def test_binary_bodies_and_nul() -> None:
    body = bytes(range(256)) * 3
    m = message(f"Content-Length: {len(body)}", body=body + b"more")
    assert m.body == body and validate(m) is None


def test_editing() -> None:
    h = Headers([("Via", "a"), ("Route", "r1"), ("X", "1"), ("route", "r2")])
    assert h.with_("Y", 2).raw("y") == ("2",)
    assert h.with_first("v", "b").raw("Via") == ("b", "a")
    assert h.without("ROUTE") == Headers([("Via", "a"), ("X", "1")])
    assert list(h.replace("Route", "new")) == [("Via", "a"), ("Route", "new"), ("X", "1")]
    assert list(h.replace("Z", "1", "2"))[-2:] == [("Z", "1"), ("Z", "2")]
    assert len(h.replace("Route")) == 2
    assert (h.count("route"), "ROUTE" in h, "z" in h, len(h), h.first("z")) == (2, True, False, 4, None)
    assert h == Headers(h) and hash(h) == hash(Headers(h))
    assert "r1" not in repr(h)


BAD_TEXTS = ["a\r\nEvil: b", "a\rb", "a\nb", "a\x00b", "a\x07b", "a\x7fb", "\r\n x"]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_line_ends_and_control_characters_are_never_written(text: str) -> None:
    uri = SipUri(user="x", host="y")
    for make in (
        lambda: Headers([("Subject", text)]),
        lambda: Headers([(text, "x")]),
        lambda: Headers().with_("Subject", text),
        lambda: Headers().with_first("Subject", text),
        lambda: Headers().replace("Subject", text),
        lambda: str(NameAddr(uri, text)),
        lambda: Headers([("To", NameAddr(uri).with_param("tag", text))]),
        lambda: quote(text),
        lambda: str(SipUri(user=text, host="y")),
        lambda: str(SipUri(host=text)),
        lambda: str(SipUri(host="y", headers=text)),
        lambda: str(TelUri(text)),
        lambda: str(OpaqueUri("urn", text)),
    ):
        with pytest.raises(LocalProtocolError):
            make()


@pytest.mark.parametrize("text", ["a\r\nb", "a\rb", "a\nb"])
def test_line_ends_are_refused_in_start_lines_and_quoted_text(text: str) -> None:
    for m in (
        Response(200, text),
        Request(text, "sip:a@b"),
        Request("BYE", text),
        Request("BYE", "sip:a", version=text),
    ):
        with pytest.raises(LocalProtocolError):
            m.to_bytes()
    with pytest.raises(LocalProtocolError):
        quote(QuotedStr(text))


def test_a_uri_by_hand_cannot_leave_its_brackets() -> None:
    for uri in (
        SipUri(user="a> ,<sip:evil", host="y"),
        SipUri(user="a@evil", host="y"),
        SipUri(host="a b"),
        SipUri(host=""),
    ):
        with pytest.raises(LocalProtocolError):
            str(NameAddr(uri))


def test_text_without_octets_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        Headers([("Subject", "\ud800")])


@pytest.mark.parametrize("line", ['From: "a\x07" <sip:a@b>;tag=1', "From: <sip:a@b>;tag=a\x01", "Call-ID: a\x00b"])
def test_bare_control_characters_are_malformed_and_not_copied(line: str) -> None:
    m = message(line, without=line.partition(":")[0])
    assert validate(m) is not None
    name = line.partition(":")[0]
    assert Headers([(name, m.headers.raw(name)[0])]).first(name) == m.headers.first(name)


def test_a_message_without_headers_has_one_empty_line() -> None:
    m = Request("OPTIONS", "sip:a@b")
    assert m.to_bytes() == b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"
    assert parse_message(m.to_bytes()) == m


@pytest.mark.parametrize(
    ("line", "body", "expected"),
    [
        ("Content-Length: 3", b"abc", None),
        ("Content-Length: 0003", b"abc", None),
        ("Content-Length: 4", b"abc", Fault.INCOMPLETE),
        ("Content-Length: -1", b"abc", Fault.BAD_HEADER),
        ("Content-Length: 3, 3", b"abc", Fault.BAD_HEADER),
        ("Content-Length: ٣", b"abc", Fault.BAD_HEADER),
        ("Content-Length: 3\r\nl: 3", b"abc", Fault.REPEATED_HEADER),
        ("Content-Length: " + "9" * 5000, b"abc", Fault.BAD_HEADER),
    ],
)
def test_content_length(line: str, body: bytes, expected: Fault | None) -> None:
    assert fault(line, body=body) is expected


def test_octets_past_content_length_are_dropped() -> None:
    for zeros in ("0", "0" * 12):
        assert message(f"Content-Length: {zeros}", body=b"abc").body == b""


def test_limits() -> None:
    for limits, data, expected in (
        (MessageLimits(max_size=100), octets(), Fault.TOO_LARGE),
        (MessageLimits(max_headers=7), octets("A: b"), Fault.TOO_MANY_HEADERS),
        (MessageLimits(max_line=50), octets("A: " + "b" * 50), Fault.TOO_LARGE),
    ):
        with pytest.raises(MessageSyntaxError) as caught:
            parse_message(data, limits)
        assert caught.value.fault is expected
    assert parse_message(octets(), MessageLimits(max_headers=7, max_line=60)).body == b""


def test_numbers_have_their_ranges() -> None:
    assert fault("CSeq: 2147483647 INVITE", without="CSeq") is None
    assert fault("CSeq: 2147483648 INVITE", without="CSeq") is Fault.BAD_HEADER
    assert fault("CSeq: 1\tINVITE", without="CSeq") is None
    for field, text, value in (
        (fields.EXPIRES, "4294967295", 2**32 - 1),
        (fields.EXPIRES, "4294967296", None),
        (fields.MAX_FORWARDS, "255", 255),
        (fields.MAX_FORWARDS, "256", None),
    ):
        assert Headers([(field.name, text)]).get(field) == value


def test_timestamps_have_no_exponent() -> None:
    for text in ("1700000000.5", "0.25 0.000001", "54"):
        assert str(fields.TIMESTAMP.parse(text)) == text
    assert str(Timestamp(0.0000001)) == "0"


# Every row of what two JavaScript parsers get wrong (our notes on grammar facts).
def test_facts_about_responses_and_start_lines() -> None:
    bad = parse_message(
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/WS a\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: x\r\n\r\n"
    )
    error = validate(bad)
    assert error is not None and (error.fault, error.field) == (Fault.BAD_HEADER, "CSeq")
    assert parse_message(b"\r\n\r\n" + octets()) == message()
    assert fault(start="INVITE sip:bob@example.com SIP/3.0") is Fault.VERSION
    assert fault(start="INVITE sip:bob@example.com sip/2.0") is None
    assert fault("nonsense") is Fault.HEADER_LINE
    assert fault("Sub ject: x") is Fault.HEADER_LINE
    assert fault("CSeq: 1 BYE", without="CSeq") is Fault.CSEQ_METHOD
    assert fault(start="INVITE tel:+15551234 SIP/2.0") is None
    for single in ("From: <sip:z@y>;tag=b", "Call-ID: c2", "CSeq: 2 INVITE", "Max-Forwards: 1"):
        assert fault(single) is Fault.REPEATED_HEADER
    text = "привет"
    data = text.encode()
    assert message(f"Content-Length: {len(data)}", body=data).body == data


def test_facts_about_addresses() -> None:
    assert isinstance(fields.CONTACT.parse("*"), Wildcard)
    value = fields.FROM.parse("<sip:%FF@h>")
    assert isinstance(value.uri, SipUri) and value.uri.username == "\udcff"
    uri = fields.TO.parse("<sip:a@h.example.;maddr=1.2.3.4;ttl=5>").uri
    assert isinstance(uri, SipUri) and (uri.host, uri.params.get("ttl")) == ("h.example.", "5")
    assert fields.REFER_TO.parse("<tel:+1-555;phone-context=x>").uri == TelUri(
        "+1-555", uri.params.without("maddr", "ttl").with_("phone-context", "x")
    )
    secret = fields.TO.parse("<sip:user:password@h>").uri
    assert isinstance(secret, SipUri) and (secret.user, secret.password) == ("user", "password")
    for text in ("<sip:a@h:>", "<sip:a@h:99999>", "<sip:a@[::1>", "<sip:a@[1:2]>"):
        with pytest.raises(MessageSyntaxError):
            fields.TO.parse(text)


def test_facts_about_via() -> None:
    via = fields.VIA.parse("SIP/2.0/NEW host;keep;alias;maddr=1.2.3.4;rport;received=[::1]")
    assert (via.transport, via.host, via.received) == ("NEW", "host", "[::1]")
    assert all(via.params.has(name) for name in ("keep", "alias", "rport", "maddr"))
    first, second = Headers([("Via", "SIP/2.0/WS a;branch=1, SIP/2.0/WS b;branch=2")]).all(fields.VIA)
    assert (first.host, second.host) == ("a", "b")
    with pytest.raises(MessageSyntaxError):
        fields.VIA.parse("SIP/2.0/WS host:")


def test_facts_about_lists_and_texts() -> None:
    h = Headers(
        [
            ("Route", "<sip:a;lr>, <sip:b;lr>"),
            ("Path", "<sip:c>, <sip:d>"),
            ("Allow", "INVITE, ACK"),
            ("WWW-Authenticate", 'Digest realm="a \\"b\\"", nonce="1"'),
            ("WWW-Authenticate", 'Digest realm="c", nonce="2"'),
            ("Reason", 'SIP;cause=200;text="a \\"b\\"", Q.850;cause=16'),
            ("Subscription-State", "terminated;reason=probation;retry-after=60"),
            ("Event", "presence.winfo;id=1"),
        ]
    )
    assert [len(h.all(field)) for field in (fields.ROUTE, fields.PATH)] == [2, 2]
    assert h.all(fields.ALLOW) == ("INVITE", "ACK")
    assert [auth.params.get("realm") for auth in h.all(fields.WWW_AUTHENTICATE)] == ['a "b"', "c"]
    one, two = h.all(fields.REASON)
    assert (one.params.get("text"), two.value, two.params.get("cause")) == ('a "b"', "Q.850", "16")
    assert h.require(fields.SUBSCRIPTION_STATE).params.get("retry-after") == "60"
    assert h.require(fields.EVENT).value == "presence.winfo"


@pytest.mark.parametrize("field", [fields.AUTHENTICATION_INFO, fields.PROXY_AUTHENTICATION_INFO])
def test_facts_about_authentication_info(field: Field[AuthInfo]) -> None:
    text = 'nextnonce="a,\\"b\\"", rspauth="6629fae4", qop=auth, cnonce="0a4f", nc=0000000a'
    value = field.parse(text)
    assert value == AuthInfo(nextnonce='a,"b"', rspauth="6629fae4", qop="auth", cnonce="0a4f", nc=10)
    assert str(value) == text
    assert field.parse('NC=00000001 ,qop="AUTH-INT",x=y') == AuthInfo(nc=1, qop="auth-int")
    assert field.parse("") == AuthInfo()  # RFC 7615 3: a list of any number of parameters
    for text in ("nextnonce", 'nc="1"', "nc=1", "qop=a, qop=b", 'nextnonce="a', 'qop="a b"', "nc=0000000g"):
        with pytest.raises(MessageSyntaxError):
            field.parse(text)
    for wrong in (AuthInfo(nextnonce="a\nb"), AuthInfo(qop="a b")):
        with pytest.raises(LocalProtocolError):
            str(wrong)


@pytest.mark.parametrize("token", ["a", "ab=", "ab==", "eyJ.eyJ.c2ln"])
def test_one_opaque_token(token: str) -> None:
    value = fields.AUTHORIZATION.parse(f"Bearer {token}")
    assert (value.scheme, value.token68, value.params) == ("Bearer", token, ())


def test_facts_about_replaces() -> None:
    value = fields.REPLACES.parse("c1;To-Tag=t;FROM-TAG=f;early-only")
    assert (value.call_id, value.to_tag, value.from_tag, value.early_only) == ("c1", "t", "f", True)
    for text in ("c1", "c1;to-tag=t", "c1;to-tag=t;from-tag=f;to-tag=u"):
        with pytest.raises(MessageSyntaxError):
            fields.REPLACES.parse(text)
    one = "Replaces: c;to-tag=t;from-tag=f"
    assert fault(one) is None
    assert fault(one, one) is Fault.REPEATED_HEADER
    assert fault("Refer-To: <sip:a@b>", "r: <sip:c@d>") is Fault.REPEATED_HEADER


def test_a_defective_line_does_not_come_back_as_a_header() -> None:
    m = message("From\x0b: <sip:evil@x>", without="From")
    assert "From" not in m.headers and "From" not in m.headers.with_("A", "b")


def test_large_messages() -> None:
    assert message("X: " + "y" * 20_000).headers.first("x") == "y" * 20_000
    assert len(message(*(f"X-{n}: {n}" for n in range(300))).headers) == 307
    assert len(message(*(f"Via: SIP/2.0/WS h{n};branch=z9hG4bK{n}" for n in range(70))).headers.all(fields.VIA)) == 71


def test_timestamps_can_be_written_again() -> None:
    for text in ("9" * 40, f"1 {'9' * 38}", "1000000000000000"):
        headers = Headers([("Timestamp", text)])
        assert headers.get(fields.TIMESTAMP) is None
        assert headers.fault(fields.TIMESTAMP) is not None
    assert str(Headers([("Timestamp", "999999999999999.5 0.25")]).get(fields.TIMESTAMP)) == "999999999999999.5 0.25"


def test_tags_of_replaces_are_tokens() -> None:
    for text in ("a;to-tag=:;from-tag=x", 'a;to-tag=x;from-tag=";y"', "a;to-tag=x;from-tag"):
        assert Headers([("Replaces", text)]).get(fields.REPLACES) is None
    assert str(Headers([("Replaces", "a@b;from-tag=y;to-tag=x")]).get(fields.REPLACES)) == "a@b;to-tag=x;from-tag=y"
