"""What never gets into a transcript, and what stands in its place.

A secret becomes a placeholder of the same number of octets, so that Content-Length stays true, and always the same one,
so that an engine that is fed with placeholders does what it did with the secrets. The value of a digest is computed by
the engine and comes out different in a replay; it is covered with x alone.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

from sipproto.auth import Secret

T = TypeVar("T")
_MAX_SECRETS = 10_000  # a peer that names a new one each time must not make us remember them all; then x alone
_PLACEHOLDER = re.compile(rb"(?:r(?:edacted)?[0-9]+)?x*")

# Header lines, folded ones included (RFC 3261 7.3.1). The colon is optional: a broken line can hold a password, too.
_CREDENTIALS = re.compile(
    rb"(?im)^((?:Proxy-)?(?:Authorization|Authentication-Info)|X-Bearer-Token)(?=[ \t:])"
    rb"([ \t]*:?)((?:[^\r\n]++|\r?\n[ \t])*+)"
)
# The token of a room, in JSON that a conference server puts into a header (docs/conference-protocol.md).
_JSON_TOKEN = re.compile(rb'("jwt"\s*:\s*")((?:[^"\\\r\n]|\\[^\r\n]|\r?\n[ \t])*+)')
_CONTENT_TYPE = re.compile(rb"(?im)^(?:Content-Type|c)[ \t]*:[ \t]*([^\s;]+)")
_LOOSE_END = re.compile(rb"\n\r?\n")
_DIGEST = re.compile(rb"(?i)(\b(?:response|rspauth)\s*=\s*)(\"[^\"]*\"?|[^\s,]+)")
_URI_PASSWORD = re.compile(rb"(?i)(\bsips?:[^\s:@<>;?\"]*:)([^\s<>@;?:/\"]+)(?=@)")
_SERVER_URL = re.compile(rb"(?i)(\b[a-z][a-z0-9+.-]{0,20}://)([^\s/?#\"]*(?=@))?([^\s?#\"]*)(\?[^\s#\"]*)?")
_SPOKEN = re.compile(rb"(?i)\b((?:Bearer|Basic)[ \t]+)([^\s\",;]+)")
_SDP_START = re.compile(rb"(?m)^v=0")
_SDP_KEY_LINE = re.compile(rb"(?m)^(k=[^:\r\n]+:)([^\r\n]+)")
_SDP_KEYS = (
    (re.compile(rb"(?m)^(a=ice-pwd:)([^\r\n]+)"), None),
    (re.compile(rb"(?m)^(a=key-mgmt:[^ \r\n]+ )([^\r\n]+)"), None),
    (_SDP_KEY_LINE, None),
    # RFC 4568 9.1: tag, suite, then method:key|lifetime|mki, several of them with ";"
    (re.compile(rb"(?m)^(a=crypto:[^ \r\n]+ +[^ \r\n]+ +)([^ \r\n]+)"), re.compile(rb"([^:;|\r\n]+:)([^;|\r\n]+)")),
)
_SDP_TYPES = (b"application/sdp", b"application/trickle-ice-sdpfrag")
_KEPT_TYPES = (*_SDP_TYPES, b"message/sipfrag")  # what the engine reads, and nobody's private words
_DIGITS = re.compile(rb"[0-9A-Da-d#*]")
_SIGNAL = re.compile(rb"(?i)(signal\s*=\s*)([0-9A-D#*]+)")
_DIGIT_FIELDS = ("digit", "digits", "tone", "tones")
_SERVER_FIELDS = ("server",)
_TEXT_FIELDS = ("detail", "error", "text")  # for people, and in no message


def _raw(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _back(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _cover(data: bytes) -> bytes:
    """x for every octet but quotes and white space."""
    return re.sub(rb"[^\s\"]", b"x", data)


def _cover_url(match: re.Match[bytes]) -> bytes:
    """Who we are to a server, and the query, which often holds a token."""
    query = b"" if match[4] is None else b"?" + _cover(match[4][1:])
    return match[1] + _cover(match[2] or b"") + match[3] + query


def _changed(text: str, pattern: re.Pattern[bytes], change: Callable[[re.Match[bytes]], bytes]) -> str:
    """The text with each match of the pattern changed; the very same when there is none."""
    raw = _raw(text)
    out = pattern.sub(change, raw)
    return text if out == raw else _back(out)


class Redactor:
    """Takes the secrets out of values. One for each transcript, since it remembers which placeholder is whose.

    bodies: False covers bodies that are no session description, and digits. replaying: what comes is covered already;
    placeholders stay what they are.
    """

    def __init__(self, *, bodies: bool = True, replaying: bool = False) -> None:
        self._bodies = bodies
        self._replaying = replaying
        self._known: dict[bytes, bytes] = {}

    def value(self, value: T) -> T:
        """The same without secrets: an input, an output, a configuration or any part of one."""
        return cast("T", self._any(value))

    def _any(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(map(self._any, value))
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            return self._uri_passwords(value)
        if not attrs.has(type(value)):
            return value
        changes: dict[str, Any] = _without_password(value) if isinstance(value, Secret) else {}
        for a in attrs.fields(type(value)):
            if a.alias in changes:
                continue
            old = getattr(value, a.name)
            new = self._field(a, old, getattr(value, "content_type", ""))
            if new is not old and a.init:
                changes[a.alias] = new
        return attrs.evolve(value, **changes) if changes else value

    def _field(self, a: attrs.Attribute[Any], value: Any, content_type: object) -> Any:
        if isinstance(value, bytes | bytearray):
            if a.name == "data":
                return self.message(bytes(value))
            return self._body(bytes(value), _raw(content_type) if isinstance(content_type, str) else b"")
        if a.name == "headers" and isinstance(value, tuple | list):
            return tuple(map(self._header, value))
        if a.repr is False:  # the mark of this library for what must not be shown
            return self._wholly(value)
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            if a.name in _DIGIT_FIELDS and not self._bodies:
                return _back(_DIGITS.sub(b"0", _raw(value)))
            if a.name in _SERVER_FIELDS or a.name in _TEXT_FIELDS:
                value = _changed(value, _SERVER_URL, _cover_url)
            if a.name in _TEXT_FIELDS:
                for pattern in (_SPOKEN, _DIGEST):
                    value = _changed(value, pattern, lambda m: m[1] + _cover(m[2]))
        return self._any(value)

    def _wholly(self, value: Any) -> Any:
        """Every text in it is a secret."""
        if isinstance(value, tuple | list):
            return tuple(map(self._wholly, value))
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            return _back(self._secret(_raw(value)))
        return self._any(value)

    # -- messages ----------------------------------------------------------------------------------------------------

    def message(self, data: bytes) -> bytes:
        """A SIP message, or what should have been one."""
        start = len(data) - len(data.lstrip(b"\r\n"))  # RFC 3261 7.5: line ends before the start line
        end = data.find(b"\r\n\r\n", start) + 4
        if end < 4:  # no message of the grammar, but its private part should not be shown either
            loose = _LOOSE_END.search(data, start)
            end = len(data) if loose is None else loose.end()
        head, body = data[:end], data[end:]
        content_type = _CONTENT_TYPE.search(head)
        head = _CREDENTIALS.sub(self._credentials_line, head)
        head = _URI_PASSWORD.sub(self._second, _JSON_TOKEN.sub(self._second, head))
        return head + self._body(body, content_type[1] if content_type else b"")

    def _credentials_line(self, match: re.Match[bytes]) -> bytes:
        return match[1] + match[2] + self._credentials(match[1], match[3])

    def _credentials(self, name: bytes, value: bytes) -> bytes:
        """The value of a header that proves who somebody is: of digests the proof, of all else everything."""
        scheme = None if name.lower() == b"x-bearer-token" else re.match(rb"\s*+([^\s=]+)\s", value)
        if name.lower().endswith(b"info") or (scheme is not None and scheme[1].lower() == b"digest"):
            return _DIGEST.sub(lambda m: m[1] + _cover(m[2]), value)
        start = 0 if scheme is None else scheme.end()
        return value[:start] + re.sub(rb"[^\s]+", lambda m: self._secret(m[0]), value[start:])

    def _header(self, pair: Any) -> Any:
        """One (name, value) as applications give and get them."""
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            return self._any(pair)
        name, value = pair
        if _CREDENTIALS.fullmatch(_raw(name) + b":") is not None:
            return (name, _back(self._credentials(_raw(name), _raw(value))))
        return (name, self._uri_passwords(_changed(value, _JSON_TOKEN, self._second)))

    def _body(self, data: bytes, content_type: bytes) -> bytes:
        if not data:
            return data
        essence = content_type.partition(b";")[0].strip().lower()
        data = _CREDENTIALS.sub(self._credentials_line, data)  # of a message in a message
        data = _JSON_TOKEN.sub(self._second, data)
        for line, parts in _SDP_KEYS:
            if line is _SDP_KEY_LINE and not _SDP_START.search(data):
                continue  # elsewhere it may be anything
            if parts is None:
                data = line.sub(self._second, data)
            else:
                data = line.sub(lambda m, parts=parts: m[1] + parts.sub(self._second, m[2]), data)  # type: ignore[misc]
        if self._bodies or data.startswith(b"v=0") or essence in _KEPT_TYPES:
            return data
        if essence == b"application/dtmf-relay":
            return _SIGNAL.sub(lambda m: m[1] + b"0" * len(m[2]), data)
        if essence == b"application/dtmf":
            return _DIGITS.sub(b"0", data)
        return b"x" * len(data)

    # -- texts -------------------------------------------------------------------------------------------------------

    def _uri_passwords(self, text: str) -> str:
        if ":" not in text:
            return text
        return _changed(text, _URI_PASSWORD, self._second)

    def _second(self, match: re.Match[bytes]) -> bytes:
        return match[1] + self._secret(match[2])

    def _secret(self, secret: bytes) -> bytes:
        if not secret or (self._replaying and _PLACEHOLDER.fullmatch(secret)):
            return secret
        known = self._known.get(secret)
        if known is None:
            if len(self._known) >= _MAX_SECRETS:
                return b"x" * len(secret)
            known = self._known[secret] = _placeholder(len(self._known) + 1, len(secret))
        return known


def _placeholder(number: int, length: int) -> bytes:
    for text in (b"redacted%d" % number, b"r%d" % number):
        if len(text) <= length:
            return text.ljust(length, b"x")
    return b"x" * length


def _without_password(secret: Secret) -> dict[str, Any]:
    """Which realms there is a password for decides what an agent does; the password itself, and its length, do not."""
    return {
        "password": None if secret.password is None else "redacted",
        "ha1": tuple((realm, algorithm, "redacted") for realm, algorithm, _ in secret.ha1),
    }
