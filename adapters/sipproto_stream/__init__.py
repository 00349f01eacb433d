"""Where a SIP server is: RFC 3263 and host mapping, without I/O. `sipproto_stream.lookup` asks the DNS with dnspython."""

from sipproto_stream._avoid import AvoidList
from sipproto_stream._hosts import HostMapping, find_mapping, host_is_usable, numeric_host, parse_host_mapping
from sipproto_stream._locator import (
    Answer,
    Found,
    Locator,
    LookupFailed,
    Naptr,
    NotFound,
    Question,
    QuestionKind,
    Srv,
    Target,
    order_srv,
)

__all__ = [
    "Answer",
    "AvoidList",
    "Found",
    "HostMapping",
    "Locator",
    "LookupFailed",
    "Naptr",
    "NotFound",
    "Question",
    "QuestionKind",
    "Srv",
    "Target",
    "find_mapping",
    "host_is_usable",
    "numeric_host",
    "order_srv",
    "parse_host_mapping",
]
