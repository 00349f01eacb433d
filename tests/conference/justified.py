"""Where our client differs on the wire from the recorded one, and why that is well. docs/conference-protocol.md
shows this list."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen


@frozen(kw_only=True)
class Excuse:
    """A difference that is well.

    messages: requests by method, responses as "200 INVITE". field: as in Comparison. theirs, ours: patterns for the whole
    value, None: not there. difference, reason: for people; the reason in one sentence.
    """

    messages: frozenset[str]
    field: str
    theirs: str | None
    ours: str | None
    difference: str
    reason: str

    def fits(self, message: str, field: str, theirs: str | None, ours: str | None) -> bool:
        return (
            message in self.messages
            and field == self.field
            and _matches(self.theirs, theirs)
            and _matches(self.ours, ours)
        )


@frozen(kw_only=True)
class Further:
    """Requests of ours that the recorded client has not sent, after the one called `after`. names: what they are like."""

    after: str
    names: tuple[str, ...]
    method: str
    difference: str
    reason: str


def _matches(pattern: str | None, value: str | None) -> bool:
    if pattern is None or value is None:
        return pattern is value
    return re.fullmatch(pattern, value) is not None


def _excuse(
    messages: str, field: str, theirs: str | None, ours: str | None, difference: str, reason: str, *, status: str = ""
) -> Excuse:
    names = frozenset(f"{status} {method}".strip() for method in messages.split())
    return Excuse(messages=names, field=field, theirs=theirs, ours=ours, difference=difference, reason=reason)


_IN_CALL = "ACK INFO BYE"
_REQUESTS = f"REGISTER OPTIONS INVITE {_IN_CALL}"
_SDK_METHODS = "INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO,NOTIFY(,SUBSCRIBE)?"
_OUR_METHODS = "INVITE, ACK, CANCEL, BYE, INFO, MESSAGE, NOTIFY, OPTIONS, PRACK, REFER, SUBSCRIBE, UPDATE"
_OUR_TAGS = "100rel, gruu, norefersub, outbound, replaces"
_NOTHING_TO_ANSWER = "RFC 3261 8.1.1.9 wants it where the answer can make use of it, and none to such a request can."
_DIGEST = (
    r'Digest username="erin", realm="rig\.test", nonce="fixed", uri="sip:[^"]+", response="[0-9a-f]{32}", algorithm=MD5, '
    r'qop=auth, cnonce="\w+", nc=[0-9a-f]{8}'
)

JUSTIFIED: tuple[Excuse, ...] = (
    _excuse(
        _REQUESTS,
        "via",
        r"SIP/2\.0/WSS? \w+\.invalid;branch=z9hG4bK\w+",
        r"SIP/2\.0/WS \w+\.invalid;branch=z9hG4bK\w+;rport",
        "ours has `rport`",
        "RFC 3581 3 has every client put it into each request, and it costs nothing on a WebSocket.",
    ),
    _excuse(
        _REQUESTS,
        "max-forwards",
        "69",
        "70",
        "ours begins with 70, the SDK with 69",
        "RFC 3261 8.1.1.6 says 70.",
    ),
    _excuse(
        "REGISTER",
        "to",
        "<sip:erin@rig.test>",
        '"erin" <sip:erin@rig.test>',
        "ours has the display name in To, as in From",
        "RFC 3261 10.2 has both the same unless somebody registers for somebody else.",
    ),
    _excuse(
        "REGISTER",
        "contact",
        r'<sip:\w+@\w+\.invalid;transport=ws>;\+sip\.ice;reg-id=1;\+sip\.instance="<urn:uuid:[-\w]+>";expires=\d+',
        r'<sip:\w+@\w+\.invalid;transport=ws>;\+sip\.instance="<urn:uuid:[-\w]+>";reg-id=1;expires=\d+',
        "ours has no `+sip.ice`",
        "It is for callers who choose a device by it (RFC 5768 4), and offers tell of ICE by themselves.",
    ),
    _excuse(
        "REGISTER OPTIONS INVITE",
        "allow",
        _SDK_METHODS,
        _OUR_METHODS,
        "ours has PRACK and, beside version 16, SUBSCRIBE",
        "It names what a stack understands, and ours understands these.",
    ),
    _excuse(
        _IN_CALL,
        "allow",
        _SDK_METHODS,
        None,
        "ours has none inside of a call",
        "The INVITE and its answer have said it (RFC 3261 13.2.1), and it has not changed.",
    ),
    _excuse(
        "INVITE",
        "supported",
        "gruu,ice,replaces,outbound",
        _OUR_TAGS,
        "ours has `100rel` and `norefersub`, and not `ice`",
        "It names what a stack does: PRACK (RFC 3262), REFER without a subscription (RFC 4488); ICE is told of in the offer.",
    ),
    _excuse(
        "OPTIONS",
        "supported",
        "outbound",
        _OUR_TAGS,
        "ours names all that it supports",
        "RFC 3261 11.1 has OPTIONS tell it.",
    ),
    _excuse(
        _IN_CALL, "supported", "outbound", None, "ours has none inside of a call but in INVITE", _NOTHING_TO_ANSWER
    ),
    _excuse(
        "ACK",
        "user-agent",
        "rig-sc",
        None,
        "ours has none",
        "RFC 3261 20.41 leaves it open, and the INVITE that it belongs to has it.",
    ),
    _excuse(
        "OPTIONS",
        "accept",
        None,
        "application/sdp",
        "ours says which bodies it takes",
        "RFC 3261 11.1 wants it.",
    ),
    _excuse(
        "OPTIONS",
        "content-type",
        "application/sdp",
        None,
        "ours has none",
        "There is no body of which it could be the type (RFC 3261 20.15).",
    ),
    _excuse(
        "OPTIONS REGISTER",
        "authorization",
        None,
        _DIGEST,
        "ours shows the digest to the registrar again without being asked, in un-REGISTER and in OPTIONS to our own address",
        "RFC 3261 22.2 has it reused for the address in To for which it was asked, which saves a refusal.",
    ),
    _excuse(
        f"INVITE {_IN_CALL}",
        "proxy-authorization",
        None,
        _DIGEST,
        "ours shows the digest to the proxy again in the call",
        "RFC 3261 22.3 has it in all further requests of a Call-ID for which a proxy asked for it.",
    ),
    _excuse(
        "REGISTER",
        "proxy-authorization",
        None,
        _DIGEST,
        "ours shows the digest to the proxy after the call, too",
        "RFC 3261 22.3 allows it to who knows its outbound proxy, which is the server that we are connected to.",
    ),
    _excuse(
        "INVITE INFO BYE",
        "server",
        None,
        "rig-sc",
        "ours has the name of the application in answers",
        "RFC 3261 20.35 has it for answers as User-Agent for requests.",
        status="200",
    ),
    _excuse(
        "INVITE",
        "supported",
        "gruu,ice,replaces,outbound",
        None,
        "ours says nothing in the 100",
        "It only ends the repeating of the INVITE (RFC 3261 17.2.1), and the answers after it say this.",
        status="100",
    ),
    _excuse(
        "INVITE",
        "supported",
        "gruu,ice,replaces,outbound",
        _OUR_TAGS,
        "ours has `100rel` and `norefersub`, and not `ice`",
        "As in INVITE.",
        status="200",
    ),
    _excuse(
        "INVITE",
        "allow",
        None,
        _OUR_METHODS,
        "ours says in the 200 what it understands",
        "RFC 3261 13.3.1.4 wants it.",
        status="200",
    ),
    _excuse(
        "INVITE",
        "server",
        None,
        "rig-sc",
        "ours has the name of the application in answers",
        "RFC 3261 20.35 has it for answers as User-Agent for requests.",
        status="180",
    ),
    _excuse(
        "INVITE",
        "supported",
        "gruu,ice,replaces,outbound",
        _OUR_TAGS,
        "ours has `100rel` and `norefersub`, and not `ice`",
        "As in INVITE.",
        status="180",
    ),
    _excuse(
        "INVITE",
        "allow",
        None,
        _OUR_METHODS,
        "ours says in the 180 what it understands",
        "The 180 makes a dialog, in which the caller may use it already (RFC 3311 5.1).",
        status="180",
    ),
    _excuse(
        "INFO BYE",
        "supported",
        "outbound",
        None,
        "ours has none in answers inside of a call",
        "The INVITE and its answer have said it.",
        status="200",
    ),
)

FURTHER: tuple[Further, ...] = (
    Further(
        after="presentation stopped",
        names=("presentation offer", "ack of presentation offer"),
        method="INVITE",
        difference="ours ends a presentation with a re-INVITE, too, that makes the line recvonly",
        reason="So the server need not keep a decoder, and can give us the presentation of somebody else on this line.",
    ),
)


def find(message: str, field: str, theirs: str | None, ours: str | None, among: Iterable[Excuse]) -> Excuse | None:
    return next((one for one in among if one.fits(message, field, theirs, ours)), None)


def markdown() -> str:
    """The list as a table for people."""
    rows = [(", ".join(sorted(one.messages)), f"`{one.field}`", one.difference, one.reason) for one in JUSTIFIED]
    rows += [(f"a further {one.method}", f"after “{one.after}”", one.difference, one.reason) for one in FURTHER]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["| Message | Field | Difference | Why |", "| --- | --- | --- | --- |", *lines]) + "\n"
