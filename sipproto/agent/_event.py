"""What subscriber, notifier and publisher share: event names, lifetimes, back-off."""

from __future__ import annotations

from sipproto.agent._hub import Hub
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import Response, TokenParams, fields, is_token
from sipproto.tokens import uniform

LIFETIME_MAX = 86_400 * 7  # seconds
MAX_RAISES = 2  # how often a 423 may raise a lifetime before the server counts as broken
_RETRY_FIRST, _RETRY_MAX = 5.0, 300.0  # seconds
LOST = "the connection to the server was lost"
SILENT = "the server did not answer"


def parse_event(text: str) -> TokenParams:
    """An event package with its parameters. Raises LocalProtocolError for anything else."""
    try:
        return fields.EVENT.parse(text)
    except MessageSyntaxError:
        raise LocalProtocolError(f"{text!r} is no event package, e.g. presence or refer;id=7") from None


def same_event(one: TokenParams, other: TokenParams | None) -> bool:
    """RFC 6665 8.2.1: package and id, octet by octet; other parameters do not count."""
    return other is not None and (one.value, one.params.get("id")) == (other.value, other.params.get("id"))


def check_lifetime(seconds: int, least: int = 1) -> None:
    if not least <= seconds <= LIFETIME_MAX:
        raise LocalProtocolError(f"a lifetime is {least} s to 7 days")


def check_content(content_type: str, body: bytes) -> None:
    if bool(body) > bool(content_type):
        raise LocalProtocolError("a body has a content type")


def check_token(text: str, what: str) -> None:
    if not is_token(text):
        raise LocalProtocolError(f"{text!r} is no {what}")


def parse_seconds(text: str | None) -> int | None:
    """A parameter in seconds; None when it is absent or no number."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 10 else None


def retry_after(response: Response) -> int | None:
    value = response.headers.get(fields.RETRY_AFTER)
    return None if value is None else min(value.seconds, LIFETIME_MAX)


def granted(response: Response, asked: int) -> int:
    """The Expires of a 2xx, which never is more than what was asked for (RFC 6665 4.2.1.1)."""
    stated = response.headers.get(fields.EXPIRES)
    return asked if stated is None else min(stated, asked)


def raised(response: Response, asked: int, raises: int) -> int | None:
    """The Min-Expires of a 423, if it really asks for more, and only so often."""
    least = response.headers.get(fields.MIN_EXPIRES)
    if least is None or least <= asked or least > LIFETIME_MAX or raises >= MAX_RAISES:
        return None
    return least


def refresh_delay(hub: Hub, lifetime: int) -> float:
    """In good time, and spread, so that who came together does not refresh together."""
    return max(1.0, lifetime * (0.5 + 0.3 * uniform(hub.tokens)))


def back_off(hub: Hub, failures: int, at_least: int | None = None) -> float:
    """Seconds until another attempt."""
    delay = min(_RETRY_MAX, _RETRY_FIRST * 2.0 ** min(failures, 10)) * (0.5 + 0.5 * uniform(hub.tokens))
    return max(delay, float(at_least or 0))
