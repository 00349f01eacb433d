"""Settings out of the plain values that views send."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import AttrsInstance, evolve, fields

from sipproto_phone.commands import CommandProblem

_V = TypeVar("_V", bound=AttrsInstance)
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "tuple[str, ...]": (list, tuple),
}
_LONGEST = 2000  # characters of a text, and entries of a list


def changed(value: _V, given: dict[str, Any], *, fixed: tuple[str, ...] = ()) -> _V:
    """The attrs value with the fields that are given. Raises CommandProblem for what it has not, or cannot be so."""
    known = {a.name: str(a.type) for a in fields(type(value)) if a.name not in fixed}
    taken: dict[str, Any] = {}
    for key, item in given.items():
        kind = known.get(key)
        if kind not in _KINDS:
            raise CommandProblem(f"there is no setting {key!r}", "bad_field")
        if not isinstance(item, _KINDS[kind]) or (isinstance(item, bool) and kind != "bool"):
            raise CommandProblem(f"the setting {key} cannot be that", "bad_field")
        if isinstance(item, str | list | tuple) and len(item) > _LONGEST:
            raise CommandProblem(f"the setting {key} is too long", "bad_field")
        if isinstance(item, list | tuple):
            if not all(isinstance(part, str) for part in item):
                raise CommandProblem(f"the setting {key} is a list of texts", "bad_field")
            item = tuple(part.strip() for part in item if part.strip())
        taken[key] = item.strip() if isinstance(item, str) else item
    made: _V = evolve(value, **taken)  # type: ignore[misc]  # the plugin knows no attrs type behind a variable
    return made
