"""What the attributes of a media part mean: codecs, directions, extensions, transports."""

from __future__ import annotations

import enum
import re

from attrs import field, frozen

from sipproto.sdp._model import MediaDescription, SessionDescription

_RTPMAP = re.compile(r"([0-9]{1,3}) ([^/ ]+)/([0-9]{1,7})(?:/([0-9]{1,2}))? *")
_EXTMAP = re.compile(r"([0-9]{1,5})(?:/([a-z]+))? (\S+)(?: .*)?")
_SSRC = re.compile(r"([0-9]{1,10})(?: cname:(\S+))?.*")

# RFC 3551 6: payload types that mean something without an rtpmap.
STATIC_CODECS = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    13: ("CN", 8000, 1),
    18: ("G729", 8000, 1),
    26: ("JPEG", 90000, 1),
    31: ("H261", 90000, 1),
    34: ("H263", 90000, 1),
}

# LENIENT: any visible ASCII, although ufrags and passwords are of letters, digits, "+" and "/" (RFC 8839 5.4).
_ICE_CREDENTIAL = re.compile(r"[!-~]{1,256}")
# RFC 8122 5 with RFC 8826 4.2.2.1: nothing weaker proves whose certificate it is.
_HASHES = frozenset({"sha-256", "sha-384", "sha-512"})
_AUXILIARY = frozenset({"rtx", "telephone-event", "cn", "red", "ulpfec", "flexfec-03"})


class Direction(enum.Enum):
    """Direction of a media line, from the side of whoever wrote it (RFC 8866 6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> Direction:
        """The same line seen from the other side."""
        return direction(self.receives, self.sends)


def direction(sends: bool, receives: bool) -> Direction:
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE


@frozen(kw_only=True)
class Codec:
    """A payload type and what it stands for. `parameters` is the text of its fmtp line."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    parameters: str = ""
    feedback: tuple[str, ...] = ()

    @property
    def is_rtx(self) -> bool:
        return self.name.lower() == "rtx"

    @property
    def is_auxiliary(self) -> bool:
        """Whether it goes with another codec and carries neither sound nor pictures of its own."""
        return self.name.lower() in _AUXILIARY

    @property
    def apt(self) -> int | None:
        """For rtx, the payload type that it repeats (RFC 4588 8.1)."""
        value = self.parameter("apt") if self.is_rtx else None
        return int(value) if value is not None and value.isdecimal() and len(value) <= 3 else None

    def parameter(self, name: str) -> str | None:
        """One parameter of the fmtp line; names are case-insensitive."""
        for part in self.parameters.split(";"):
            key, _, value = part.partition("=")
            if key.strip().lower() == name.lower():
                return value.strip()
        return None


@frozen(kw_only=True)
class RemoteTransport:
    """Where and how to reach the peer: ICE (RFC 8839) and DTLS (RFC 8842) as it described them."""

    ice_ufrag: str
    ice_pwd: str = field(repr=False)
    candidates: tuple[str, ...] = ()
    ice_lite: bool = False
    fingerprints: tuple[tuple[str, str], ...] = ()
    setup: str = "actpass"
    tls_id: str | None = None

    def same_ice(self, other: RemoteTransport) -> bool:
        """Whether both have the same ICE credentials; with others the peer restarted ICE (RFC 8839 4.4.1.1.1)."""
        return (self.ice_ufrag, self.ice_pwd) == (other.ice_ufrag, other.ice_pwd)

    def same_dtls(self, other: RemoteTransport) -> bool:
        """Whether both mean the same DTLS association: no other certificate and no other tls-id (RFC 8842 3.1).

        A peer may name more or fewer hashes of one certificate than before; those that both name have to agree.
        """
        common = {algorithm for algorithm, _ in self.fingerprints} & {algorithm for algorithm, _ in other.fingerprints}
        mine, theirs = ({f for f in each.fingerprints if f[0] in common} for each in (self, other))
        changed_id = self.tls_id is not None and other.tls_id is not None and self.tls_id != other.tls_id
        return bool(common) and mine == theirs and not changed_id


def codecs_of(media: MediaDescription) -> tuple[Codec, ...]:
    """The codecs of a media line in its order of preference; formats without a meaning are left out."""
    maps: dict[str, tuple[str, int, int]] = {}
    for value in media.attributes("rtpmap"):
        if match := _RTPMAP.fullmatch(value):
            # LENIENT: it is always opus/48000/2 (RFC 7587 7), but some leave the 2 out (GStreamer).
            channels = match[4] or (2 if match[2].lower() == "opus" else 1)
            maps[match[1]] = (match[2], int(match[3]), int(channels))
    parameters = _by_format(media.attributes("fmtp"))
    feedback = _by_format(media.attributes("rtcp-fb"))
    out: list[Codec] = []
    for fmt in dict.fromkeys(media.formats):
        number = int(fmt) if fmt.isascii() and fmt.isdecimal() and len(fmt) <= 3 else 128
        known = maps.get(fmt) or STATIC_CODECS.get(number)
        if number > 127 or known is None:
            continue
        out.append(
            Codec(
                payload_type=number,
                name=known[0],
                clock_rate=known[1],
                channels=known[2],
                parameters=(parameters.get(fmt) or [""])[0],
                feedback=tuple(feedback.get(fmt, []) + feedback.get("*", [])),
            )
        )
    return tuple(out)


def _by_format(values: list[str]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for value in values:
        fmt, _, rest = value.partition(" ")
        out.setdefault(fmt, []).append(rest.strip())
    return out


def direction_of(sdp: SessionDescription, media: MediaDescription) -> Direction:
    """The direction of a line; `sendrecv` when nothing is said (RFC 8866 6.7)."""
    for section in (media.section, sdp.session):
        for candidate in Direction:
            if section.attribute(candidate.value) is not None:
                return candidate
    return Direction.SENDRECV


def is_rejected(media: MediaDescription) -> bool:
    """Whether a line is refused or over: its port is 0 (RFC 3264 6, 8.2). In an offer one that may only be bundled has it, too,
    and is wanted (`a=bundle-only`, RFC 9143 6)."""
    return media.port == 0 and media.attribute("bundle-only") is None


def extensions_of(sdp: SessionDescription, media: MediaDescription) -> dict[str, int]:
    """Header extensions: URI to id (RFC 8285 5). Of several with one id the first counts, as packets cannot tell them apart."""
    out: dict[int, str] = {}
    for value in sdp.inherited_all(media, "extmap"):
        match = _EXTMAP.fullmatch(value)
        if match is not None and 1 <= int(match[1]) <= 255 and match[3] not in out.values():
            out.setdefault(int(match[1]), match[3])
    return {uri: ident for ident, uri in out.items()}


def ssrcs_of(media: MediaDescription) -> tuple[int, ...]:
    """The synchronisation sources that the peer says it sends from (RFC 5576), without those of rtx."""
    repair = set()
    for group in media.attributes("ssrc-group"):
        semantics, *members = group.split() or [""]
        if semantics in ("FID", "FEC-FR"):
            repair.update(members[1:])
    out: dict[int, None] = {}
    for value in media.attributes("ssrc"):
        match = _SSRC.fullmatch(value)
        if match and match[1] not in repair and int(match[1]) < 2**32:
            out[int(match[1])] = None
    return tuple(out)


def streams_of(media: MediaDescription) -> tuple[str, ...]:
    """The ids of the streams that the sender of a line puts it in (RFC 8830 2); "-" is none."""
    out = [value.split(" ", 1)[0] for value in media.attributes("msid")]
    return tuple(dict.fromkeys(stream for stream in out if stream not in ("", "-")))


def packet_time_of(media: MediaDescription) -> int | None:
    """The milliseconds of sound that its writer would like in a packet: ptime, not more than maxptime (RFC 8866 6.4).

    None: it does not say, or no whole number from 1 to 1000.
    """
    wanted, most = (_milliseconds(media.attribute(name)) for name in ("ptime", "maxptime"))
    return wanted if wanted is None or most is None else min(wanted, most)


def _milliseconds(value: str | None) -> int | None:
    text = (value or "").strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else 0
    return number if 1 <= number <= 1000 else None


def transport_of(sdp: SessionDescription, media: MediaDescription) -> RemoteTransport | None:
    """The peer's transport of a line; None when it has no ICE credentials or no certificate fingerprint of a known hash."""
    ufrag, pwd = sdp.inherited(media, "ice-ufrag") or "", sdp.inherited(media, "ice-pwd") or ""
    fingerprints: list[tuple[str, str]] = []
    for value in sdp.inherited_all(media, "fingerprint"):
        algorithm, _, digest = value.partition(" ")
        if algorithm.lower() in _HASHES:
            fingerprints.append((algorithm.lower(), digest.strip().upper()))
    if not fingerprints or not all(map(_ICE_CREDENTIAL.fullmatch, (ufrag, pwd))):
        return None
    return RemoteTransport(
        ice_ufrag=ufrag,
        ice_pwd=pwd,
        candidates=tuple(media.attributes("candidate")),
        ice_lite=sdp.session.attribute("ice-lite") is not None,
        fingerprints=tuple(fingerprints),
        setup=(sdp.inherited(media, "setup") or "actpass").lower(),
        tls_id=sdp.inherited(media, "tls-id"),
    )


def bundle_groups(sdp: SessionDescription) -> list[list[str]]:
    """The mids of each BUNDLE group (RFC 9143 7)."""
    out = []
    for value in sdp.session.attributes("group"):
        semantics, *mids = value.split() or [""]
        if semantics == "BUNDLE":
            out.append(mids)
    return out
