"""What the conformance suite asks of sessions: calls of two engines, negotiated by real negotiators, through all changes."""

from __future__ import annotations

import time
from collections import Counter

from attrs import fields

from sipproto.agent.media import (
    ApplyMedia,
    CollectStats,
    DigitHeard,
    DigitSent,
    LineStats,
    MediaApplied,
    MediaReport,
    MediaState,
    OpenMedia,
    SendDigit,
)
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Codec
from sipproto_client._engine_bench import Bench, End, exchange

_HEADER = 12  # octets of an RTP packet at least (RFC 3550 5.1)
_EVENTS = Codec(payload_type=101, name="telephone-event", clock_rate=8000)
_DIGITS = ((1, 100), (11, 60), (15, 200))  # events and milliseconds


def connects(bench: Bench) -> None:
    """A session of two engines reaches CONNECTED at both ends, not before it was applied, and media flow both ways."""
    a, b = bench.pair()
    for kind in bench.kinds(a, b):
        a.negotiator.add_line(kind)
    offer = a.offer()
    bench.moment()
    assert MediaState.CONNECTED not in a.states, "CONNECTED is reported of a call without a session"
    a.take_answer(b.answer_to(offer))
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)
    assert a.measure().state is b.measure().state is MediaState.CONNECTED, "statistics say another state"


def without_bundle(bench: Bench) -> None:
    """With a peer that bundles nothing each line has a transport of its own; those not named any more are closed."""
    a, b = bench.connected(_unbundled)
    bench.expect_flow(a, b)
    kind = bench.kinds(a, b)[0]
    mid = a.negotiator.add_line(kind)
    exchange(a, b, _unbundled)
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)
    slot = next(line.slot for line in a.lines if line.mid == mid)
    before = a.open((slot,))
    a.negotiator.remove_line(mid)
    exchange(a, b, _unbundled)
    assert a.open((slot,))[slot].ice_ufrag != before[slot].ice_ufrag, (
        "a transport that is not named any more stays open"
    )
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)


def _unbundled(sdp: str) -> str:
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=group:BUNDLE"))


def hold_and_resume(bench: Bench) -> None:
    """On hold the line sends one way only and the call stays CONNECTED; resumed, media flow both ways again."""
    a, b = bench.connected()
    bench.expect_flow(a, b)
    for holder, held in ((a, b), (b, a)):
        holder.negotiator.hold = True
        exchange(holder, held)
        bench.expect_no_packets(held, [line.mid for line in held.lines], "although the peer holds the call")
        bench.expect_flow(holder)
        bench.expect_connected(a, b)
        holder.negotiator.hold = False
        exchange(holder, held)
        bench.expect_flow(a, b)
    bench.expect_connected(a, b)


def lines(bench: Bench) -> None:
    """A further line of a kind comes and goes in mid-call, from either side; the others go on."""
    a, b = bench.connected()
    kind = bench.kinds(a, b)[-1]
    for offerer, answerer in ((a, b), (b, a)):
        mid = offerer.negotiator.add_line(kind)
        exchange(offerer, answerer)
        bench.expect_flow(a, b)
        offerer.negotiator.remove_line(mid)
        exchange(offerer, answerer)
        bench.expect_flow(a, b)
    bench.expect_connected(a, b)


def codecs(bench: Bench) -> None:
    """Another codec is sent with when one is agreed on in mid-call."""
    a, b = bench.connected()
    bench.expect_flow(a, b)
    for kind in bench.kinds(a, b):
        names = [codec.name for codec in a.engine.capabilities.codecs(kind) if not codec.is_auxiliary]
        for name in dict.fromkeys([*names[1:2], names[0]]):
            a.negotiator.preferences = CodecPreferences(prefer=(f"{kind}/{name}",))
            exchange(a, b)
            for end in (a, b):
                line = end.line(kind)
                assert line is not None
                told = end.figures()[line.mid].codec
                assert told is None or told.lower() == line.codec.name.lower(), (
                    f"agreed on {line.codec.name}, but {told} is said to be in use"
                )
            bench.expect_flow(a, b)
    bench.expect_connected(a, b)


def ice_restart(bench: Bench) -> None:
    """After an ICE restart of either side the call is CONNECTED and media flow."""
    a, b = bench.connected()
    for offerer, answerer in ((a, b), (b, a)):
        offerer.negotiator.restart_ice()
        exchange(offerer, answerer)
        bench.moment()  # what would fall apart does so now
        bench.expect_connected(a, b)
        bench.expect_flow(a, b)


def ignored_restart(bench: Bench) -> None:
    """A restart that the peer ignores leaves everything as it was, and the next one succeeds."""
    a, b = bench.connected()
    a.negotiator.restart_ice()
    a.offer()
    a.take_answer(b.answer)  # which has the credentials of before
    bench.moment()
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)
    a.negotiator.restart_ice()
    exchange(a, b)
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)


def rollback(bench: Bench) -> None:
    """An offer that is rolled back leaves no trace: the agreed session again closes what was opened for it."""
    a, b = bench.connected(_unbundled)
    a.negotiator.add_line(bench.kinds(a, b)[0])
    a.negotiator.restart_ice()
    wanted = a.negotiator.missing_slots()
    a.offer()
    opened = a.open(wanted)
    a.negotiator.rollback()
    agreed = a.negotiator.agreed
    assert agreed is not None
    a.apply(agreed)
    bench.moment()
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)
    again = a.open(wanted)
    for slot in wanted:
        assert again[slot].ice_ufrag != opened[slot].ice_ufrag, (
            "a transport of an offer that was rolled back stays open"
        )


def fork(bench: Bench) -> None:
    """Another peer's answer to the same offer is gone over to, or the session fails; nothing hangs."""
    a, b = bench.pair()
    c = bench.end()  # with a certificate of its own: by that the two are told apart
    for kind in bench.kinds(a, b):
        a.negotiator.add_line(kind)
    offer = a.offer()
    other = a.negotiator.copy()
    a.take_answer(b.answer_to(offer))
    bench.expect_connected(a, b)
    session = other.receive_answer(c.answer_to(offer))
    reply = a.reply(a.start(ApplyMedia, session=session))
    if isinstance(reply, MediaApplied):
        a.session, a.negotiator = session, other
        bench.expect_connected(c, a)
        bench.expect_flow(a, c)


def statistics(bench: Bench) -> None:
    """Statistics are of the agreed lines; figures are in their ranges, counters never fall, and ids lead somewhere."""
    a, b = bench.connected()
    bench.expect_flow(a, b)
    before: dict[str, LineStats] = {}
    for _ in range(3):
        bench.moment()
        report = a.measure()
        for line in report.lines:
            _check_figures(line, before.get(line.mid, line))
        before = {line.mid: line for line in report.lines}
        _check_ids(report, {line.mid for line in a.lines})


def _check_ids(report: MediaReport, mids: set[str]) -> None:
    """Of the values that are named as those of W3C, for engines that have them."""
    known = Counter(entry.id for entry in report.stats)
    twice = sorted(ident for ident, times in known.items() if times > 1)
    assert not twice, f"the ids {twice} of statistics stand for several values"
    for entry in report.stats:
        for attribute in fields(type(entry)):
            value = getattr(entry, attribute.name)
            if attribute.name.endswith("_id") and value is not None:
                assert value in known, f"{attribute.name} of {entry.id!r} names {value!r}, which is not in the report"
        mid = getattr(entry, "mid", None)
        assert mid is None or mid in mids, f"{entry.id!r} is of the line {mid!r}, which was not agreed on"


def _check_figures(now: LineStats, before: LineStats) -> None:
    for name in ("packets_sent", "bytes_sent", "packets_received", "bytes_received", "frames_decoded"):
        value, last = getattr(now, name), getattr(before, name)
        assert value is None or value >= (last or 0) >= 0, f"{name} falls from {last} to {value}"
    assert now.bytes_sent >= _HEADER * now.packets_sent, f"bytes_sent ({now.bytes_sent}) are without the RTP headers"
    received = f"bytes_received ({now.bytes_received}) are without the RTP headers"
    assert now.bytes_received >= _HEADER * now.packets_received, received
    for name, greatest in (
        ("jitter", 60.0),
        ("round_trip_time", 60.0),
        ("audio_level", 1.0),
        ("audio_frequency", 24_000.0),
        ("frame_width", 65_535),
        ("frame_height", 65_535),
    ):
        value = getattr(now, name)
        assert value is None or 0 <= value <= greatest, f"{name} should be 0 to {greatest:g}, but is {value}"
    assert all(0 <= part <= 255 for part in now.color or ()), f"color should be parts of 0 to 255, but is {now.color}"


def digits(bench: Bench) -> None:
    """A digit is answered after its end, and heard by the other engine once, as long as it was sent."""
    a, b = bench.connected()
    for sender, listener in ((a, b), (b, a)):
        line = sender.line("audio")
        if line is None:
            return
        if not bench.can(SendDigit):
            codec = line.telephone_event or _EVENTS
            sender.fails("it is declared unsupported", SendDigit, line=line.index, event=1, duration=100, codec=codec)
            continue
        assert line.telephone_event is not None, (
            f"SendDigit is not declared unsupported, but there is no telephone-event of {line.codec.clock_rate} Hz"
        )
        for event, duration in _DIGITS:
            _send_digit(bench, sender, listener, event, duration)
        bench.moment()  # what is heard twice is heard now
        if bench.has_media:
            _check_heard(listener.digits, line.index)


def _send_digit(bench: Bench, sender: End, listener: End, event: int, duration: int) -> None:
    line = sender.line("audio")
    assert line is not None
    before, start = len(listener.digits), time.monotonic()
    sender.does(DigitSent, SendDigit, line=line.index, event=event, duration=duration, codec=line.telephone_event)
    took = time.monotonic() - start
    if bench.has_media:
        # Its time is that of RTP: a sender that is late sends the packets that it owes at once.
        assert took >= 0.5 * duration / 1000, f"a digit of {duration} ms is said to be sent after {took * 1000:.0f} ms"
        bench.until(lambda: len(listener.digits) > before, f"the peer does not hear the digit of event {event}")


def _check_heard(heard: list[DigitHeard], line: int) -> None:
    assert [digit.event for digit in heard] == [event for event, _ in _DIGITS], (
        f"other digits are heard than sent: {heard}"
    )
    for digit, (_, duration) in zip(heard, _DIGITS, strict=True):
        assert digit.line == line, f"a digit of line {line} is heard on line {digit.line}"
        assert abs(digit.duration - duration) <= duration / 2, f"{duration} ms are heard as {digit.duration} ms"


def many_calls(bench: Bench) -> None:
    """Many calls at once are kept apart: each has its own transports, sessions and end."""
    left, right = bench.engine(), bench.engine()
    ends = [bench.end(left) for _ in range(20)]
    numbers = [end.start(OpenMedia, slots=(0,)) for end in ends]
    for end, number in reversed(list(zip(ends, numbers, strict=True))):
        end.reply(number)
    ufrags = {end.open((0,))[0].ice_ufrag for end in ends}
    assert len(ufrags) == len(ends), "calls share their ICE credentials"
    for end in ends:
        end.close()
    pairs = [(bench.end(left), bench.end(right)) for _ in range(3)]
    for a, b in pairs:
        a.negotiator.add_line(bench.kinds(a, b)[0])
        exchange(a, b)
    for a, b in pairs:
        bench.expect_connected(a, b)
    (first, _), *rest = pairs
    measured = [end.start(CollectStats) for pair in rest for end in pair]
    first.close()
    for end, number in zip([end for pair in rest for end in pair], measured, strict=True):
        end.reply(number)
    bench.moment()
    for a, b in rest:
        bench.expect_connected(a, b)
        bench.expect_flow(a, b)
