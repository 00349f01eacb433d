"""Numbers and names: what a user dials, what a caller says of himself, and how both are shown."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import phonenumbers

from sipproto.errors import MessageSyntaxError
from sipproto.message import SipUri, escape_user, parse_sip_uri
from sipproto_phone.commands import CommandProblem

DISPLAY_NAME = "X-Display-Name"
_MAX = 256  # characters of what others say of themselves
_SEPARATORS = re.compile(r"[\s().\u2010-\u2015-]")
_DIGITS = re.compile(r"\+?[0-9*#]+")


def dialled(text: str, domain: str) -> tuple[str, str]:
    """The SIP address that is called for what a user has typed, and that as a number. Raises CommandProblem."""
    text = text.strip()
    plain = _SEPARATORS.sub("", text.removeprefix("tel:"))
    if _DIGITS.fullmatch(plain):
        return f"sip:{escape_user(plain)}@{domain}", plain
    if not text or len(text) > _MAX:
        raise CommandProblem("there is no number to call", "bad_number")
    try:
        if ":" not in text:
            text = f"sip:{text}" if "@" in text else f"sip:{escape_user(text)}@{domain}"
        uri = parse_sip_uri(text)
    except MessageSyntaxError:
        raise CommandProblem("this is no number and no SIP address", "bad_number") from None
    if uri.password is not None or uri.headers or not uri.user:
        raise CommandProblem("an address to call has a user, and neither a password nor headers", "bad_number")
    return str(uri), _named(uri, domain)


def _named(uri: SipUri, domain: str) -> str:
    """In our domain by the user part alone, so that it can be dialled again."""
    user = _plain(uri.username or "")
    if user and uri.host == domain.lower():
        return user
    return _plain(str(SipUri(user=uri.user, host=uri.host, port=uri.port)).removeprefix("sip:"))


def number_of(address: str, domain: str) -> str:
    """How the other side of a call is named, and can be called back. A telephone number stands for itself, whatever
    gateway it comes from.
    """
    try:
        uri = parse_sip_uri(address)
    except MessageSyntaxError:
        return _plain(address)
    user = _plain(uri.username or "")
    return user if _DIGITS.fullmatch(user) else _named(uri, domain)


def shown_number(number: str, region: str) -> str:
    """A telephone number with its country, grouped as is usual there; anything else as it is.

    region: ISO 3166, of numbers without a country.
    """
    try:
        parsed = phonenumbers.parse(number, region.upper() or None)
    except phonenumbers.NumberParseException:
        return number
    if not _DIGITS.fullmatch(number) or not phonenumbers.is_valid_number(parsed):
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def name_headers(name: str) -> tuple[tuple[str, str], ...]:
    """Our name for the called side: percent-encoded, so that every server lets it through."""
    return ((DISPLAY_NAME, quote(name, safe="")),) if name else ()


def name_of(headers: tuple[tuple[str, str], ...], display_name: str) -> str:
    """What a caller calls himself; "" for nothing."""
    given = next((value for key, value in headers if key.lower() == DISPLAY_NAME.lower()), "")
    return _plain(unquote(given[: 9 * _MAX])) or _plain(display_name)


def _plain(text: str) -> str:
    """What others wrote, in one line that can be shown."""
    return "".join(c for c in text if c.isprintable())[:_MAX].strip()
