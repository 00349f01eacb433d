"""What becomes of every message of RFC 4475 and RFC 5118: one row each, read by `test_torture.py`.

`stage` says who objects first: nobody, `validate`, or the parser. The last column is for streams, where it differs.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from sipproto.errors import Fault

VECTORS = Path(__file__).parents[1] / "vectors"


@frozen
class Expected:
    """`stage`: "accept", "validate" or "parse". `stream`: "same", "waits", or the fault that ends the stream."""

    stage: str
    fault: Fault | None = None
    status: int = 0
    stream: str | Fault = "same"


ACCEPT = Expected("accept")


def refused(fault: Fault, status: int, stream: str | Fault = "same") -> Expected:
    return Expected("validate", fault, status, stream)


RFC4475 = {
    # 3.1.1: valid messages
    "wsinv": ACCEPT,
    "intmeth": ACCEPT,
    "esc01": ACCEPT,
    "escnull": ACCEPT,
    "esc02": ACCEPT,
    "lwsdisp": ACCEPT,
    "longreq": ACCEPT,
    "dblreq": Expected("accept", stream=Fault.START_LINE),  # its second message is longer than it says
    "semiuri": ACCEPT,
    "transports": ACCEPT,
    "mpart01": ACCEPT,
    "unreason": ACCEPT,
    "noreason": ACCEPT,
    # 3.1.2: invalid messages
    "badinv01": refused(Fault.BAD_HEADER, 400),
    "clerr": refused(Fault.INCOMPLETE, 400, "waits"),
    "ncl": refused(Fault.BAD_HEADER, 400, Fault.CONTENT_LENGTH),
    "scalar02": refused(Fault.BAD_HEADER, 400),
    "scalarlg": refused(Fault.BAD_HEADER, 400),  # a response: dropped
    "quotbal": refused(Fault.BAD_URI, 400),
    "ltgtruri": refused(Fault.REQUEST_URI, 400),
    "lwsruri": refused(Fault.REQUEST_URI, 400),
    "lwsstart": refused(Fault.REQUEST_URI, 400),
    "trws": ACCEPT,  # as the RFC allows; the spaces are not kept
    "escruri": refused(Fault.REQUEST_URI, 400),
    "baddate": ACCEPT,  # who does not need the Date should ignore it
    "regbadct": refused(Fault.BAD_HEADER, 400),
    "badaspec": refused(Fault.BAD_URI, 400),
    "baddn": Expected("parse", Fault.INCOMPLETE, 400, "waits"),  # the file lacks its empty line; closed below
    "badvers": refused(Fault.VERSION, 505),
    "mismatch01": refused(Fault.CSEQ_METHOD, 400),
    "mismatch02": refused(Fault.UNKNOWN_METHOD, 501),
    "bigcode": Expected("parse", Fault.START_LINE, 0, Fault.START_LINE),
    # 3.2, 3.3, 3.4: well formed, for later layers
    "badbranch": refused(Fault.BAD_HEADER, 400),
    "insuf": refused(Fault.MISSING_HEADER, 400),
    "unkscm": ACCEPT,
    "novelsc": ACCEPT,
    "unksm2": ACCEPT,
    "bext01": ACCEPT,
    "invut": ACCEPT,
    "regaut01": ACCEPT,
    "multi01": refused(Fault.REPEATED_HEADER, 400),
    "mcl01": refused(Fault.REPEATED_HEADER, 400, Fault.CONTENT_LENGTH),
    "bcast": ACCEPT,
    "zeromf": ACCEPT,
    "cparam01": ACCEPT,
    "cparam02": ACCEPT,
    "regescrt": ACCEPT,
    "sdp01": ACCEPT,
    "inv2543": Expected("accept", stream=Fault.CONTENT_LENGTH),  # legal in a datagram only
}
RFC5118 = {
    "ipv6-good": ACCEPT,
    "ipv6-bad": refused(Fault.REQUEST_URI, 400),
    "port-ambiguous": ACCEPT,
    "port-unambiguous": ACCEPT,
    "via-received-param-with-delim": ACCEPT,
    "via-received-param-no-delim": ACCEPT,
    "ipv6-in-sdp": ACCEPT,
    "mult-ip-in-header": ACCEPT,
    "mult-ip-in-sdp": ACCEPT,
    "ipv4-mapped-ipv6": ACCEPT,
    "ipv6-bug-abnf-3-colons": ACCEPT,
    "ipv6-correct-abnf-2-colons": ACCEPT,
}
EXPECTED = {**RFC4475, **RFC5118}


@frozen
class Deviation:
    """A message that we deliberately treat otherwise than its RFC asks."""

    name: str
    reason: str


DEVIATIONS: tuple[Deviation, ...] = ()


def octets(name: str) -> bytes:
    folder = VECTORS / ("rfc5118/wire" if name in RFC5118 else "rfc4475")
    return (folder / f"{name}.dat").read_bytes()
