"""Headers and JSON to values. Whatever a peer sends, nothing is raised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sipproto.conference._forms import COMMANDS, FORMS, NOTIFY, NOTIFY_HEADER, Command, Form, Header, Part, is_writable
from sipproto.conference._values import ConferenceMessage, Notification, Unusable
from sipproto.errors import excerpt

MAX_JSON = 64 * 1024  # characters; a token and some names need a few thousand

_FORMS: dict[str, list[Form]] = {}
for _form in FORMS:
    _FORMS.setdefault(_form.content_type, []).append(_form)
_COMMANDS = {command.cmd: command for command in COMMANDS}


class _Defect(Exception):
    """Why something cannot be used, in one line without secrets."""


def parse_info(
    content_type: str, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> tuple[ConferenceMessage | Unusable, ...]:
    """What an INFO says. `()` when its Content-Type is none of this protocol. Never raises for what a peer sent.

    headers: names and values of the message, unfolded. Of several headers of one name the first counts that is not
    blank. The messages of this protocol have no body; one that comes is ignored.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == NOTIFY:
        return (parse_notify(headers) or Unusable(content_type=kind, detail=f"{NOTIFY_HEADER} is missing"),)
    forms = _FORMS.get(kind)
    if forms is None:
        return ()
    given = _given(headers)
    defects: list[str] = []
    for form in forms:
        try:
            return (_read(form, given),)
        except _Defect as defect:
            defects.append(str(defect))
    return (Unusable(content_type=kind, detail="; ".join(defects)),)


def parse_notify(headers: Iterable[tuple[str, str]]) -> Notification | Unusable | None:
    """What a NOTIFY outside of calls says in its X-VINTEO-NOTIFY. None when it has no such header. Never raises."""
    text = _given(headers).get(NOTIFY_HEADER.lower())
    if text is None:
        return None
    try:
        return _read_notification(text)
    except _Defect as defect:
        return Unusable(content_type=NOTIFY, detail=f"{NOTIFY_HEADER} {defect}")


def _given(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in headers:
        if text := value.strip():
            given.setdefault(name.lower(), text)
    return given


def _read(form: Form, given: Mapping[str, str]) -> ConferenceMessage:
    values = _values(form.headers, given)
    if form.one_of and values.keys().isdisjoint(form.one_of):
        names = [
            header.name for header in form.headers if isinstance(header, Header) and header.attribute in form.one_of
        ]
        found = [_unknown(name, given[name.lower()]) for name in names if name.lower() in given]
        raise _Defect("; ".join(found) or f"{' and '.join(names)} are missing")
    return form.message(**values)


def _values(headers: Iterable[Header | Part], given: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for header in headers:
        if isinstance(header, Part):
            try:
                values[header.attribute] = header.message(**_values(header.headers, given))
            except _Defect:
                pass  # it has its value as a whole or not at all
            continue
        text = given.get(header.name.lower())
        value = None if text is None else header.code.read(text)
        if value is None and header.required:
            raise _Defect(f"{header.name} is missing" if text is None else _unknown(header.name, text))
        if value is not None and header.attribute is not None:
            values[header.attribute] = value
    return values


def _unknown(name: str, text: str) -> str:
    return f"{name} has the unknown value {excerpt(text, 40)!r}"


def _read_notification(text: str) -> Notification:
    if len(text) > MAX_JSON:
        raise _Defect(f"has more than {MAX_JSON} characters")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # RecursionError: nested too deeply
        raise _Defect("is no JSON that can be read") from None
    if not isinstance(data, dict) or not isinstance(data.get("cmd"), str):
        raise _Defect("has no cmd")
    command = _COMMANDS.get(data["cmd"])
    if command is None:
        raise _Defect(f"has the unknown cmd {excerpt(data['cmd'], 40)!r}")
    where = data.get("body") if command.in_body else data
    if not isinstance(where, dict):
        raise _Defect(f"{command.cmd} has no body")
    return command.message(**{key: _text(command, where.get(key), key) for key in command.keys})


def _text(command: Command, value: object, key: str) -> str:
    if not isinstance(value, str) or not value.strip() or not is_writable(value):
        raise _Defect(f"{command.cmd} has no {key}, or not as text in one line")
    return value
