"""Saved tickets go out as JSON to an address of the user's choice, such as that of a CRM."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import httpx

from sipproto_phone.commands import CommandProblem
from sipproto_phone.model import as_json
from sipproto_phone.ports import Ticket

LIMIT = 10.0  # seconds


async def post_ticket(ticket: Ticket, url: str, *, verify: bool | ssl.SSLContext = True, limit: float = LIMIT) -> None:
    """POSTs the fields of the ticket. verify: a further `ssl.SSLContext` in place of the usual authorities.

    No redirect is followed: a ticket is for whom the user named. Raises CommandProblem, in one line without the address,
    which may hold a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise CommandProblem("the webhook is no http or https address", "webhook")
    try:
        async with httpx.AsyncClient(verify=verify, timeout=limit, follow_redirects=False) as http:
            answer = await http.post(url, json=as_json(ticket))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = "it did not answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
        raise CommandProblem(
            f"ticket {ticket.id} was saved, but not sent to {parts.hostname}: {reason}", "webhook"
        ) from None
    if not answer.is_success:
        raise CommandProblem(
            f"ticket {ticket.id} was saved, but {parts.hostname} answered {answer.status_code} to it", "webhook"
        )
