"""URIs: their parts, and when two are the same (RFC 3261 19.1.4, RFC 3966)."""

from __future__ import annotations

import pytest

from sipproto.errors import Fault, MessageSyntaxError
from sipproto.message import OpaqueUri, SipUri, TelUri, escape_user, parse_sip_uri, parse_uri, unescape

EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a@[2001:DB8:0::1]", "sip:a@[2001:db8::1]"),
    ("sip:a%3bb@h", "sip:a%3Bb@h"),
    ("sip:a@h;n%61me=v", "sip:a@h;name=%76"),
    ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
    ("tel:7042;phone-context=Example.com", "tel:7042;phone-context=example.com"),
    ("urn:x:y", "URN:x:y"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:a@h", "sips:a@h"),
    ("sip:a@h", "sip:a:secret@h"),
    ("sip:a@h", "sip:h"),
    ("sip:a@h", "sip:a@h;maddr=1.2.3.4"),
    ("sip:a@h;ttl=1", "sip:a@h"),
    ("sip:a@h;user=phone", "sip:a@h"),
    ("sip:a@h;method=INVITE", "sip:a@h"),
    ("sip:a;b@h", "sip:a%3Bb@h"),  # reserved characters are not the same as their escapes
    ("sip:%2541@h", "sip:A@h"),
    ("tel:+1", "sip:+1@h"),
    ("tel:+1", "tel:+1;ext=2"),
    ("urn:a", "urn:b"),
]


@pytest.mark.parametrize(("one", "two"), EQUAL)
def test_equal(one: str, two: str) -> None:
    assert parse_uri(one).equivalent(parse_uri(two)) and parse_uri(two).equivalent(parse_uri(one))


@pytest.mark.parametrize(("one", "two"), DIFFERENT)
def test_different(one: str, two: str) -> None:
    assert not parse_uri(one).equivalent(parse_uri(two)) and not parse_uri(two).equivalent(parse_uri(one))


@pytest.mark.parametrize(
    ("text", "user", "password", "host", "port"),
    [
        ("sip:h", None, None, "h", None),
        ("sip:a@h.", "a", None, "h.", None),
        ("sip:a:@h", "a", "", "h", None),
        ("sip:a:b:c@h:1", "a", "b:c", "h", 1),
        ("sip:a;x=1@h:65535", "a;x=1", None, "h", 65535),
        ("sips:+1#2@[::1]:5061", "+1#2", None, "[::1]", 5061),
        ("SIP:a@1.2.3.4", "a", None, "1.2.3.4", None),
        ("sip:a@my_host", "a", None, "my_host", None),
    ],
)
def test_parts(text: str, user: str | None, password: str | None, host: str, port: int | None) -> None:
    uri = parse_sip_uri(text)
    assert (uri.user, uri.password, uri.host, uri.port) == (user, password, host, port)
    assert parse_uri(str(uri)) == uri
    assert not password or password not in repr(uri)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@h",
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a@h:",
        "sip:a@h:65536",
        "sip:a b@h",
        "sip:a@h ",
        "sip:%zz@h",
        "sip:a@@h",
        "sip:::1",
        "sip:[::1",
        "sip:[]",
        "sip:[1:2]",
        "sip:[2001:db8:::1]",
        "sip:a@h;x=<",
        "tel:",
        "tel:;x=1",
        "1:x",
        "sip:a\x00@h",
    ],
)
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(MessageSyntaxError) as caught:
        parse_uri(text)
    assert caught.value.fault is Fault.BAD_URI


def test_other_schemes() -> None:
    assert parse_uri("tel:+1-2.3(4)") == TelUri("+1-2.3(4)")
    assert TelUri("+1-2.3(4)").digits == "+1234" and TelUri("1").scheme == "tel"
    assert parse_uri("HTTP://x/y?z") == OpaqueUri("http", "//x/y?z")
    with pytest.raises(MessageSyntaxError):
        parse_sip_uri("tel:+1")


def test_parameters() -> None:
    uri = parse_sip_uri("sip:a@h;LR;Transport=WSS;maddr=1.2.3.4?a=b")
    assert (uri.is_loose_router, uri.transport, uri.params.get("maddr"), uri.host) == (True, "wss", "1.2.3.4", "h")
    assert uri.aor == SipUri(user="a", host="h")
    assert uri.without_headers().headers == "" and str(uri).endswith("?a=b")
    assert parse_sip_uri("sip:h;lr=on").is_loose_router and parse_sip_uri("sip:h;%6C%72").is_loose_router


@pytest.mark.parametrize("text", ["a b", "a@b", "50%", "x:y", 'q"<>', "имя", "\udcff", "a\x00b"])
def test_user_names_of_any_text(text: str) -> None:
    uri = parse_sip_uri(str(SipUri(user=escape_user(text), host="h")))
    assert uri.username == text == unescape(escape_user(text))
