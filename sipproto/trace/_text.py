"""The notation of values: strings, octets, lists, names and `Name(field=value)`. It knows nothing of classes."""

from __future__ import annotations

import re

from attrs import frozen

_WRAP = 1000  # characters of one line of octets
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_LONG = {escape[1]: char for char, escape in _SHORT.items()}
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[^xuU])", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*+(?:
        (?P<bytes>b"(?:[^"\\\n]++|\\.)*+")
      | (?P<str>"(?:[^"\\\n]++|\\.)*+")
      | (?P<float>-?(?:inf|nan)(?![A-Za-z0-9_.])|-?[0-9]{1,400}(?:\.[0-9]{1,400}(?:e[+-]?[0-9]{1,4})?|e[+-]?[0-9]{1,4}))
      | (?P<int>-?[0-9]{1,400})(?![0-9.])
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z_][A-Za-z0-9_]*+)?)
      | (?P<mark>[\[\](),=])
    )""",
    re.VERBOSE,
)
_WORDS = {"None": None, "True": True, "False": False}


class NotationError(ValueError):
    """Text that is no value. `at` is where in it."""

    def __init__(self, detail: str, at: int = 0) -> None:
        super().__init__(detail)
        self.at = at


@frozen
class Symbol:
    """A member of an enumeration, as written."""

    kind: str
    member: str


@frozen
class Structure:
    """A class and its fields, as written."""

    name: str
    fields: dict[str, Node]


Node = None | bool | int | float | str | bytes | list["Node"] | Symbol | Structure


# -- strings and octets ----------------------------------------------------------------------------------------------


def quote_text(text: str) -> str:
    """A string in quotes. What is not printable is escaped, so that a value never spans lines."""
    if text.isprintable() and "\\" not in text and '"' not in text:
        return f'"{text}"'
    return '"' + "".join('\\"' if char == '"' else _escape_char(char) for char in text) + '"'


def _escape_char(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_octet_char(char: str) -> str:
    """One character of decoded octets. What is not printable becomes its octets."""
    if char in _SHORT or char.isprintable():
        return _SHORT.get(char, char)
    return "".join(f"\\x{octet:02x}" for octet in char.encode("utf-8", "surrogateescape"))


def quote_octets(data: bytes) -> str:
    """Octets in one line: ASCII as it is, the rest escaped."""
    text = data.decode("ascii", "surrogateescape")
    return 'b"' + "".join('\\"' if char == '"' else _escape_octet_char(char) for char in text) + '"'


def octet_lines(data: bytes) -> list[str]:
    """Octets as lines. Each stands for itself and CRLF, but one that ends in a backslash for itself alone."""
    out: list[str] = []
    lines = data.decode("utf-8", "surrogateescape").split("\r\n")
    last = lines.pop()
    for text in lines:
        out += _pieces(text, "")
    if last:
        out += _pieces(last, "\\")
    return out


def _pieces(text: str, end: str) -> list[str]:
    if text.isprintable() and len(text) <= _WRAP and "\\" not in text and not text.endswith(" "):
        return [text + end]
    out: list[str] = []
    for line in text.split("\n"):
        atoms = [_escape_octet_char(char) for char in line]
        if atoms and atoms[-1] == " ":  # white space at the end of a line does not survive every editor
            atoms[-1] = "\\x20"
        starts = range(0, max(1, len(atoms)), _WRAP)
        out += ["".join(atoms[start : start + _WRAP]) + "\\" for start in starts]
        out[-1] = out[-1][:-1] + "\\n\\"
    out[-1] = out[-1].removesuffix("\\n\\") + end
    return out


def read_octet_line(line: str) -> bytes:
    """Raises NotationError."""
    # The mark at the end is a backslash that no other backslash escapes.
    marked = (len(line) - len(line.rstrip("\\"))) % 2 == 1
    return _unescape_octets(line[:-1] if marked else line) + (b"" if marked else b"\r\n")


def _unescape_octets(text: str) -> bytes:
    if "\\" not in text:
        return _utf8(text)
    out = bytearray()
    at = 0
    while (found := text.find("\\", at)) >= 0:
        match = _ESCAPE.match(text, found)
        if match is None or match[1][0] in "uU" or (len(match[1]) == 1 and match[1] not in _LONG and match[1] != '"'):
            raise NotationError("not an escape of octets", found)
        out += _utf8(text[at:found])
        out += bytes([int(match[1][1:], 16)]) if match[1][0] == "x" else _LONG.get(match[1], match[1]).encode()
        at = match.end()
    return bytes(out + _utf8(text[at:]))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise NotationError("not text", error.start) from None


def _unescape_text(text: str, at: int) -> str:
    if "\\" not in text:
        return text

    def char(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) == 1:
            known = _LONG.get(escape, escape if escape == '"' else "")
            if not known:
                raise NotationError(f"\\{escape} is not an escape", at + match.start())
            return known
        code = int(escape[1:], 16)
        if code > 0x10FFFF:
            raise NotationError("no such character", at + match.start())
        return chr(code)

    out = _ESCAPE.sub(char, text)
    if "\\" in _ESCAPE.sub("", text):
        raise NotationError("not an escape", at)
    return out


# -- reading ---------------------------------------------------------------------------------------------------------


def read_value(text: str, max_depth: int = 32) -> Node:
    """One value. Raises NotationError for anything else."""
    reader = _Reader(text, max_depth)
    value = reader.value(0)
    if text[reader.at :].strip():
        raise NotationError("more than one value", reader.at)
    return value


class _Reader:
    def __init__(self, text: str, max_depth: int) -> None:
        self._text = text
        self._max_depth = max_depth
        self.at = 0

    def _next(self) -> tuple[str, str]:
        match = _TOKEN.match(self._text, self.at)
        if match is None or match.lastgroup is None:
            raise self._error("a value is expected")
        self.at = match.end()
        return match.lastgroup, match[match.lastgroup]

    def _error(self, detail: str) -> NotationError:
        return NotationError(detail, self.at)

    def _peek(self, mark: str) -> bool:
        """Whether this mark comes next; if so it is taken."""
        match = _TOKEN.match(self._text, self.at)
        if match is None or match["mark"] != mark:
            return False
        self.at = match.end()
        return True

    def value(self, depth: int) -> Node:
        if depth > self._max_depth:
            raise self._error("nested too deep")
        kind, text = self._next()
        match kind:
            case "str":
                return _unescape_text(text[1:-1], self.at - len(text))
            case "bytes":
                return _unescape_octets(text[2:-1])
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "name":
                return self._named(text, depth)
            case _ if text == "[":
                return self._items(depth)
            case _:
                raise self._error(f"a value is expected, not {text}")

    def _items(self, depth: int) -> list[Node]:
        out: list[Node] = []
        while not self._peek("]"):
            out.append(self.value(depth + 1))
            if not self._peek(","):
                if not self._peek("]"):
                    raise self._error("neither , nor ]")
                break
        return out

    def _named(self, name: str, depth: int) -> Node:
        if name in _WORDS:
            return _WORDS[name]
        kind, dot, member = name.partition(".")
        if dot:
            return Symbol(kind, member)
        if not self._peek("("):
            raise self._error(f"{name} has no fields")
        fields: dict[str, Node] = {}
        while not self._peek(")"):
            what, field = self._next()
            if what != "name" or field in fields or not self._peek("="):
                raise self._error("a field is expected")
            fields[field] = self.value(depth + 1)
            if not self._peek(","):
                if not self._peek(")"):
                    raise self._error("neither , nor )")
                break
        return Structure(name, fields)
