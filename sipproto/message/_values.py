"""The values that header fields hold, each with its parser and its text form (RFC 3261 20 and the extensions named)."""

from __future__ import annotations

import re

from attrs import evolve, field, frozen

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.message._abnf import (
    CTL,
    HOST,
    NO_PARAMS,
    QUOTED,
    TOKEN,
    Params,
    QuotedStr,
    check_no_control,
    has_bare_control,
    is_token,
    parse_params,
    quote,
    unescape_quoted,
    unquote,
)
from sipproto.message._uri import SipUri, Uri, ipv6_reference, parse_uri

# name-addr = [ display-name ] LAQUOT addr-spec RAQUOT; display-name = *(token LWS) / quoted-string
# LENIENT: an unquoted display name may hold anything that cannot be taken for a delimiter, e.g. UTF-8 (but no comma:
# `baddn` of RFC 4475), and needs no space before "<" (`lwsdisp`, a known fault of the grammar).
_NAME_ADDR = re.compile(rf'[ \t]*+(?:({QUOTED})|([^"<>,;{CTL}]*+))[ \t]*+<([^<>]*+)>', re.DOTALL)
# via-parm = sent-protocol LWS sent-by *( SEMI via-params ); white space around "/" and ":" is legal (`wsinv`)
_VIA = re.compile(
    rf"[ \t]*({TOKEN})[ \t]*/[ \t]*({TOKEN})[ \t]*/[ \t]*({TOKEN})[ \t]+({HOST})(?:[ \t]*:[ \t]*([0-9]{{1,5}}))?"
)
_RACK = re.compile(rf"([0-9]{{1,10}})[ \t]+([0-9]{{1,10}})[ \t]+({TOKEN})")
_MEDIA_TYPE = re.compile(rf"({TOKEN})[ \t]*/[ \t]*({TOKEN})[ \t]*")
_TOKEN_HEAD = re.compile(rf"({TOKEN}(?:/{TOKEN})?)[ \t]*")
_DELTA_HEAD = re.compile(r"([0-9]+)[ \t]*(?:\(((?:[^()\\]|\\.)*+)\))?[ \t]*")
_WARNING = re.compile(rf"([0-9]{{3}})[ \t]+(\S+)[ \t]+({QUOTED})", re.DOTALL)
_MAX_TIME = 1e15  # seconds
_TIMESTAMP = re.compile(r"([0-9]+(?:\.[0-9]*)?)(?:[ \t]+([0-9]*(?:\.[0-9]*)?))?")
_AUTH_PARAM = re.compile(rf"[ \t]*({TOKEN})[ \t]*=[ \t]*({QUOTED}|[^\s,\"]+)[ \t]*(?:,|$)", re.DOTALL)
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]++=*+[ \t]*+")
_NC = re.compile(r"[0-9A-Fa-f]{8}")
_AUTH_SCHEME = re.compile(rf"({TOKEN})[ \t]+")
CSEQ_LIMIT = 2**31  # RFC 3261 8.1.1.5
DELTA_LIMIT = 2**32  # RFC 3261 20.19: expiry values are 0 to 2**32 - 1


def _decimal(value: float) -> str:
    """Digits with an optional fraction: the grammar has no exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def bad(detail: str) -> MessageSyntaxError:
    return MessageSyntaxError(Fault.BAD_HEADER, detail)


@frozen
class NameAddr:
    """A URI with an optional display name and header parameters: From, To, Contact, Route ... (RFC 3261 20.10).

    `display_name` is the plain text, without quotes and escapes; "" means that there is none.
    """

    uri: Uri
    display_name: str = ""
    params: Params = NO_PARAMS

    @property
    def tag(self) -> str | None:
        return self.params.get("tag")

    @property
    def sip_uri(self) -> SipUri | None:
        """The URI if it is a sip or sips URI."""
        return self.uri if isinstance(self.uri, SipUri) else None

    def with_param(self, name: str, value: str | None = None) -> NameAddr:
        return evolve(self, params=self.params.with_(name, value))

    def __str__(self) -> str:
        """The value as it stands in a header. Raises LocalProtocolError for a control character in the display name."""
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri}>{self.params}"


@frozen(kw_only=True)
class Wildcard:
    """`Contact: *`, which removes all bindings (RFC 3261 10.2.2)."""

    def __str__(self) -> str:
        return "*"


@frozen(kw_only=True)
class Via:
    """One hop of the response path (RFC 3261 20.42, RFC 3581)."""

    transport: str
    host: str
    port: int | None = None
    params: Params = NO_PARAMS
    protocol: str = "SIP"
    version: str = "2.0"

    @property
    def branch(self) -> str | None:
        return self.params.get("branch")

    @property
    def received(self) -> str | None:
        return self.params.get("received")

    @property
    def sent_by(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.protocol}/{self.version}/{self.transport} {self.sent_by}{self.params}"


@frozen
class CSeq:
    """Sequence number (below 2**31) and method (RFC 3261 20.16)."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@frozen
class RAck:
    """What a PRACK acknowledges (RFC 3262 7.2)."""

    rseq: int
    cseq: int
    method: str

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


@frozen
class MediaType:
    """A content type or a range of them; type and subtype in lower case (RFC 3261 20.1, 20.15)."""

    type: str
    subtype: str
    params: Params = NO_PARAMS

    @property
    def essence(self) -> str:
        """`type/subtype` without parameters."""
        return f"{self.type}/{self.subtype}"

    def __str__(self) -> str:
        return f"{self.type}/{self.subtype}{self.params}"


@frozen
class TokenParams:
    """A token with parameters: Event, Subscription-State, Reason, Content-Disposition, Accept-Encoding ..."""

    value: str
    params: Params = NO_PARAMS

    def __str__(self) -> str:
        return f"{self.value}{self.params}"


@frozen
class DeltaParams:
    """Seconds with parameters and an optional comment: Retry-After, Session-Expires, Min-SE (RFC 3261 20.33, RFC 4028)."""

    seconds: int
    params: Params = NO_PARAMS
    comment: str = ""

    def __str__(self) -> str:
        comment = f" ({check_no_control(self.comment, 'a comment')})" if self.comment else ""
        return f"{self.seconds}{comment}{self.params}"


@frozen
class UriParams:
    """A bare URI in angle brackets with parameters: Alert-Info, Call-Info, Error-Info (RFC 3261 20.4, 20.9, 20.18)."""

    uri: Uri
    params: Params = NO_PARAMS

    def __str__(self) -> str:
        return f"<{self.uri}>{self.params}"


@frozen
class Replaces:
    """The dialog that a call replaces or joins (RFC 3891 6.1, RFC 3911): tags as seen by the receiver."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


@frozen
class Warning_:
    """A Warning value (RFC 3261 20.43)."""

    code: int
    agent: str
    text: str

    def __str__(self) -> str:
        return f"{self.code:03d} {self.agent} {quote(self.text)}"


@frozen
class Timestamp:
    """When a request was sent and how long the answer was delayed, in seconds (RFC 3261 20.38)."""

    time: float
    delay: float | None = None

    def __str__(self) -> str:
        return _decimal(self.time) if self.delay is None else f"{_decimal(self.time)} {_decimal(self.delay)}"


@frozen(kw_only=True)
class AuthInfo:
    """What a server says after it accepted credentials (RFC 7616 3.5): the next nonce, its proof, what that covers.

    Other parameters are left out. `nc` is a number; neither nonces nor proofs are shown.
    """

    nextnonce: str | None = field(default=None, repr=False)
    rspauth: str | None = field(default=None, repr=False)
    qop: str | None = None
    cnonce: str | None = field(default=None, repr=False)
    nc: int | None = None

    def __str__(self) -> str:
        """The value as it stands in a header. Raises LocalProtocolError for a line end or a qop that is no token."""
        if self.qop is not None and not is_token(self.qop):
            raise LocalProtocolError(f"not a qop: {excerpt(self.qop)!r}")
        items = [
            None if self.nextnonce is None else f"nextnonce={quote(QuotedStr(self.nextnonce))}",
            None if self.rspauth is None else f"rspauth={quote(QuotedStr(self.rspauth))}",
            None if self.qop is None else f"qop={self.qop}",
            None if self.cnonce is None else f"cnonce={quote(QuotedStr(self.cnonce))}",
            None if self.nc is None else f"nc={self.nc:08x}",
        ]
        return ", ".join(item for item in items if item is not None)


@frozen
class AuthValue:
    """Scheme and parameters of a challenge or of credentials (RFC 3261 20.7, 20.44). Names are in lower case."""

    scheme: str
    params: Params
    token68: str = ""

    def __repr__(self) -> str:
        return f"AuthValue(scheme={self.scheme!r}, ...)"  # credentials never reach a log


def parse_name_addr(text: str) -> NameAddr:
    """A name-addr or addr-spec with its parameters.

    In the bare addr-spec form whatever follows a semicolon belongs to the header, not to the URI (RFC 3261 20.10), and
    a question mark or comma is refused (`regbadct` of RFC 4475).
    """
    match = _NAME_ADDR.match(text)
    if match is not None:
        quoted, plain, uri = match.groups()
        name = plain.rstrip() if quoted is None else unescape_quoted(quoted[1:-1])
        return NameAddr(parse_uri(uri), name, parse_params(text, match.end()))
    spec, semicolon, params_text = text.partition(";")
    if "?" in spec or "," in spec or "<" in text.partition('"')[0]:
        raise bad(f"not an address: {excerpt(text)!r}")
    return NameAddr(parse_uri(spec.strip()), "", parse_params(semicolon + params_text) if semicolon else NO_PARAMS)


def parse_contact(text: str) -> NameAddr | Wildcard:
    return Wildcard() if text == "*" else parse_name_addr(text)


def parse_via(text: str) -> Via:
    match = _VIA.match(text)
    if match is None:
        raise bad(f"not a Via value: {excerpt(text)!r}")
    protocol, version, transport, host, port = match.groups()
    if port is not None and int(port) > 65535:
        raise bad(f"port out of range: {excerpt(text)!r}")
    return Via(
        transport=transport.upper(),
        host=host.lower() if host[0] != "[" else ipv6_reference(host),
        port=None if port is None else int(port),
        params=parse_params(text, match.end()),
        protocol=protocol,
        version=version,
    )


def parse_cseq(text: str) -> CSeq:
    number, _, method = (text if "\t" not in text else text.replace("\t", " ")).partition(" ")
    method = method.lstrip()
    if not is_token(method):
        raise bad(f"not a CSeq value: {excerpt(text)!r}")
    return CSeq(_parse_int(number.rstrip(), CSEQ_LIMIT), method)


def parse_rack(text: str) -> RAck:
    match = _RACK.fullmatch(text)
    if match is None or int(match[1]) >= DELTA_LIMIT or int(match[2]) >= CSEQ_LIMIT:
        raise bad(f"not an RAck value: {excerpt(text)!r}")
    return RAck(int(match[1]), int(match[2]), match[3])


def parse_text(text: str) -> str:
    if has_bare_control(text):
        raise bad(f"control character: {excerpt(text)!r}")
    return text


def parse_token(text: str) -> str:
    if not is_token(text):
        raise bad(f"not a token: {excerpt(text)!r}")
    return text


def parse_call_id(text: str) -> str:
    # callid = word [ "@" word ]: anything visible; the Call-ID is opaque, so only white space and emptiness matter
    if not text or " " in text or "\t" in text or has_bare_control(text):
        raise bad(f"not a Call-ID: {excerpt(text)!r}")
    return text


def _parse_int(text: str, limit: int) -> int:
    # Few digits are turned into a number: the conversion of a long run of them is not linear.
    if text.isdecimal() and text.isascii() and (len(text) <= 10 or len(text.lstrip("0")) <= 10):
        value = int(text)
        if value < limit:
            return value
    raise bad(f"not a number in range: {excerpt(text)!r}")


def parse_delta(text: str) -> int:
    """Seconds, 0 to 2**32 - 1 (RFC 3261 20.19)."""
    return _parse_int(text, DELTA_LIMIT)


def parse_max_forwards(text: str) -> int:
    """0 to 255 (RFC 3261 20.22)."""
    return _parse_int(text, 256)


def parse_media_type(text: str) -> MediaType:
    match = _MEDIA_TYPE.match(text)
    if match is None:
        raise bad(f"not a media type: {excerpt(text)!r}")
    return MediaType(match[1].lower(), match[2].lower(), parse_params(text, match.end()))


def parse_token_params(text: str) -> TokenParams:
    match = _TOKEN_HEAD.match(text)
    if match is None:
        raise bad(f"not a token with parameters: {excerpt(text)!r}")
    return TokenParams(match[1], parse_params(text, match.end()))


def parse_delta_params(text: str) -> DeltaParams:
    match = _DELTA_HEAD.match(text)
    if match is None:
        raise bad(f"not a number of seconds: {excerpt(text)!r}")
    return DeltaParams(parse_delta(match[1]), parse_params(text, match.end()), match[2] or "")


def parse_uri_params(text: str) -> UriParams:
    value = parse_name_addr(text)
    return UriParams(value.uri, value.params)


def parse_replaces(text: str) -> Replaces:
    call_id, semicolon, rest = text.partition(";")
    params = parse_params(semicolon + rest)
    to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
    names = [name for name, _ in params]
    if to_tag is None or from_tag is None or names.count("to-tag") > 1 or names.count("from-tag") > 1:
        raise bad("one to-tag and one from-tag are mandatory (RFC 3891 6.1)")
    if not (is_token(to_tag) and is_token(from_tag)):
        raise bad("a tag is no token")
    return Replaces(parse_call_id(call_id.strip()), to_tag, from_tag, params.has("early-only"))


def parse_warning(text: str) -> Warning_:
    match = _WARNING.fullmatch(text)
    if match is None:
        raise bad(f"not a warning: {excerpt(text)!r}")
    return Warning_(int(match[1]), match[2], unquote(match[3]))


def parse_timestamp(text: str) -> Timestamp:
    match = _TIMESTAMP.fullmatch(text)
    if match is None or len(text) > 40:
        raise bad(f"not a timestamp: {excerpt(text)!r}")
    time, delay = float(match[1]), float(match[2]) if match[2] and match[2] != "." else None
    if max(time, delay or 0.0) >= _MAX_TIME:  # more could not be written as it came
        raise bad(f"not a timestamp: {excerpt(text)!r}")
    return Timestamp(time, delay)


def parse_auth(text: str) -> AuthValue:
    """`scheme name=value, ...`. A repeated parameter is refused: which one counts would be a guess."""
    match = _AUTH_SCHEME.match(text)
    if match is None:
        raise bad("no authentication scheme")
    # a single opaque token, as in `Bearer eyJ...` (RFC 8898)
    if _TOKEN68.fullmatch(text, match.end()):
        return AuthValue(match[1], NO_PARAMS, text[match.end() :].strip())
    return AuthValue(match[1], _auth_params(text, match.end(), match[1]))


def _auth_params(text: str, position: int, what: str) -> Params:
    items: list[tuple[str, str | None]] = []
    seen: set[str] = set()
    while position < len(text):
        param = _AUTH_PARAM.match(text, position)
        if param is None:
            raise bad(f"bad parameter in {what} value")
        name = param[1].lower()
        if name in seen:
            raise bad(f"repeated parameter {name} in {what} value")
        seen.add(name)
        items.append((name, unquote(param[2])))
        position = param.end()
    return Params(items)


def parse_privacy(text: str) -> tuple[str, ...]:
    """`Privacy: id;header;critical` (RFC 3323 4.2)."""
    return tuple(parse_token(part.strip()).lower() for part in text.split(";"))


def parse_date(text: str) -> str:
    """An RFC 1123 date in GMT (RFC 3261 20.17), kept as text."""
    if not re.fullmatch(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", text):
        raise bad(f"not a date in GMT: {excerpt(text)!r}")
    return text


def parse_auth_info(text: str) -> AuthInfo:
    """Authentication-Info, Proxy-Authentication-Info: `name=value, ...` (RFC 7615 3). Repetitions are refused."""
    params = _auth_params(text, 0, "authentication info")
    nc = params.get("nc")
    if nc is not None and not _NC.fullmatch(nc):
        raise bad(f"not a nonce count: {excerpt(nc)!r}")
    qop = params.get("qop")
    if qop is not None:
        qop = parse_token(qop.strip()).lower()  # LENIENT: some put it in quotes, as in a challenge
    return AuthInfo(
        nextnonce=params.get("nextnonce"),
        rspauth=params.get("rspauth"),
        qop=qop,
        cnonce=params.get("cnonce"),
        nc=None if nc is None else int(nc, 16),
    )
