"""Messages and their headers: immutable, lossless, indexed once and typed on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

from attrs import field, frozen

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.message._abnf import check_no_control, is_token, split_list, unfold, writable
from sipproto.message._fields import ALL_FIELDS, COMPACT, Field
from sipproto.message._uri import Uri, parse_uri

T = TypeVar("T")

# Spellings of header names to their key: the usual ones are found with one look-up.
_KEYS: dict[str, str] = {f.name: f.key for f in ALL_FIELDS.values()}
_KEYS.update({k: k for k in ALL_FIELDS})
_KEYS.update(COMPACT)
_KEYS.update({short.upper(): key for short, key in COMPACT.items()})


# RFC 3261 and the extensions whose methods we know. A request with another method is answered 501 (21.5.2).
KNOWN_METHODS = frozenset(
    [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "REFER",
        "MESSAGE",
        "UPDATE",
    ]
)


def header_key(name: str) -> str:
    """The name by which a header is looked up: lower case, compact forms resolved."""
    key = _KEYS.get(name)
    if key is None:
        key = name.lower()
        key = COMPACT.get(key, key)
    return key


class Headers:
    """The header lines of a message, in order, exactly as they came.

    Lookup ignores case and knows compact forms. `get` reads leniently (a malformed optional header counts as absent),
    `require` strictly, `all` gives the good entries of a list field, `entries` the bad ones too.
    """

    __slots__ = ("_cache", "_index", "_lines", "defects")

    def __init__(self, pairs: Iterable[tuple[str, object]] = ()) -> None:
        """Headers from names and values (`str()` of each value is written).

        Raises LocalProtocolError for a name that is no token and for a control character in a value: neither CR nor
        LF from an application can ever end a header line.
        """
        lines: list[str] = []
        for name, value in pairs:
            text = str(value)
            if not text.isprintable():
                check_no_control(text, name)
            if name not in _KEYS and not is_token(name):
                raise LocalProtocolError(f"not a header name: {name!r}")
            lines.append(f"{name}: {text}")
        self._lines = lines
        self._index: dict[str, tuple[str, ...]] | None = None
        self._cache: dict[str, object] | None = None
        self.defects: tuple[MessageSyntaxError, ...] = ()

    @classmethod
    def _parsed(
        cls, lines: list[str], index: dict[str, tuple[str, ...]], defects: tuple[MessageSyntaxError, ...]
    ) -> Headers:
        self = cls.__new__(cls)
        self._lines = lines
        self._index = index
        self._cache = None
        self.defects = defects
        return self

    def _by_key(self) -> dict[str, tuple[str, ...]]:
        index = self._index
        if index is None:
            index = {}
            for line in self._lines:
                name, _, value = line.partition(":")
                key = header_key(name.rstrip(" \t"))
                index[key] = (*index.get(key, ()), value)
            self._index = index
        return index

    def get(self, wanted: Field[T]) -> T | None:
        """The typed value, the first one of a list field; None when absent or malformed."""
        cache = self._cache
        if cache is None:
            cache = self._cache = {}
        key = wanted.key
        if key in cache:
            return cast("T | None", cache[key])
        result: T | None = None
        for value in self._by_key().get(key, ()):
            text = unfold(value).strip() if "\r" in value else value.strip()
            if wanted.listed:
                if not text:  # an empty list has no first value: the next line may have one
                    continue
                if "," in text:
                    text = split_list(text)[0]
            try:
                result = wanted.parse(text)
            except MessageSyntaxError:
                result = None
            break
        cache[key] = result
        return result

    def require(self, wanted: Field[T]) -> T:
        """The typed value. Raises MessageSyntaxError when it is absent or malformed."""
        known = self.get(wanted)
        if known is not None:
            return known
        for value in self._texts(wanted):
            try:
                return wanted.parse(value)
            except MessageSyntaxError as error:
                raise MessageSyntaxError(error.fault, error.detail, field=wanted.name) from None
        raise MessageSyntaxError(Fault.MISSING_HEADER, wanted.name)

    def all(self, wanted: Field[T]) -> tuple[T, ...]:
        """Every well-formed value, over all lines; malformed ones are left out (see `entries`)."""
        return tuple(entry for entry in self.entries(wanted) if not isinstance(entry, MessageSyntaxError))

    def entries(self, wanted: Field[T]) -> tuple[T | MessageSyntaxError, ...]:
        """Every value, over all lines: typed, or the error that says what is wrong with this one."""
        out: list[T | MessageSyntaxError] = []
        for text in self._texts(wanted):
            try:
                out.append(wanted.parse(text))
            except MessageSyntaxError as error:
                out.append(MessageSyntaxError(error.fault, error.detail, field=wanted.name))
        return tuple(out)

    def fault(self, wanted: Field[T]) -> MessageSyntaxError | None:
        """What is wrong with the first malformed value; None when every value that is there is well formed."""
        values = self._by_key().get(wanted.key)
        if values is None or (len(values) == 1 and "," not in values[0] and self.get(wanted) is not None):
            return None
        return next((entry for entry in self.entries(wanted) if isinstance(entry, MessageSyntaxError)), None)

    def _texts(self, wanted: Field[T]) -> Iterator[str]:
        for value in self._by_key().get(wanted.key, ()):
            text = unfold(value).strip()
            if wanted.listed:
                if text:  # an empty list, as in `Supported:`, is legal and has no values
                    yield from split_list(text)
            else:
                yield text

    def first(self, name: str) -> str | None:
        """The text of the first header of that name, unfolded; None if there is none."""
        values = self._by_key().get(header_key(name))
        return writable(unfold(values[0]).strip()) if values else None

    def raw(self, name: str) -> tuple[str, ...]:
        """The texts of all headers of that name, unfolded, one per line: fit to be written into another message."""
        return tuple(writable(unfold(value).strip()) for value in self._by_key().get(header_key(name), ()))

    def count(self, name: str) -> int:
        """How many lines have that name."""
        return len(self._by_key().get(header_key(name), ()))

    def __contains__(self, name: str) -> bool:
        return header_key(name) in self._by_key()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(name as written, unfolded value) of every line."""
        for line in self._lines:
            name, _, value = line.partition(":")
            yield name.rstrip(" \t"), writable(unfold(value).strip())

    def __len__(self) -> int:
        return len(self._lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._lines == other._lines

    def __hash__(self) -> int:
        return hash(tuple(self._lines))

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self]!r})"  # values may be secret

    def without(self, *names: str) -> Headers:
        """A copy without the lines of these names."""
        keys = {header_key(name) for name in names}
        return self._copy(
            [line for line in self._lines if header_key(line.partition(":")[0].rstrip(" \t")) not in keys]
        )

    def with_(self, name: str, value: object) -> Headers:
        """A copy with one more line at the end."""
        return self._copy(self._lines + Headers([(name, value)])._lines)

    def with_first(self, name: str, value: object) -> Headers:
        """A copy with one more line at the top: a Via or Record-Route of a proxy."""
        return self._copy(Headers([(name, value)])._lines + self._lines)

    def replace(self, name: str, *values: object) -> Headers:
        """A copy in which these values stand for all lines of that name, at the place of the first (or at the end)."""
        key = header_key(name)
        new = Headers((name, value) for value in values)._lines
        out: list[str] = []
        placed = False
        for line in self._lines:
            if header_key(line.partition(":")[0].rstrip(" \t")) != key:
                out.append(line)
            elif not placed:
                out += new
                placed = True
        return self._copy(out if placed else out + new)

    def _copy(self, lines: list[str]) -> Headers:
        out = Headers()
        out._lines = lines
        return out


NO_HEADERS = Headers()


def _octets(start: str, headers: Headers, body: bytes) -> bytes:
    # The header lines were checked when they were made; CR and LF never come from a parser.
    if "\r" in start or "\n" in start:
        raise LocalProtocolError(f"line end in a start line: {excerpt(start)!r}")
    return "\r\n".join([start, *headers._lines, "", ""]).encode("utf-8", "surrogateescape") + body


@frozen(repr=False)
class Request:
    """A SIP request. `target` is the Request-URI as written; `uri` the same, typed."""

    method: str
    target: str
    headers: Headers = NO_HEADERS
    body: bytes = b""
    version: str = "SIP/2.0"

    @property
    def uri(self) -> Uri:
        """Raises MessageSyntaxError (BAD_URI) when the Request-URI is malformed; `validate` finds that out first."""
        return parse_uri(self.target)

    def to_bytes(self) -> bytes:
        """The octets of the message; those that were parsed come out as they came in."""
        return _octets(f"{self.method} {self.target} {self.version}", self.headers, self.body)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.headers.first('cseq')}, {len(self.body)} octets>"


@frozen(repr=False)
class Response:
    """A SIP response. `reason` is the phrase as written."""

    status: int
    reason: str
    headers: Headers = NO_HEADERS
    body: bytes = b""
    version: str = field(default="SIP/2.0")

    def to_bytes(self) -> bytes:
        """The octets of the message; those that were parsed come out as they came in."""
        return _octets(f"{self.version} {self.status} {self.reason}", self.headers, self.body)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.headers.first('cseq')}, {len(self.body)} octets>"


Message = Request | Response

REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
    199: "Early Dialog Terminated", 200: "OK", 202: "Accepted", 204: "No Notification",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy",
    380: "Alternative Service", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large",
    414: "Request-URI Too Long", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief",
    430: "Flow Failed", 439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded",
    469: "Bad Info Package", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist",
    482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here",
    487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
    493: "Undecipherable", 494: "Security Agreement Required", 500: "Server Internal Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported",
    513: "Message Too Large", 555: "Push Notification Service Not Supported", 580: "Precondition Failure",
    600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted",
    608: "Rejected",
}  # fmt: skip


def reason_phrase(status: int) -> str:
    """The default phrase of a status (RFC 3261 21 and the registry), or that of its class."""
    return REASONS.get(status) or REASONS.get(status // 100 * 100, "Unknown")
