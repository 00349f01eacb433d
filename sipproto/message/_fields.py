"""Every header field known by type: name, compact form, whether it is a comma-separated list, and its parser.

Reading `headers.get(fields.CONTACT)` gives a typed value; a field that is not listed here is kept as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import frozen

from sipproto.message import _values as v

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ALL_FIELDS: dict[str, Field[object]] = {}


@frozen(eq=False)
class Field(Generic[T_co]):
    """A header field. `key` is the name in lower case; `listed` fields hold comma-separated values."""

    name: str
    key: str
    parse: Callable[[str], T_co]
    listed: bool


def _one(name: str, parse: Callable[[str], T]) -> Field[T]:
    field = Field(name, name.lower(), parse, False)
    ALL_FIELDS[field.key] = field
    return field


def _many(name: str, parse: Callable[[str], T]) -> Field[T]:
    field = Field(name, name.lower(), parse, True)
    ALL_FIELDS[field.key] = field
    return field


# RFC 3261 20, in its order
ACCEPT = _many("Accept", v.parse_media_type)
ACCEPT_ENCODING = _many("Accept-Encoding", v.parse_token_params)
ACCEPT_LANGUAGE = _many("Accept-Language", v.parse_token_params)
ALERT_INFO = _many("Alert-Info", v.parse_uri_params)
ALLOW = _many("Allow", v.parse_token)
AUTHENTICATION_INFO = _one("Authentication-Info", v.parse_auth_info)
AUTHORIZATION = _one("Authorization", v.parse_auth)
CALL_ID = _one("Call-ID", v.parse_call_id)
CALL_INFO = _many("Call-Info", v.parse_uri_params)
CONTACT = _many("Contact", v.parse_contact)
CONTENT_DISPOSITION = _one("Content-Disposition", v.parse_token_params)
CONTENT_ENCODING = _many("Content-Encoding", v.parse_token)
CONTENT_LANGUAGE = _many("Content-Language", v.parse_token)
CONTENT_LENGTH = _one("Content-Length", v.parse_delta)
CONTENT_TYPE = _one("Content-Type", v.parse_media_type)
CSEQ = _one("CSeq", v.parse_cseq)
DATE = _one("Date", v.parse_date)
ERROR_INFO = _many("Error-Info", v.parse_uri_params)
EXPIRES = _one("Expires", v.parse_delta)
FROM = _one("From", v.parse_name_addr)
IN_REPLY_TO = _many("In-Reply-To", v.parse_call_id)
MAX_FORWARDS = _one("Max-Forwards", v.parse_max_forwards)
MIME_VERSION = _one("MIME-Version", v.parse_text)
MIN_EXPIRES = _one("Min-Expires", v.parse_delta)
ORGANIZATION = _one("Organization", v.parse_text)
PRIORITY = _one("Priority", v.parse_token)
PROXY_AUTHENTICATE = _one("Proxy-Authenticate", v.parse_auth)
PROXY_AUTHORIZATION = _one("Proxy-Authorization", v.parse_auth)
PROXY_REQUIRE = _many("Proxy-Require", v.parse_token)
RECORD_ROUTE = _many("Record-Route", v.parse_name_addr)
REPLY_TO = _one("Reply-To", v.parse_name_addr)
REQUIRE = _many("Require", v.parse_token)
RETRY_AFTER = _one("Retry-After", v.parse_delta_params)
ROUTE = _many("Route", v.parse_name_addr)
SERVER = _one("Server", v.parse_text)
SUBJECT = _one("Subject", v.parse_text)
SUPPORTED = _many("Supported", v.parse_token)
TIMESTAMP = _one("Timestamp", v.parse_timestamp)
TO = _one("To", v.parse_name_addr)
UNSUPPORTED = _many("Unsupported", v.parse_token)
USER_AGENT = _one("User-Agent", v.parse_text)
VIA = _many("Via", v.parse_via)
WARNING = _many("Warning", v.parse_warning)
WWW_AUTHENTICATE = _one("WWW-Authenticate", v.parse_auth)
# Extensions
PROXY_AUTHENTICATION_INFO = _one("Proxy-Authentication-Info", v.parse_auth_info)  # RFC 7615 4
ALLOW_EVENTS = _many("Allow-Events", v.parse_token)  # RFC 6665 8.2.2
EVENT = _one("Event", v.parse_token_params)  # RFC 6665 8.2.1
SUBSCRIPTION_STATE = _one("Subscription-State", v.parse_token_params)  # RFC 6665 8.2.3
SIP_ETAG = _one("SIP-ETag", v.parse_token)  # RFC 3903 11.3.1
SIP_IF_MATCH = _one("SIP-If-Match", v.parse_token)  # RFC 3903 11.3.2
RACK = _one("RAck", v.parse_rack)  # RFC 3262 7.2
RSEQ = _one("RSeq", v.parse_delta)  # RFC 3262 7.1
SESSION_EXPIRES = _one("Session-Expires", v.parse_delta_params)  # RFC 4028 4
MIN_SE = _one("Min-SE", v.parse_delta_params)  # RFC 4028 5
REFER_TO = _one("Refer-To", v.parse_name_addr)  # RFC 3515 2.1
REFERRED_BY = _one("Referred-By", v.parse_name_addr)  # RFC 3892 3
REFER_SUB = _one("Refer-Sub", v.parse_token_params)  # RFC 4488 4
TARGET_DIALOG = _one("Target-Dialog", v.parse_text)  # RFC 4538 7
REPLACES = _one("Replaces", v.parse_replaces)  # RFC 3891 6.1
JOIN = _one("Join", v.parse_replaces)  # RFC 3911 7.1
REASON = _many("Reason", v.parse_token_params)  # RFC 3326 2
PATH = _many("Path", v.parse_name_addr)  # RFC 3327 4
SERVICE_ROUTE = _many("Service-Route", v.parse_name_addr)  # RFC 3608 5
FLOW_TIMER = _one("Flow-Timer", v.parse_delta)  # RFC 5626 11.1
P_ASSERTED_IDENTITY = _many("P-Asserted-Identity", v.parse_name_addr)  # RFC 3325 9.1
P_PREFERRED_IDENTITY = _many("P-Preferred-Identity", v.parse_name_addr)  # RFC 3325 9.2
P_ASSOCIATED_URI = _many("P-Associated-URI", v.parse_name_addr)  # RFC 7315 4.1
P_CALLED_PARTY_ID = _one("P-Called-Party-ID", v.parse_name_addr)  # RFC 7315 4.2
PRIVACY = _one("Privacy", v.parse_privacy)  # RFC 3323 4.2
HISTORY_INFO = _many("History-Info", v.parse_name_addr)  # RFC 7044 5
DIVERSION = _many("Diversion", v.parse_name_addr)  # RFC 5806
INFO_PACKAGE = _one("Info-Package", v.parse_token_params)  # RFC 6086 7
RECV_INFO = _many("Recv-Info", v.parse_token_params)  # RFC 6086 7
ACCEPT_CONTACT = _many("Accept-Contact", v.parse_text)  # RFC 3841 9.2
REJECT_CONTACT = _many("Reject-Contact", v.parse_text)  # RFC 3841 9.2
REQUEST_DISPOSITION = _many("Request-Disposition", v.parse_token)  # RFC 3841 9.1
SECURITY_CLIENT = _many("Security-Client", v.parse_token_params)  # RFC 3329 2.2
SECURITY_SERVER = _many("Security-Server", v.parse_token_params)  # RFC 3329 2.2
SECURITY_VERIFY = _many("Security-Verify", v.parse_token_params)  # RFC 3329 2.2
IDENTITY = _one("Identity", v.parse_text)  # RFC 8224 4

# Compact forms: RFC 3261 7.3.3 and the registry of header fields
COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
