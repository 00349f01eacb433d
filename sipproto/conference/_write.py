"""Values to headers and JSON, in the forms that the original SDK has on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from sipproto.conference._forms import COMMANDS, FORMS, NOTIFY, NOTIFY_HEADER, Header, Part, is_writable
from sipproto.conference._values import ConferenceMessage, Info, Notification
from sipproto.errors import LocalProtocolError

_FORMS = {form.message: form for form in FORMS}
_COMMANDS = {command.message: command for command in COMMANDS}


def write_info(message: ConferenceMessage) -> Info:
    """The INFO that says this. It has no body.

    Blanks around the text of a header are cut; an optional one that is blank then is left out. Raises
    LocalProtocolError, which never shows the value, for what could not be read again: a control character, a required
    text that is blank, a number that is negative or has more than 15 digits, a MainCamControl that says nothing.
    """
    if isinstance(message, Notification):
        return write_notify(message)
    form = _FORMS[type(message)]
    if form.one_of and all(getattr(message, attribute) is None for attribute in form.one_of):
        raise LocalProtocolError(f"{type(message).__name__} needs one of {', '.join(form.one_of)}")
    return Info(content_type=form.content_type, headers=tuple(_lines(form.headers, message)))


def write_notify(notification: Notification) -> Info:
    """The header of an INFO, or of a NOTIFY outside of calls, that says this: JSON in ASCII, in one line.

    Raises LocalProtocolError, which never shows the value, for a text that is blank or has a control character.
    """
    command = _COMMANDS[type(notification)]
    values = {key: _checked(str(getattr(notification, key)), key) for key in command.keys}
    data = {"cmd": command.cmd, **({"body": values} if command.in_body else values)}
    text = json.dumps(data, separators=(",", ":"))
    return Info(content_type=NOTIFY, headers=((NOTIFY_HEADER, text),))


def _lines(headers: Iterable[Header | Part], message: object) -> Iterator[tuple[str, str]]:
    for header in headers:
        value = None if header.attribute is None else getattr(message, header.attribute)
        if isinstance(header, Part):
            if value is not None:
                yield from _lines(header.headers, value)
        elif header.attribute is None or value is not None:
            text = header.code.write(value)
            if text or header.required:
                if header.code.read(text) is None:
                    raise LocalProtocolError(f"not a value of {header.name}")
                yield header.name, _checked(text, header.name)


def _checked(text: str, what: str) -> str:
    # not the error of Headers itself, which would show a token
    if not text.strip():
        raise LocalProtocolError(f"{what} is blank")
    if not is_writable(text):
        raise LocalProtocolError(f"a control character in {what}, or what cannot be encoded")
    return text
