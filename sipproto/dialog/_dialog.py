"""Dialogs (RFC 3261 12): who is at the other end, by which route, and which sequence number is next."""

from __future__ import annotations

from attrs import define, evolve, field

from sipproto.dialog._build import Pairs, build_request
from sipproto.errors import Fault, MessageSyntaxError
from sipproto.message import NameAddr, Request, Response, Wildcard, fields, parse_uri
from sipproto.transaction import FlowId

DialogKey = tuple[str, str, str]  # Call-ID, local tag, remote tag


@define(kw_only=True)
class Dialog:
    """One dialog. `local` and `remote` are the addresses with their tags, as they stand in From and To."""

    call_id: str
    local: NameAddr
    remote: NameAddr
    local_cseq: int
    remote_cseq: int | None
    remote_target: str
    routes: tuple[NameAddr, ...]
    flow: FlowId
    confirmed: bool = False
    remote_methods: frozenset[str] = field(factory=frozenset)  # its Allow; empty when it said nothing

    @property
    def key(self) -> DialogKey:
        # A peer of RFC 2543 has no tag; the empty one stands for it (12.1.1).
        return (self.call_id, self.local.tag or "", self.remote.tag or "")

    @classmethod
    def from_response(cls, request: Request, response: Response, flow: FlowId) -> Dialog:
        """The dialog that a response to our request makes (12.1.2).

        Raises MessageSyntaxError when the response has no Contact to reach the peer by.
        """
        headers = response.headers
        cseq = request.headers.require(fields.CSEQ)
        return cls(
            call_id=request.headers.require(fields.CALL_ID),
            local=request.headers.require(fields.FROM),
            remote=headers.require(fields.TO),
            local_cseq=cseq.number,
            remote_cseq=None,
            remote_target=contact_target(response),
            routes=tuple(reversed(headers.all(fields.RECORD_ROUTE))),
            flow=flow,
            confirmed=200 <= response.status < 300,
            remote_methods=frozenset(headers.all(fields.ALLOW)),
        )

    @classmethod
    def from_request(cls, request: Request, local_tag: str, flow: FlowId) -> Dialog:
        """The dialog that a request of the peer makes (12.1.1). Raises MessageSyntaxError without a Contact."""
        headers = request.headers
        return cls(
            call_id=headers.require(fields.CALL_ID),
            local=headers.require(fields.TO).with_param("tag", local_tag),
            remote=headers.require(fields.FROM),
            local_cseq=0,
            remote_cseq=headers.require(fields.CSEQ).number,
            remote_target=contact_target(request),
            routes=headers.all(fields.RECORD_ROUTE),
            flow=flow,
            remote_methods=frozenset(headers.all(fields.ALLOW)),
        )

    def next_request(self, method: str, *, extra: Pairs = (), body: bytes = b"") -> Request:
        """The next request in the dialog, with a new sequence number (12.2.1.1)."""
        self.local_cseq += 1
        return self.request(method, self.local_cseq, extra=extra, body=body)

    def request(self, method: str, cseq: int, *, extra: Pairs = (), body: bytes = b"") -> Request:
        """A request with a given sequence number: an ACK or CANCEL has that of its INVITE."""
        target, routes = self.remote_target, self.routes
        if routes:
            first = routes[0].sip_uri
            if first is not None and not first.is_loose_router:
                # 12.2.1.1, 16.12.1.2: a strict router wants itself in the Request-URI and the target at the end.
                target = str(evolve(first, params=first.params.without("method"), headers=""))
                routes = (*routes[1:], NameAddr(parse_uri(self.remote_target)))
        return build_request(
            method,
            target,
            from_=self.local,
            to=self.remote,
            call_id=self.call_id,
            cseq=cseq,
            routes=routes,
            extra=extra,
            body=body,
        )

    def accepts(self, request: Request) -> bool:
        """Whether the sequence number of a request is new (12.2.2: a lower one is answered 500). Takes note of it."""
        number = request.headers.require(fields.CSEQ).number
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """A target refresh: the Contact of a re-INVITE or UPDATE, or of the 2xx to one (12.2.1.2, 12.2.2)."""
        target = contact_or_none(message)
        if target is not None:
            self.remote_target = target
        if allow := message.headers.all(fields.ALLOW):
            self.remote_methods = frozenset(allow)


def contact_or_none(message: Request | Response) -> str | None:
    """The URI of the first Contact, if there is one to send to."""
    contact = message.headers.get(fields.CONTACT)
    return None if contact is None or isinstance(contact, Wildcard) else str(contact.uri)


def contact_target(message: Request | Response) -> str:
    """The URI of the first Contact. Raises MessageSyntaxError when there is none to send to."""
    target = contact_or_none(message)
    if target is None:
        raise MessageSyntaxError(Fault.MISSING_HEADER, "Contact")
    return target


def dialog_key(message: Request) -> DialogKey:
    """The key under which the receiver of a request finds its dialog (12.2.2)."""
    to, from_ = message.headers.get(fields.TO), message.headers.get(fields.FROM)
    return (
        message.headers.first("Call-ID") or "",
        (to.tag if to is not None else None) or "",
        (from_.tag if from_ is not None else None) or "",
    )
