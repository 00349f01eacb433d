"""Values of the engine as text and back, by attrs introspection and type hints.

Which classes there are is found from the unions of `sipproto.agent`: a new input, output or field needs nothing here.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import attrs

from sipproto.agent import AgentConfig, Input, Output
from sipproto.errors import SipProtoError
from sipproto.trace._text import Node, NotationError, Structure, Symbol, octet_lines, quote_octets, quote_text

_INLINE = 110  # longer values are broken into lines


def data_fields(cls: type) -> list[attrs.Attribute[Any]]:
    """The fields of a class that are data; services, such as the token source, are not."""
    hints = _hints(cls)
    return [a for a in attrs.fields(cls) if a.init and not getattr(hints[a.name], "_is_protocol", False)]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def members(union: Any) -> tuple[type, ...]:
    """The classes of a union, nested ones included."""
    return typing.get_args(union) or (union,)


@cache
def known_classes() -> dict[str, type]:
    """Every attrs class and enumeration that an input, an output or the configuration can hold, by name."""
    out: dict[str, type] = {}
    todo: list[Any] = [Input, Output, AgentConfig]
    while todo:
        hint = todo.pop()
        todo += [argument for argument in typing.get_args(hint) if argument is not Ellipsis]
        if not isinstance(hint, type) or out.get(hint.__name__) is hint:
            continue
        is_enum = issubclass(hint, enum.Enum)
        if is_enum or attrs.has(hint):
            if hint.__name__ in out:
                raise TypeError(f"two classes are called {hint.__name__}")
            out[hint.__name__] = hint
        if not is_enum and attrs.has(hint):
            todo += [_hints(hint)[a.name] for a in data_fields(hint)]
    return out


# -- writing ---------------------------------------------------------------------------------------------------------


def encode(value: object) -> str:
    """A value in one line. Raises TypeError for what no input or output holds."""
    match value:
        case enum.Enum():
            return f"{type(value).__name__}.{value.name}"
        case None | bool() | int() | float():
            return repr(value)
        case str():
            return quote_text(value)
        case bytes() | bytearray():
            return quote_octets(bytes(value))
        case tuple() | list():
            return f"[{', '.join(map(encode, value))}]"
        case _ if attrs.has(type(value)):
            return f"{type(value).__name__}({', '.join(f'{n}={encode(v)}' for n, v in _items(value))})"
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be written to a transcript")


def _items(value: Any) -> Iterator[tuple[str, object]]:
    for a in data_fields(type(value)):
        yield a.alias or a.name, getattr(value, a.name)


def field_lines(value: object) -> list[str]:
    """The fields of a value as the indented lines of a record."""
    out: list[str] = []
    for name, item in _items(value):
        if isinstance(item, bytes | bytearray) and item:
            out.append(f"  {name} = octets {len(item)}")
            out += [f"    | {line}" if line else "    |" for line in octet_lines(bytes(item))]
        else:
            first, *more = _broken(item, 4)
            out += [f"  {name} = {first}", *more]
    return out


def _broken(value: object, indent: int) -> list[str]:
    """A value in as many lines as it takes; those after the first are indented."""
    text = encode(value)
    if len(text) + indent <= _INLINE:
        return [text]
    if isinstance(value, tuple | list):
        opening, items, closing = "[", [("", item) for item in value], "]"
    elif attrs.has(type(value)) and not isinstance(value, enum.Enum):
        opening, closing = f"{type(value).__name__}(", ")"
        items = [(f"{name}=", item) for name, item in _items(value)]
    else:
        return [text]
    out = [opening]
    for prefix, item in items:
        first, *more = _broken(item, indent + 2)
        lines = [f"{' ' * indent}{prefix}{first}", *more]
        lines[-1] += ","
        out += lines
    # The closing bracket keeps the four columns that make it a continuation.
    return [*out, " " * max(4, indent - 2) + closing]


# -- reading ---------------------------------------------------------------------------------------------------------


def decode(node: Node, hint: Any) -> Any:
    """The value of a node where a field is declared as `hint`. Raises NotationError when it is none."""
    if hint is object or hint is Any:
        return _decode_any(node)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(node, hint)
    if origin is tuple:
        return _decode_tuple(node, typing.get_args(hint))
    if isinstance(hint, type):
        if isinstance(node, Symbol) and issubclass(hint, enum.Enum):
            return _decode_symbol(node, hint)
        if isinstance(node, Structure) and attrs.has(hint):
            return build(node, hint)
        if type(node) is hint or (hint is float and type(node) is int):
            return node
    raise NotationError(f"{_describe(node)} where {getattr(hint, '__name__', hint)} is expected")


def _describe(node: Node) -> str:
    match node:
        case Symbol(kind=kind) | Structure(name=kind):
            return kind
        case _:
            return type(node).__name__


def _decode_any(node: Node) -> Any:
    match node:
        case Symbol(kind=name) | Structure(name=name):
            known = known_classes().get(name)
            if known is None:
                raise NotationError(f"{name} is not known")
            return decode(node, known)
        case list():
            return tuple(map(_decode_any, node))
        case _:
            return node


def _decode_union(node: Node, hint: Any) -> Any:
    problem = NotationError(f"{_describe(node)} is not expected here")
    for choice in typing.get_args(hint):
        if isinstance(node, Structure) and isinstance(choice, type) and choice.__name__ != node.name:
            continue
        try:
            return decode(node, choice)
        except NotationError as error:
            if isinstance(node, Structure):
                problem = error
    raise problem


def _decode_tuple(node: Node, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(node, list):
        raise NotationError(f"{_describe(node)} where a list is expected")
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(decode(item, hints[0]) for item in node)
    if len(node) != len(hints):
        raise NotationError(f"{len(node)} items where {len(hints)} are expected")
    return tuple(decode(item, hint) for item, hint in zip(node, hints, strict=True))


def _decode_symbol(node: Symbol, hint: type[enum.Enum]) -> enum.Enum:
    member = hint.__members__.get(node.member) if node.kind == hint.__name__ else None
    if member is None:
        raise NotationError(f"{node.kind}.{node.member} is no {hint.__name__}")
    return member


def build(node: Structure, cls: type) -> Any:
    """An object of the class. Raises NotationError for fields that it does not have, lacks or refuses."""
    if node.name != cls.__name__:
        raise NotationError(f"{node.name} where {cls.__name__} is expected")
    hints = _hints(cls)
    known = {a.alias or a.name: hints[a.name] for a in data_fields(cls)}
    values: dict[str, object] = {}
    for name, item in node.fields.items():
        if name not in known:
            raise NotationError(f"{cls.__name__} has no field {name}")
        values[name] = decode(item, known[name])
    for a in data_fields(cls):
        if a.default is attrs.NOTHING and a.alias not in values:
            raise NotationError(f"{cls.__name__} lacks the field {a.alias}")
    try:
        return cls(**values)
    except (TypeError, ValueError, SipProtoError) as error:
        raise NotationError(f"{cls.__name__}: {error}") from None
