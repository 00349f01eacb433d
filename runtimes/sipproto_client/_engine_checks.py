"""What the conformance suite asks of an engine's operations, one after the other; no media have to flow for it."""

from __future__ import annotations

import re
import time
from collections import Counter

from attrs import evolve

from sipproto.agent.media import (
    ApplyMedia,
    AskKeyFrame,
    CollectStats,
    KeyFrameAsked,
    OpenMedia,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
)
from sipproto.agent.parameters import (
    ContentHint,
    DegradationPreference,
    EffectiveParameters,
    Encoding,
    SenderParameters,
)
from sipproto.negotiation import LocalTransport, MediaLine
from sipproto.sdp import STATIC_CODECS, Codec
from sipproto_client._engine_bench import Bench, End, exchange

_AT_ONCE = 0.25  # seconds: a loop that waits longer for `perform` delays every other call
_CLOSING = 10.0  # seconds that close() may take
_EVENTS = Codec(payload_type=101, name="telephone-event", clock_rate=8000)
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/]+")  # RFC 8839 5.4
_CANDIDATE = re.compile(r"[A-Za-z0-9+/]{1,32} [12] \S+ [0-9]{1,10} \S+ [0-9]{1,5} typ [a-z]+( .*)?")  # RFC 8839 5.1
_DIGEST = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2})+")
_SIZES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # a token (RFC 8866 9)
_RTCP = range(64, 96)  # payload types that look like RTCP (RFC 5761 4)


# -- what it says of itself ----------------------------------------------------------------------------------------------


def capabilities(bench: Bench) -> None:
    """Its codecs can be offered: payload types are used once, rtx repeats a codec of its kind, names are tokens."""
    engine = bench.engine()
    able = engine.capabilities
    assert engine.capabilities == able, "the capabilities change from one look to the next"
    assert bench.kinds(bench.end(engine)), "no codec carries audio or video"
    used = Counter(codec.payload_type for codec in (*able.audio, *able.video))
    twice = sorted(number for number, times in used.items() if times > 1)
    assert not twice, f"the payload types {twice} stand for several codecs"
    for kind in ("audio", "video"):
        for codec in able.codecs(kind):
            _check_codec(codec, able.codecs(kind))
        extensions = able.extensions(kind)
        assert len(set(extensions)) == len(extensions), f"a header extension of {kind} is named twice"
        assert all(uri and not re.search(r"\s", uri) for uri in extensions), f"header extensions of {kind} are no URIs"


def _check_codec(codec: Codec, of_its_kind: tuple[Codec, ...]) -> None:
    number, name = codec.payload_type, codec.name
    assert _NAME.fullmatch(name), f"the name of a codec is no token: {name!r}"
    assert codec.clock_rate > 0 and codec.channels > 0, f"{name} has no clock rate, or no channels"
    assert 0 <= number <= 127 and number not in _RTCP, f"{name} has the payload type {number}, which cannot be used"
    known = STATIC_CODECS.get(number)
    assert known is None or known[0].lower() == name.lower(), f"the payload type {number} of {name} is that of {known}"
    if codec.is_rtx:
        repeated = {other.payload_type for other in of_its_kind if not other.is_auxiliary}
        assert codec.apt in repeated, (
            f"the rtx {number} repeats the payload type {codec.apt}, which is none of its kind"
        )


# -- operations and replies ------------------------------------------------------------------------------------------------


def returns_at_once(bench: Bench) -> None:
    """`perform` returns at once: nothing is opened, connected or measured while the caller waits."""
    took: dict[str, list[float]] = {}

    def perform(end: End, kind: type[OpenMedia | CollectStats], **parameters: object) -> None:
        before = time.monotonic()
        number = end.start(kind, **parameters)
        took.setdefault(kind.__name__, []).append(time.monotonic() - before)
        end.reply(number)

    engine = bench.engine()
    for _ in range(3):  # of which the quickest counts: a busy machine is not the engine's fault
        end = bench.end(engine)
        perform(end, OpenMedia, slots=(0, 1))
        perform(end, CollectStats)
        before = time.monotonic()
        end.close()
        took.setdefault("CloseMedia", []).append(time.monotonic() - before)
    for name, times in took.items():
        assert min(times) < _AT_ONCE, f"perform takes {min(times):.2f} s for {name}"


def answers_once(bench: Bench) -> None:
    """Every request gets exactly one reply, with its number, to the `report` that came with it."""
    a, b = bench.connected()
    for end in (a, b):
        numbers = [end.start(CollectStats) for _ in range(5)]
        numbers += [end.start(OpenMedia, slots=(0,), restart=restart) for restart in (False, True, True)]
        numbers.append(end.start(ApplyMedia, session=end.session))
        for line in end.lines:
            numbers.append(end.start(SetSenderParameters, line=line.index, parameters=SenderParameters()))
            numbers.append(end.start(AskKeyFrame, line=line.index, ours=True))
            numbers.append(end.start(AskKeyFrame, line=line.index, ours=False))
            codec = line.telephone_event or _EVENTS
            numbers.append(end.start(SendDigit, line=line.index, event=1, duration=60, codec=codec))
        for number in numbers:
            end.reply(number)
    bench.moment()  # a second reply would be noticed now


def unknown_calls(bench: Bench) -> None:
    """Operations on a call that was never opened fail, but for OpenMedia; to close it is fine."""
    a, b = bench.connected()
    stranger, why = bench.end(a.engine), "the call was never opened"
    stranger.fails(why, ApplyMedia, session=a.session)
    _expect_gone(stranger, why)
    _expect_no_line(stranger, a.lines[0].index, why)
    stranger.close()
    bench.expect_flow(a, b)


def _expect_gone(end: End, why: str) -> None:
    end.fails(why, CollectStats)
    end.fails(why, OpenMedia, slots=(0,), restart=True)


def _expect_no_line(end: End, index: int, why: str) -> None:
    end.fails(why, SetSenderParameters, line=index, parameters=SenderParameters())
    end.fails(why, AskKeyFrame, line=index, ours=True)
    end.fails(why, AskKeyFrame, line=index, ours=False)
    end.fails(why, SendDigit, line=index, event=1, duration=100, codec=_EVENTS)


def wrong_order(bench: Bench) -> None:
    """What comes too early, or names slots that are not open, fails and changes nothing: the call comes up all the same."""
    other, _ = bench.connected()
    a, b = bench.pair()
    a.fails("no slot is open", ApplyMedia, session=other.session)
    a.fails("no slot is open", OpenMedia, slots=(0,), restart=True)
    for kind in bench.kinds(a, b):
        a.negotiator.add_line(kind)
    a.open_needed()
    a.fails("slot 17 is not open", OpenMedia, slots=(0, 17), restart=True)
    _expect_no_line(a, 0, "nothing was agreed on yet")
    exchange(a, b)
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)


def impossible_parameters(bench: Bench) -> None:
    """What cannot be done fails, with one line that has no secret in it, and leaves the call as it is."""
    a, b = bench.connected()
    session, line = a.session, a.lines[0]
    assert session is not None
    pair = session.transports[0]
    nameless = evolve(pair, remote=evolve(pair.remote, ice_ufrag="newufrag", ice_pwd="x" * 24, fingerprints=()))
    bench.secrets.add("x" * 24)
    strays = evolve(session, lines=tuple(evolve(each, slot=17) for each in session.lines))
    a.fails("the slot 17 was not opened", ApplyMedia, session=evolve(session, transports=(evolve(pair, slot=17),)))
    a.fails("its lines use a slot without a transport", ApplyMedia, session=strays)
    a.fails("the peer has no certificate", ApplyMedia, session=evolve(session, transports=(nameless,)))
    for index in (-1, 17):
        _expect_no_line(a, index, "there is no such line")
    for each in a.lines:
        if each.kind == "audio":
            a.fails("there are no pictures on a line of audio", AskKeyFrame, line=each.index, ours=True)
        else:
            a.fails("it is no line of audio", SendDigit, line=each.index, event=1, duration=100, codec=_EVENTS)
    events = line.telephone_event
    if events is not None:
        for event, duration in ((-1, 100), (16, 100), (255, 100), (1, 0), (1, -5)):
            why = f"event {event} of {duration} ms is no digit"
            a.fails(why, SendDigit, line=line.index, event=event, duration=duration, codec=events)
        a.fails("it is no telephone-event", SendDigit, line=line.index, event=1, duration=100, codec=line.codec)
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)


# -- transports --------------------------------------------------------------------------------------------------------------


def opened_transports(bench: Bench) -> None:
    """Several slots are opened at once, with the same ICE credentials, and what else is to be described of each."""
    end = bench.end()
    opened = end.open((0, 1, 2, 7))
    for slot, transport in opened.items():
        _check_transport(slot, transport)
    credentials = {(transport.ice_ufrag, transport.ice_pwd) for transport in opened.values()}
    assert len(credentials) == 1, "slots that are opened together have different ICE credentials"


def _check_transport(slot: int, transport: LocalTransport) -> None:
    ufrag, pwd, told = transport.ice_ufrag, transport.ice_pwd, f"of slot {slot}"
    assert _ICE_CHARS.fullmatch(ufrag) and 4 <= len(ufrag) <= 256, f"the ufrag {told} is not as RFC 8839 5.4 wants it"
    assert _ICE_CHARS.fullmatch(pwd) and 22 <= len(pwd) <= 256, f"the password {told} is not as RFC 8839 5.4 wants it"
    assert transport.candidates, f"there is no candidate {told}"
    for candidate in transport.candidates:
        assert _CANDIDATE.fullmatch(candidate), f"this is no candidate (RFC 8839 5.1): {candidate!r}"
    algorithm, digest = transport.fingerprint
    assert algorithm in _SIZES, f"the fingerprint {told} has the hash {algorithm!r}, none of {list(_SIZES)}"
    size = len(digest.split(":"))
    assert _DIGEST.fullmatch(digest) and size == _SIZES[algorithm], (
        f"the fingerprint {told} is no {algorithm}: {digest}"
    )
    assert transport.address and 0 < transport.port < 65536, f"the default address {told} cannot be written"


def open_twice(bench: Bench) -> None:
    """OpenMedia for slots that are open says once more what they are, and opens the rest."""
    end = bench.end()
    first = end.open((0, 1))
    assert end.open((0, 1)) == first, "slots that were open are others after another OpenMedia"
    mixed = end.open((1, 2))
    assert mixed[1] == first[1], "a slot that was open is another after an OpenMedia with a new slot"
    assert mixed[2].ice_ufrag not in {transport.ice_ufrag for transport in first.values()}, "a new slot is an old one"


def restart_credentials(bench: Bench) -> None:
    """OpenMedia with `restart` brings new credentials each time and keeps the certificate; what is in use stays."""
    a, b = bench.connected()
    assert a.session is not None
    slots = tuple(pair.slot for pair in a.session.transports)
    seen = [a.open(slots)]
    for _ in range(3):
        opened = a.open(slots, restart=True)
        for slot, transport in opened.items():
            _check_transport(slot, transport)
            assert transport.fingerprint == seen[0][slot].fingerprint, "a restart of ICE changes the certificate"
            for before in seen:
                assert transport.ice_ufrag != before[slot].ice_ufrag, "a restart of ICE repeats a ufrag"
                assert transport.ice_pwd != before[slot].ice_pwd, "a restart of ICE repeats a password"
        seen.append(opened)
    assert a.open(slots) == seen[0], "a restart that was not agreed on changes what the slot is described as"
    bench.expect_flow(a, b)
    a.apply(a.session)
    bench.moment()
    bench.expect_connected(a, b)
    bench.expect_flow(a, b)


# -- parameters, key frames ------------------------------------------------------------------------------------------------

_WISHES = (
    SenderParameters(),
    SenderParameters(
        encodings=(Encoding(max_bitrate=200_000, max_framerate=10.0, scale_resolution_down_by=2.0),),
        degradation_preference=DegradationPreference.MAINTAIN_RESOLUTION,
        content_hint=ContentHint.DETAIL,
    ),
    SenderParameters(encodings=(Encoding(rid="a", max_bitrate=100_000), Encoding(rid="b", max_bitrate=900_000))),
    SenderParameters(encodings=(Encoding(max_bitrate=1),)),
)


def sender_parameters(bench: Bench) -> None:
    """SenderParametersSet says what a line is sent with, and names all of the wish that is not done; `active` is obeyed."""
    a, b = bench.connected()
    for line in a.lines:
        _check_parameters(bench, a, line)
    bench.expect_flow(a, b)


def _check_parameters(bench: Bench, end: End, line: MediaLine) -> None:
    def set_parameters(wish: SenderParameters) -> EffectiveParameters:
        reply = end.does(SenderParametersSet, SetSenderParameters, line=line.index, parameters=wish)
        return reply.effective

    if not bench.can(SetSenderParameters):
        end.fails("it is declared unsupported", SetSenderParameters, line=line.index, parameters=_WISHES[0])
        return
    for wish in _WISHES:
        effective = set_parameters(wish)
        assert effective.encodings, "no encoding is sent"
        done = (effective.encodings, effective.degradation_preference, effective.content_hint)
        asked = (wish.encodings, wish.degradation_preference, wish.content_hint)
        assert done == asked or effective.ignored, f"{effective} is not what was asked for, and nothing is ignored"
        assert all(text and text.isprintable() for text in effective.ignored), f"not for users: {effective.ignored}"
    resting = set_parameters(SenderParameters(encodings=(Encoding(active=False),)))
    if not any(encoding.active for encoding in resting.encodings):
        bench.expect_no_packets(end, [line.mid], "although its encoding is not active")
    assert any(encoding.active for encoding in set_parameters(_WISHES[0]).encodings), "the line stays inactive"


def key_frames(bench: Bench) -> None:
    """AskKeyFrame is answered for both ways of a line of video."""
    a, b = bench.connected()
    for line in a.lines:
        if line.kind != "video":
            continue
        for ours in (True, False):
            if bench.can(AskKeyFrame):
                a.does(KeyFrameAsked, AskKeyFrame, line=line.index, ours=ours)
            else:
                a.fails("it is declared unsupported", AskKeyFrame, line=line.index, ours=ours)
    bench.expect_flow(a, b)


# -- the end -----------------------------------------------------------------------------------------------------------------


def closed_calls(bench: Bench) -> None:
    """CloseMedia is fine in every state and twice; the call is unknown then, and its name can be used anew."""
    engine = bench.engine()
    bench.end(engine).close()
    opening, opened = bench.end(engine), bench.end(engine)
    opening.start(OpenMedia, slots=(0, 1))  # may stay without a reply
    opening.close()
    before = opened.open((0,))
    opened.close()
    opened.close()
    _expect_gone(opened, "the call was closed")
    assert opened.open((0,))[0].ice_ufrag != before[0].ice_ufrag, "a closed call is opened with its old credentials"
    connecting, other = bench.end(engine), bench.end()
    connecting.negotiator.add_line(bench.kinds(connecting, other)[0])
    exchange(connecting, other)
    connecting.close()
    restarting, peer = bench.connected()
    restarting.open((0,), restart=True)
    restarting.close()
    _expect_gone(restarting, "the call was closed")
    _expect_no_line(restarting, 0, "the call was closed")
    peer.measure()


def closed_calls_are_silent(bench: Bench) -> None:
    """Nothing is reported of a call after CloseMedia, and other calls go on."""
    a, b = bench.connected()
    other_a, other_b = bench.end(a.engine), bench.end(b.engine)
    bench.connect(other_a, other_b)
    a.is_silent = True
    a.close()
    bench.moment()
    bench.expect_connected(other_a, other_b)
    bench.expect_flow(other_a, other_b)


def closed_engine(bench: Bench) -> None:
    """`close` ends every call in a few seconds and can be repeated; operations fail then, and `perform` does not raise."""
    a, b = bench.connected()
    waiting = bench.end(a.engine)
    waiting.start(OpenMedia, slots=(0, 1, 2))  # answered or not, but not twice
    for end in (a, waiting):
        end.is_silent = True
    before = time.monotonic()
    a.engine.close()
    a.engine.close()
    took = time.monotonic() - before
    assert took < _CLOSING, f"close() takes {took:.1f} s"
    a.fails("the engine was closed", ApplyMedia, session=a.session)
    bench.end(a.engine).fails("the engine was closed", OpenMedia, slots=(0,))
    _expect_gone(a, "the engine was closed")
    _expect_no_line(a, 0, "the engine was closed")
    a.close()
    bench.moment()
    b.measure()
