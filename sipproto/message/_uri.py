"""URIs: sip, sips, tel, and any other scheme kept opaque (RFC 3261 19.1, RFC 3966)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import quote as percent_encode
from urllib.parse import unquote_to_bytes

from attrs import evolve, field, frozen

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.message._abnf import HOST, NO_PARAMS, Params, is_token

# LENIENT: the user part may hold any printable character that cannot end it; "#" is common in the contacts of
# FreeSWITCH. A "%" must start an escape.
# Unrolled: plain characters, then any number of (escape, plain characters).
_USER = r"(?=[^@:])[^\x00-\x20\x7f<>\"@:%]*+(?:%[0-9A-Fa-f]{2}[^\x00-\x20\x7f<>\"@:%]*+)*+"
_PASSWORD = r"[^\x00-\x20\x7f<>\"@%]*+(?:%[0-9A-Fa-f]{2}[^\x00-\x20\x7f<>\"@%]*+)*+"
_SIP = re.compile(
    rf"([sS][iI][pP][sS]?):(?:({_USER})(?::({_PASSWORD}))?@)?({HOST})(?::([0-9]{{1,5}}))?"
    r"((?:;[^\x00-\x20\x7f<>\"@;?]+)*)(?:\?([^\x00-\x20\x7f<>\"?]*))?"
)
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):([^\x00-\x20\x7f<>\"]+)")
_USER_SAFE = "-_.!~*'()&=+$,;?/"  # unreserved and user-unreserved of 25.1
_DEFAULT_PORTS = {"sip": 5060, "sips": 5061}
# 19.1.4: these five must be equal or absent on both sides; other parameters count only where both sides have them.
_STRICT_PARAMS = (b"user", b"ttl", b"method", b"maddr", b"transport")
_RESERVED = b";/?:@&=+$,%"  # RFC 2396 2.2, and "%", which only an escape can stand for
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_THIRD_COLON = re.compile(r":::(?=[0-9]+\.)")


@frozen
class SipUri:
    """A SIP or SIPS URI (RFC 3261 19.1.1). Parts are kept as written, escapes included; `host` is in lower case."""

    scheme: str = field(kw_only=True, default="sip")
    user: str | None = field(kw_only=True, default=None)
    password: str | None = field(kw_only=True, default=None, repr=False)
    host: str = field(kw_only=True)
    port: int | None = field(kw_only=True, default=None)
    params: Params = field(kw_only=True, default=NO_PARAMS)
    headers: str = field(kw_only=True, default="")

    @property
    def username(self) -> str | None:
        """The user part with its escapes resolved once, as text (octets that are not UTF-8 as surrogates)."""
        return None if self.user is None else unescape(self.user)

    @property
    def transport(self) -> str | None:
        value = self.params.get("transport")
        return None if value is None else value.lower()

    @property
    def is_loose_router(self) -> bool:
        """Whether `lr` is present, with a value or without (RFC 3261 19.1.1)."""
        return self.params.has("lr")

    @property
    def aor(self) -> SipUri:
        """The address-of-record: scheme, user, host and port alone (RFC 3261 10.2)."""
        return SipUri(scheme=self.scheme, user=self.user, host=self.host, port=self.port)

    def header_pairs(self) -> list[tuple[str, str]]:
        """The header fields that a request to this URI is asked to have, with their escapes resolved (19.1.1)."""
        pairs = (part.partition("=") for part in self.headers.split("&")) if self.headers else ()
        return [(unescape(name), unescape(value)) for name, _, value in pairs]

    def without_headers(self) -> SipUri:
        return evolve(self, headers="") if self.headers else self

    def equivalent(self, other: Uri) -> bool:
        """Equality by RFC 3261 19.1.4. It is not transitive, therefore not `==`."""
        if not isinstance(other, SipUri):
            return False
        return (
            self.scheme == other.scheme
            and _comparable(self.user or "") == _comparable(other.user or "")
            and (self.user is None) == (other.user is None)
            and _comparable(self.password or "") == _comparable(other.password or "")
            and _host_key(self.host) == _host_key(other.host)
            and self.port == other.port
            and _params_match(self.params, other.params)
            and _headers_key(self.headers) == _headers_key(other.headers)
        )

    def __str__(self) -> str:
        out = f"{self.scheme}:"
        if self.user is not None:
            out += self.user if self.password is None else f"{self.user}:{self.password}"
            out += "@"
        out += self.host
        if self.port is not None:
            out += f":{self.port}"
        out += _params_text(self.params)
        if self.headers:
            out += f"?{self.headers}"
        return _checked(out, _SIP)


@frozen
class TelUri:
    """A telephone number (RFC 3966). `number` is kept as written; `digits` is without visual separators."""

    number: str
    params: Params = NO_PARAMS

    @property
    def scheme(self) -> str:
        return "tel"

    @property
    def digits(self) -> str:
        return re.sub(r"[-.()]", "", self.number)

    def equivalent(self, other: Uri) -> bool:
        return (
            isinstance(other, TelUri)
            and self.digits.lower() == other.digits.lower()
            and {k: (v or "").lower() for k, v in self.params} == {k: (v or "").lower() for k, v in other.params}
        )

    def __str__(self) -> str:
        return _checked(f"tel:{self.number}{_params_text(self.params)}", _ABSOLUTE)


@frozen
class OpaqueUri:
    """A URI of any other scheme; `rest` is what follows the colon."""

    scheme: str
    rest: str

    def equivalent(self, other: Uri) -> bool:
        return self == other

    def __str__(self) -> str:
        return _checked(f"{self.scheme}:{self.rest}", _ABSOLUTE)


Uri = SipUri | TelUri | OpaqueUri


def parse_uri(text: str) -> Uri:
    """Parses an absolute URI.

    Raises MessageSyntaxError (BAD_URI) for what is none.
    """
    return _parse_uri_remembered(text) if len(text) <= _REMEMBERED_LENGTH else _parse_uri(text)


# The URIs of a call stand in each of its messages: the last few are remembered, short ones only, to bound the memory.
_REMEMBERED_LENGTH = 256


@lru_cache(maxsize=512)
def _parse_uri_remembered(text: str) -> Uri:
    return _parse_uri(text)


def _parse_uri(text: str) -> Uri:
    match = _SIP.fullmatch(text)
    if match is not None:
        scheme, user, password, host, port, params, headers = match.groups()
        number = None if port is None else int(port)
        if number is not None and number > 65535:
            raise MessageSyntaxError(Fault.BAD_URI, f"port out of range in {excerpt(text)!r}")
        return SipUri(
            scheme=scheme.lower(),
            user=user,
            password=password,
            host=host.lower() if host[0] != "[" else ipv6_reference(host),
            port=number,
            params=_uri_params(params) if params else NO_PARAMS,
            headers=headers or "",
        )
    match = _ABSOLUTE.fullmatch(text)
    if match is None or match[1].lower() in ("sip", "sips"):
        raise MessageSyntaxError(Fault.BAD_URI, repr(excerpt(text)))
    scheme, rest = match[1].lower(), match[2]
    if scheme == "tel":
        digits, semicolon, params = rest.partition(";")
        if not digits:
            raise MessageSyntaxError(Fault.BAD_URI, repr(excerpt(text)))
        return TelUri(digits, _uri_params(semicolon + params) if params else NO_PARAMS)
    return OpaqueUri(scheme, rest)


def parse_sip_uri(text: str) -> SipUri:
    """Like `parse_uri`, for places where only sip and sips will do."""
    uri = parse_uri(text)
    if not isinstance(uri, SipUri):
        raise MessageSyntaxError(Fault.BAD_URI, f"not a sip or sips URI: {excerpt(text)!r}")
    return uri


def _uri_params(text: str) -> Params:
    items: list[tuple[str, str | None]] = []
    for part in text[1:].split(";"):
        name, equals, value = part.partition("=")
        if "%" in name and is_token(plain := unescape(name)) and "%" not in plain:
            name = plain  # `%6C%72` is lr (`esc01` of RFC 4475)
        items.append((name.lower(), value if equals else None))
    return Params(items)


def _params_text(params: Params) -> str:
    return "".join(f";{k}" if v is None else f";{k}={v}" for k, v in params)


def unescape(text: str) -> str:
    """Percent escapes resolved exactly once (RFC 4475 3.1.1.3)."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def escape_user(text: str) -> str:
    """Text as the user part of a SIP URI: everything that is not allowed there is percent-escaped."""
    return percent_encode(text.encode("utf-8", "surrogateescape"), safe=_USER_SAFE)


def escape_header(text: str) -> str:
    """Text as the value of a header field in a SIP URI (hvalue of 25.1)."""
    return percent_encode(text.encode("utf-8", "surrogateescape"), safe="-_.!~*'()[]/?:+$")


def _checked(text: str, pattern: re.Pattern[str]) -> str:
    """`text`, if it is a URI. A parsed URI always is; one built by hand could change what stands around it."""
    if pattern.fullmatch(text) is None:
        raise LocalProtocolError(f"not a URI: {excerpt(text)!r}")
    return text


def ipv6_reference(host: str) -> str:
    """An address in brackets, in lower case.

    LENIENT: the grammar of RFC 3261 allows a third colon before an IPv4 part; it is left out (RFC 5118 4.10).

    Raises MessageSyntaxError (BAD_URI) for what is no address.
    """
    address = _THIRD_COLON.sub("::", host[1:-1].lower())
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise MessageSyntaxError(Fault.BAD_URI, f"not an IPv6 address: {excerpt(host)!r}") from None
    return f"[{address}]"


def _comparable(text: str) -> bytes:
    """Octets to compare by 19.1.4: an escape equals its character, unless that is reserved (or the "%" itself)."""
    octets = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_resolve_unreserved, octets) if b"%" in octets else octets


def _resolve_unreserved(match: re.Match[bytes]) -> bytes:
    octet = bytes([int(match[1], 16)])
    return match[0].upper() if octet in _RESERVED else octet


def _host_key(host: str) -> str:
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1]).compressed
        except ValueError:
            return host
    return host.lower()


def _params_match(one: Params, two: Params) -> bool:
    a = {_comparable(k).lower(): _comparable(v or "").lower() for k, v in one}
    b = {_comparable(k).lower(): _comparable(v or "").lower() for k, v in two}
    if any(a.get(name) != b.get(name) for name in _STRICT_PARAMS):
        return False
    return all(b[name] == value for name, value in a.items() if name in b)


def _headers_key(headers: str) -> list[tuple[bytes, bytes]]:
    pairs = (part.partition("=") for part in headers.split("&")) if headers else ()
    return sorted((_comparable(name).lower(), _comparable(value)) for name, _, value in pairs)
