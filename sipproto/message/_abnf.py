"""The grammar of RFC 3261 25.1, as regular expressions, and the few ways to cut text that every field shares.

Every expression runs in linear time: alternatives are disjoint, and repetitions that could give way are possessive.
Where we accept more than the grammar, the word LENIENT stands with the reason.
"""

from __future__ import annotations

import re

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"
# A control character may stand in a header as the second half of a quoted-pair only, CR and LF never (25.1).
CTL = r"\x00-\x08\x0a-\x1f\x7f"
# quoted-string = SWS DQUOTE *(qdtext / quoted-pair) DQUOTE
QUOTED = rf'"[^"\\{CTL}]*+(?:\\.[^"\\{CTL}]*+)*+"'
# host = hostname / IPv4address / IPv6reference. LENIENT: "_" is common in private host names.
HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*))"
# generic-param = token [ EQUAL gen-value ]; gen-value = token / host / quoted-string
# LENIENT: a value may hold whatever cannot end it, e.g. an IPv6 address without brackets (RFC 5118 4.5) or base64.
_PARAM = re.compile(rf"[ \t]*+;[ \t]*+({TOKEN})[ \t]*+(?:=[ \t]*+([^\s;,\"<>{CTL}]++|{QUOTED})[ \t]*+)?", re.DOTALL)
_PARAMS = re.compile(
    rf"(?:[ \t]*+;[ \t]*+{TOKEN}[ \t]*+(?:=[ \t]*+(?:[^\s;,\"<>{CTL}]++|{QUOTED})[ \t]*+)?)*+[ \t]*+", re.DOTALL
)
_SIMPLE_PARAMS = re.compile(rf"(?:;{TOKEN}(?:=[^\s;,\"<>{CTL}]+)?)+")
_TOKEN_ONLY = re.compile(TOKEN)
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]+")
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_LIST_ITEM = re.compile(rf'(?:{QUOTED}|<[^>]*>|[^",<]++)+', re.DOTALL)
_CONTROL = re.compile(r"[\r\n]|(?<!\\)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MUST_ESCAPE = re.compile(r'["\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')
# Lone surrogates other than those that stand for octets that are not UTF-8: they cannot be written at all.
_NO_OCTETS = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")


class QuotedStr(str):
    """The text of a quoted-string, without its quotes and escapes. It is written with quotes again."""

    __slots__ = ()


def is_token(text: str) -> bool:
    return (text.isascii() and text.isalnum()) or _TOKEN_ONLY.fullmatch(text) is not None


def unfold(text: str) -> str:
    """Header folding is one space (RFC 3261 7.3.1)."""
    if "\r" not in text:
        return text
    first, *rest = text.split("\r\n")
    return " ".join([first.rstrip(" \t"), *(line.strip(" \t") for line in rest)])


def unquote(text: str) -> str:
    """The meaning of a quoted-string; other text is returned as it is."""
    return QuotedStr(unescape_quoted(text[1:-1])) if len(text) >= 2 and text[0] == text[-1] == '"' else text


def unescape_quoted(inner: str) -> str:
    """The text between the quotes, with its quoted-pairs resolved.

    What had such pairs is a QuotedStr, so that the control characters of a peer can be written again (`intmeth`).
    """
    return QuotedStr(_PAIR.sub(r"\1", inner)) if "\\" in inner else inner


def quote(text: str) -> str:
    """A quoted-string that means `text`.

    Raises LocalProtocolError for a control character; in a QuotedStr, which a peer may have sent, for CR and LF only.
    """
    if not isinstance(text, QuotedStr):
        check_no_control(text, "text for a header")
    elif "\r" in text or "\n" in text:
        raise LocalProtocolError(f"line end in text for a header: {excerpt(text)!r}")
    return '"' + _MUST_ESCAPE.sub(r"\\\g<0>", text) + '"'


def check_no_control(text: str, what: str) -> str:
    """`text`, if it may stand in a header line. Raises LocalProtocolError otherwise."""
    if _CONTROL.search(text):
        raise LocalProtocolError(f"control character in {what}: {excerpt(text)!r}")
    if _NO_OCTETS.search(text):
        raise LocalProtocolError(f"{what} cannot be encoded: {excerpt(text)!r}")
    return text


def has_bare_control(text: str) -> bool:
    """Whether a control character stands outside a quoted-pair: the value is malformed then."""
    return not text.isprintable() and _CONTROL.search(text) is not None


def writable(text: str) -> str:
    """`text` without the control characters that a header could not be written with."""
    return text if text.isprintable() else _CONTROL.sub("", text)


def split_list(text: str) -> list[str]:
    """The items of a comma-separated list; commas inside quotes and angle brackets do not count.

    Empty items are kept as "", so that the caller can name the fault (`badinv01` of RFC 4475).
    """
    if "," not in text:
        return [text.strip()]
    if '"' not in text and "<" not in text:
        return [item.strip() for item in text.split(",")]
    items, start, position, size = [], 0, 0, len(text)
    while position < size:
        if text[position] == ",":
            items.append(text[start:position].strip())
            position += 1
            start = position
        elif match := _LIST_ITEM.match(text, position):
            position = match.end()
        else:  # an unbalanced quote or bracket: the rest is one item, which its parser will refuse
            position = size
    items.append(text[start:].strip())
    return items


class Params(tuple[tuple[str, "str | None"], ...]):
    """Parameters in order: names are case-insensitive and kept in lower case, a value of None means no "=".

    `get` answers None both for an absent and for a valueless parameter; use `has` to tell them apart.
    """

    __slots__ = ()

    def get(self, name: str) -> str | None:
        for key, value in self:
            if key == name:
                return value
        return None

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self)

    def with_(self, name: str, value: str | None = None) -> Params:
        """A copy in which `name` has `value`, at its old place or at the end."""
        name = name.lower()
        if not self.has(name):
            return Params((*self, (name, value)))
        return Params((k, value if k == name else v) for k, v in self)

    def without(self, *names: str) -> Params:
        return Params(item for item in self if item[0] not in names)

    def __str__(self) -> str:
        """The parameters as they stand in a header, each with its leading semicolon."""
        return "".join(f";{k}" if v is None else f";{k}={_value_text(v)}" for k, v in self)

    def __repr__(self) -> str:
        return f"Params({str(self)!r})"


NO_PARAMS = Params()


def _value_text(value: str) -> str:
    if isinstance(value, QuotedStr) or not _PLAIN_VALUE.fullmatch(value):
        # LENIENT values (see _PARAM) are given back as they came; anything else needs quotes.
        if not isinstance(value, QuotedStr) and value and not re.search(r'[\s;,"<>]', value):
            return check_no_control(value, "a parameter")
        return quote(value)
    return value


def parse_params(text: str, position: int = 0, *, field: str | None = None) -> Params:
    """`;name=value` pairs from `position` to the end of `text`.

    Raises MessageSyntaxError for anything else. Of a repeated parameter the first counts.
    """
    if position:
        text = text[position:]
    if not text:
        return NO_PARAMS
    items: list[tuple[str, str | None]] = []
    if _SIMPLE_PARAMS.fullmatch(text):
        for part in text[1:].split(";"):
            name, equals, value = part.partition("=")
            items.append((name.lower(), value if equals else None))
        return Params(items)
    text = text.rstrip(" \t")  # a search for parameters in nothing but white space would not be linear
    if not _PARAMS.fullmatch(text):
        raise MessageSyntaxError(Fault.BAD_HEADER, f"bad parameters: {excerpt(text)!r}", field=field)
    for name, quoted_or_plain in _PARAM.findall(text):
        if quoted_or_plain[:1] == '"':
            items.append((name.lower(), QuotedStr(unescape_quoted(quoted_or_plain[1:-1]))))
        else:
            items.append((name.lower(), quoted_or_plain or None))
    return Params(items)
