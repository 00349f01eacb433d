"""What carries the lines of a description of the peer: BUNDLE groups and lines that stand alone (RFC 9143 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

from attrs import evolve, frozen

from sipproto.negotiation._agreement import Line
from sipproto.negotiation._values import NegotiationError
from sipproto.sdp import Direction, RemoteTransport, SessionDescription, bundle_groups, transport_of


@frozen(kw_only=True)
class _Carrier:
    """One transport of the peer. `slot`: that of the line which describes it. `members`: the places of its lines."""

    group: int | None
    slot: int
    remote: RemoteTransport | None
    members: tuple[int, ...]


def carried_offer(
    sdp: SessionDescription,
    lines: Sequence[Line],
    known: Mapping[int, RemoteTransport],
    free_slot: Callable[[Set[int]], int],
) -> list[Line]:
    """The lines of an offer with what carries each; those that nothing carries are rejected.

    known: the transports agreed on. A line that leaves its group gets a slot of its own (RFC 9143 7.5.2); whoever goes on
    with the ICE session of a slot keeps that. Raises NegotiationError for two lines of one mid, and a line in two groups (5).
    """
    carriers = _carriers(sdp, lines)
    slots: dict[int, int] = {}  # by place among the carriers
    for place, one in enumerate(carriers):
        goes_on = one.remote is not None and one.slot in known and one.remote.same_ice(known[one.slot])
        if goes_on and one.slot not in slots.values():
            slots[place] = one.slot
    for place, one in enumerate(carriers):
        if place not in slots:
            taken = {*slots.values(), *(line.slot for line in lines)}
            slots[place] = free_slot(taken) if one.slot in slots.values() else one.slot
    out = list(lines)
    for place, one in enumerate(carriers):
        for member in one.members:
            line = evolve(lines[member], slot=slots[place], group=one.group, remote=one.remote)
            nothing = evolve(line, rejected=True, current=Direction.INACTIVE)
            out[member] = line if one.remote is not None else nothing
    return out


def carried_answer(sdp: SessionDescription, lines: Sequence[Line]) -> list[Line]:
    """The lines of an answer with what carries each; `remote` is None where nothing does.

    Raises NegotiationError as `carried_offer`, and where lines that we offered on one transport have several: an
    answerer may not take a line out of its group (RFC 9143 7.3.2).
    """
    carriers = _carriers(sdp, lines, answer=True)
    if len({one.slot for one in carriers}) < len(carriers):
        raise NegotiationError("the answer takes a line out of the transport that it was offered on")
    out = list(lines)
    for one in carriers:
        for member in one.members:
            out[member] = evolve(lines[member], slot=one.slot, group=one.group, remote=one.remote)
    return out


def _carriers(sdp: SessionDescription, lines: Sequence[Line], *, answer: bool = False) -> list[_Carrier]:
    """`lines` are ours in the same places; those that are rejected need none.

    A group is described by the first of its lines that is not rejected and has a port of its own (RFC 9143 7.3.1). An
    answer groups no lines that were not offered in one group.
    """
    used = [place for place, line in enumerate(lines) if not line.rejected]
    places = {sdp.media[place].attribute("mid") or lines[place].mid: place for place in used}
    if len(places) < len(used):  # RFC 5888 4
        raise NegotiationError("two media lines have the same mid")
    out: list[_Carrier] = []
    grouped: set[int] = set()
    for number, mids in enumerate(bundle_groups(sdp)):
        members = [places[mid] for mid in dict.fromkeys(mids) if mid in places]
        if not grouped.isdisjoint(members):
            raise NegotiationError("a media line is in two BUNDLE groups")
        tag = next((place for place in members if sdp.media[place].port != 0), None)
        if tag is None or (answer and lines[tag].group is None):
            continue
        if answer:
            members = [place for place in members if lines[place].group == lines[tag].group]
        grouped.update(members)
        remote = transport_of(sdp, sdp.media[tag])
        out.append(_Carrier(group=number, slot=lines[tag].slot, remote=remote, members=tuple(members)))
    return out + _alone(sdp, lines, [place for place in used if place not in grouped])


def _alone(sdp: SessionDescription, lines: Sequence[Line], places: Sequence[int]) -> list[_Carrier]:
    """LENIENT: lines that shared a transport still do when they name the same one and only the group was forgotten."""
    out: list[_Carrier] = []
    ports: list[int] = []
    for place in places:
        port, slot = sdp.media[place].port, lines[place].slot
        remote = (
            transport_of(sdp, sdp.media[place]) if port != 0 else None
        )  # bundle-only, but in no bundle (RFC 9143 6)
        for index, other in enumerate(out):
            same = remote is not None and other.remote is not None and remote.same_ice(other.remote)
            if same and (slot, port) == (other.slot, ports[index]):
                out[index] = evolve(other, members=(*other.members, place))
                break
        else:
            out.append(_Carrier(group=None, slot=slot, remote=remote, members=(place,)))
            ports.append(port)
    return out
