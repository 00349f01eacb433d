"""Lines that are added and removed in a call, codecs, sender parameters, key frames, and digits in RTP."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.agent.parameters import EffectiveParameters, Encoding, SenderParameters
from sipproto.message import Request
from sipproto.negotiation import CodecPreferences, NegotiationError
from sipproto.sdp import Codec, Direction, parse_sdp
from tests.agent.peer import AUDIO, CONTACT, SDP, Peer, tag_of
from tests.sim.network import CAPABILITIES, local_transport

EVENTS = Codec(payload_type=101, name="telephone-event", clock_rate=48000, parameters="0-16")
WITH_EVENTS = evolve(CAPABILITIES, audio=(*CAPABILITIES.audio, EVENTS))
BOTH = (*AUDIO, ("video", Direction.SENDRECV))
PRESENTATION = (("video", Direction.SENDONLY),)


def lines(peer: Peer) -> list[tuple[str, str, str]]:
    event = peer.one(o.MediaNegotiated)
    return [(line.mid, line.kind, line.direction.value) for line in event.lines]


def taken(peer: Peer, method: str = "INVITE", otherwise: Direction = Direction.RECVONLY) -> Request:
    """The peer takes our offer, and its new lines as one does that has no wish of its own."""
    request = peer.request(method)
    peer.negotiator.receive_offer(request.body, (), otherwise)
    peer.answer(request, 200, CONTACT, SDP, body=peer.negotiator.create_answer()[0].to_bytes())
    return request


def video_call() -> Peer:
    peer = Peer()
    invite = peer.invite(media=BOTH)
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    assert lines(peer) == [("0", "audio", "sendrecv"), ("1", "video", "sendrecv")]
    return peer


# -- lines and codecs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_update", [False, True])
def test_a_second_video_line_comes_and_goes(by_update: bool) -> None:
    peer = video_call()
    method = "UPDATE" if by_update else "INVITE"
    peer.command(i.ChangeMedia(command=0, call="out", add=PRESENTATION, use_update=by_update))
    taken(peer, method)
    assert peer.one(o.CommandSucceeded).result == ("2",)
    assert lines(peer)[2:] == [("2", "video", "sendonly")]
    peer.command(i.ChangeMedia(command=0, call="out", remove=("2",), use_update=by_update))
    assert [media.port != 0 for media in parse_sdp(taken(peer, method).body).media] == [True, True, False]
    assert len(lines(peer)) == 2
    peer.command(i.ChangeMedia(command=0, call="out", add=PRESENTATION, use_update=by_update))
    assert len(parse_sdp(taken(peer, method).body).media) == 3  # in its place
    assert lines(peer)[2:] == [("3", "video", "sendonly")]


@pytest.mark.parametrize("status", [488, 603, 491])
def test_a_refused_line_leaves_the_call_as_it_was(status: int) -> None:
    peer = video_call()
    number = peer.command(i.ChangeMedia(command=0, call="out", add=PRESENTATION))
    peer.answer(peer.request("INVITE"), status)
    if status == 491:  # it comes again, and is taken
        peer.wait(5.0)
        taken(peer)
        assert peer.one(o.CommandSucceeded).result == ("2",)
        return
    failed = peer.one(o.CommandFailed)
    assert (failed.command, failed.status) == (number, status)
    assert not peer.all(o.CallEnded) and not peer.all(o.MediaNegotiated)
    peer.command(i.Hold(command=0, call="out"))
    assert len(parse_sdp(peer.request("INVITE").body).media) == 2


def test_a_transport_that_was_opened_for_nothing_is_closed() -> None:
    peer = Peer()
    invite = peer.invite()
    answer = peer.answer_sdp(invite.body).replace(b"a=group:BUNDLE 0\r\n", b"")
    peer.answer(invite, 200, CONTACT, SDP, body=answer)
    peer.command(i.ChangeMedia(command=0, call="out", add=PRESENTATION))
    assert peer.one(m.OpenMedia).slots == (1,)
    peer.answer(peer.request("INVITE"), 488)
    assert [pair.slot for pair in peer.one(m.ApplyMedia).session.transports] == [0]


def test_lines_that_there_are_not() -> None:
    peer = video_call()
    assert "mid" in peer.refused(i.ChangeMedia(command=0, call="out", remove=("7",)))
    assert "mid" in peer.refused(i.ChangeMedia(command=0, call="out", directions=(("x", Direction.INACTIVE),)))
    everything = CodecPreferences(exclude=("video/VP8",))
    assert "codec" in peer.refused(i.ChangeMedia(command=0, call="out", codecs=everything))
    assert "codec" in peer.refused(i.ChangeMedia(command=0, call="out", add=(("text", Direction.SENDRECV),)))
    assert "no call" in peer.refused(i.ChangeMedia(command=0, call="nobody", add=PRESENTATION))


def test_the_peer_removes_the_line_that_we_are_about_to_remove() -> None:
    peer = video_call()
    first = peer.command(i.Hold(command=0, call="out"))
    request = peer.request("INVITE")
    second = peer.command(i.ChangeMedia(command=0, call="out", remove=("1",)))
    peer.negotiator.receive_offer(request.body)
    answer = peer.negotiator.create_answer()[0].to_bytes()
    video = answer.index(b"m=video")
    answer = answer[:video] + answer[video:].replace(answer[video:].split(b" ")[1], b"0", 1)
    peer.answer(request, 200, CONTACT, SDP, body=answer)
    assert peer.one(o.CommandSucceeded).command == first
    failed = peer.one(o.CommandFailed)
    assert failed.command == second and "mid" in failed.detail


@pytest.mark.parametrize("queued", [False, True])
def test_a_call_keeps_a_line(queued: bool) -> None:
    """Without one there is nothing to offer; that is said, and what is asked for next is done."""
    peer = video_call()
    everything = i.ChangeMedia(command=0, call="out", remove=("0", "1"))
    if queued:  # what is not possible is found out when its turn comes
        peer.command(i.Hold(command=0, call="out"))
        held = peer.request("INVITE")
        number = peer.command(everything)
        peer.negotiator.receive_offer(held.body)
        peer.answer(held, 200, CONTACT, SDP, body=peer.negotiator.create_answer()[0].to_bytes())
        failed = peer.one(o.CommandFailed)
        assert failed.command == number and "no media line" in failed.detail
    else:
        assert "no media line" in peer.refused(everything)
    peer.command(i.ChangeMedia(command=0, call="out", remove=("1",)))
    taken(peer)
    assert peer.one(o.CommandSucceeded)
    assert [kind for _, kind, _ in lines(peer)] == ["audio"]


@pytest.mark.parametrize(
    "media", ["audio", (("audio", "sendrecv"),), ("audio",), (("audio", Direction.SENDRECV, 1),), 1]
)
def test_media_that_are_no_pairs(media: Any) -> None:
    for make in (
        lambda: i.Invite(command=1, call="out", target="sip:bob@example.com", media=media),
        lambda: i.Answer(command=1, call="in", media=media),
        lambda: i.Progress(command=1, call="in", media=media),
        lambda: i.AcceptTransfer(command=1, transfer="x", call="out", media=media),
        lambda: i.ChangeMedia(command=1, call="out", add=media),
        lambda: i.ChangeMedia(command=1, call="out", directions=media),
    ):
        with pytest.raises(TypeError, match="pairs"):
            make()


@pytest.mark.parametrize("field", ["max_bitrate", "max_framerate", "scale_resolution_down_by"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_parameters_that_cannot_be_meant(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Encoding(**{field: value})  # type: ignore[arg-type]  # that is the point


def test_codecs_are_changed_in_a_call() -> None:
    peer = Peer()
    peer.call_out()
    peer.command(i.ChangeMedia(command=0, call="out", codecs=CodecPreferences(prefer=("audio/PCMU",))))
    taken(peer)
    (line,) = peer.one(o.MediaNegotiated).lines
    assert line.codec == "audio/PCMU"
    assert peer.one(m.ApplyMedia).session.lines[0].codec.name == "PCMU"


def test_codecs_of_a_call_and_of_an_answer() -> None:
    peer = Peer()
    only = CodecPreferences(exclude=("audio/opus",))
    assert b"opus" not in peer.invite(codecs=only).body
    other = Peer()
    other.say("INVITE", SDP, body=other.offer())
    other.command(i.Answer(command=0, call="in-1", media=AUDIO, codecs=only))
    assert b"opus" not in other.response(200).body
    nothing = CodecPreferences(exclude=("audio/opus", "audio/PCMU"))
    assert "codec" in Peer().refused(
        i.Invite(command=0, call="x", target="sip:bob@example.com", media=AUDIO, codecs=nothing)
    )


@pytest.mark.parametrize("may", [Direction.RECVONLY, Direction.INACTIVE, Direction.SENDRECV])
def test_a_line_that_the_peer_adds(may: Direction) -> None:
    peer = Peer(new_lines=may)
    tag = tag_of(peer.call_in())
    peer.say("INVITE", SDP, to_tag=tag, cseq=2, body=peer.offer("video"))
    answer = parse_sdp(peer.response(200).body)
    assert (answer.media[1].port == 0) == (may is Direction.INACTIVE)
    changed = [event.lines[1].direction for event in peer.all(o.MediaNegotiated)]
    assert changed == ([] if may is Direction.INACTIVE else [may])


# -- the descriptions of the peer ------------------------------------------------------------------------------------


def test_descriptions_of_the_peer_can_be_mended() -> None:
    seen: list[bytes] = []

    def mend(sdp: bytes, /) -> bytes:
        seen.append(sdp)
        return sdp.replace(b"a=rtcp-nux", b"a=rtcp-mux")

    peer = Peer(transform_remote_sdp=mend)
    invite = peer.invite()
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body).replace(b"rtcp-mux", b"rtcp-nux"))
    peer.one(o.CallEstablished)
    other = Peer(transform_remote_sdp=mend)
    tag = tag_of(other.call_in(body=other.offer().replace(b"rtcp-mux", b"rtcp-nux")))
    other.say("INVITE", SDP, to_tag=tag, cseq=2, body=other.reoffer().replace(b"rtcp-mux", b"rtcp-nux"))
    other.response(200)
    assert all(b"rtcp-nux" in sdp for sdp in seen) and len(seen) >= 3


def _raises(sdp: bytes, /) -> bytes:
    raise RuntimeError("secret")


@pytest.mark.parametrize("broken", [_raises, lambda sdp: None, lambda sdp: sdp.decode(), lambda sdp: b""])
def test_a_transformation_that_gives_nothing_is_a_description_that_cannot_be_used(broken: Any) -> None:
    peer = Peer(transform_remote_sdp=broken)
    peer.say("INVITE", SDP, body=peer.offer())
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    assert 488 in peer.statuses()
    assert peer.one(o.CallEnded).cause is Cause.INCOMPATIBLE_MEDIA
    assert issubclass(NegotiationError, Exception)


# -- what the engine is asked ----------------------------------------------------------------------------------------

PARAMETERS = SenderParameters(encodings=(Encoding(max_bitrate=300_000),))


def test_sender_parameters() -> None:
    peer = video_call()
    number = peer.command(i.SetParameters(command=0, call="out", line="1", parameters=PARAMETERS))
    asked = peer.one(m.SetSenderParameters)
    assert (asked.call, asked.line, asked.parameters) == ("out", 1, PARAMETERS)
    effective = EffectiveParameters(
        encodings=PARAMETERS.encodings,
        degradation_preference=PARAMETERS.degradation_preference,
        content_hint=PARAMETERS.content_hint,
    )
    peer.give(m.SenderParametersSet(request=asked.request, effective=effective))
    done = peer.one(o.CommandSucceeded)
    assert (done.command, done.result) == (number, effective)
    assert "mid" in peer.refused(i.SetParameters(command=0, call="out", line="9", parameters=PARAMETERS))


@pytest.mark.parametrize("ours", [False, True])
def test_key_frames(ours: bool) -> None:
    peer = video_call()
    peer.command(i.RequestKeyFrame(command=0, call="out", line="1", ours=ours))
    asked = peer.one(m.AskKeyFrame)
    assert (asked.line, asked.ours) == (1, ours)
    peer.give(m.KeyFrameAsked(request=asked.request))
    peer.one(o.CommandSucceeded)
    assert "no video" in peer.refused(i.RequestKeyFrame(command=0, call="out", line="0", ours=ours))


COMMANDS: list[i.Command] = [
    i.SetParameters(command=0, call="out", line="1", parameters=PARAMETERS),
    i.RequestKeyFrame(command=0, call="out", line="1"),
    i.GetStats(command=0, call="out"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("end", ["fails", "is silent", "call ends"])
def test_what_the_engine_does_not_do(command: i.Command, end: str) -> None:
    peer = video_call()
    number = peer.command(command)
    asked: Any = next(out for out in peer.out if isinstance(out, m.MediaOperation))
    if end == "fails":
        peer.give(m.MediaFailed(request=asked.request, error="no such thing"))
    elif end == "is silent":
        peer.wait(21.0)
    else:
        peer.command(i.HangUp(command=0, call="out"))
    failed = peer.one(o.CommandFailed)
    assert failed.command == number
    if end == "fails":
        assert (failed.cause, failed.detail) == (Cause.MEDIA_ERROR, "no such thing")
    peer.give(m.KeyFrameAsked(request=asked.request))  # late: means nothing
    assert not peer.out


# -- digits ----------------------------------------------------------------------------------------------------------


def with_events(**more: Any) -> Peer:
    peer = Peer(capabilities=WITH_EVENTS, **more)
    peer.negotiator = type(peer.negotiator)(WITH_EVENTS, peer.config.tokens)
    invite = peer.invite()
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    return peer


@pytest.mark.parametrize("way", [i.DigitWay.AUTO, i.DigitWay.RTP])
def test_digits_in_rtp(way: i.DigitWay) -> None:
    peer = with_events()
    number = peer.command(i.SendDtmf(command=0, call="out", digits="1#", duration=120, gap=0.05, way=way))
    for event in (1, 11):
        asked = peer.one(m.SendDigit)
        assert (asked.event, asked.duration, asked.line, asked.codec.payload_type) == (event, 120, 0, 101)
        assert not peer.all(o.SendData)
        peer.give(m.DigitSent(request=asked.request))
        if event == 11:
            assert peer.one(o.CommandSucceeded).command == number
        assert not peer.all(m.SendDigit)  # the gap
        peer.wait(0.05)


def test_digits_by_info_where_the_peer_takes_no_events() -> None:
    peer = Peer(capabilities=WITH_EVENTS)  # the peer has no telephone-event
    peer.call_out()
    peer.command(i.SendDtmf(command=0, call="out", digits="5"))
    assert b"Signal=5" in peer.request("INFO").body
    assert "telephone-event" in peer.refused(i.SendDtmf(command=0, call="out", digits="5", way=i.DigitWay.RTP))
    both = with_events()
    both.command(i.SendDtmf(command=0, call="out", digits="5", way=i.DigitWay.INFO))
    both.request("INFO")


def test_a_digit_that_the_engine_cannot_send_ends_its_command_and_not_the_next() -> None:
    peer = with_events()
    first = peer.command(i.SendDtmf(command=0, call="out", digits="123"))
    asked = peer.one(m.SendDigit)
    second = peer.command(i.SendDtmf(command=0, call="out", digits="9"))
    assert not peer.all(m.SendDigit)
    peer.give(m.MediaFailed(request=asked.request, error="the line is on hold"))
    failed = peer.one(o.CommandFailed)
    assert (failed.command, failed.cause, failed.detail) == (first, Cause.MEDIA_ERROR, "the line is on hold")
    asked = peer.one(m.SendDigit)
    assert asked.event == 9
    peer.give(m.DigitSent(request=asked.request))
    assert peer.one(o.CommandSucceeded).command == second


def test_a_call_that_ends_while_a_digit_is_sent() -> None:
    peer = with_events()
    number = peer.command(i.SendDtmf(command=0, call="out", digits="12"))
    asked = peer.one(m.SendDigit)
    peer.command(i.HangUp(command=0, call="out"))
    assert peer.one(o.CommandFailed).command == number
    peer.give(m.DigitSent(request=asked.request))
    assert not peer.out


@pytest.mark.parametrize(("event", "digit"), [(0, "0"), (9, "9"), (10, "*"), (11, "#"), (15, "D"), (16, "R")])
def test_digits_heard(event: int, digit: str) -> None:
    peer = with_events()
    peer.give(m.DigitHeard(call="out", line=0, event=event, duration=80))
    heard = peer.one(o.DtmfReceived)
    assert (heard.digit, heard.duration, heard.way) == (digit, 80, i.DigitWay.RTP)


@pytest.mark.parametrize("heard", [("out", 17), ("out", -1), ("nobody", 1)])
def test_what_is_no_digit(heard: tuple[str, int]) -> None:
    peer = with_events()
    assert not peer.give(m.DigitHeard(call=heard[0], line=0, event=heard[1], duration=80))


# -- restarts --------------------------------------------------------------------------------------------------------


def restarted(peer: Peer, *, ignored: bool) -> None:
    offer = peer.request("INVITE")
    peer.negotiator.receive_offer(offer.body)
    for slot in peer.negotiator.restart_slots():
        peer.negotiator.add_transport(slot, local_transport(slot, 7 if ignored else 8))
    peer.answer(offer, 200, CONTACT, SDP, body=peer.negotiator.create_answer()[0].to_bytes())


@pytest.mark.parametrize("ignored", [False, True])
def test_a_restart_says_whether_it_came_about(ignored: bool) -> None:
    peer = Peer()
    peer.call_out()
    peer.command(i.RestartIce(command=0, call="out"))
    opening = peer.one(m.OpenMedia)
    assert opening.restart
    restarted(peer, ignored=ignored)
    assert peer.one(o.CommandSucceeded).result is (not ignored)


def test_a_restart_without_an_answer_does_not_end_the_call() -> None:
    peer = Peer()
    peer.call_out()
    peer.command(i.RestartIce(command=0, call="out"))
    peer.wait(40.0)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    assert not peer.all(o.CallEnded)
    peer.command(i.Hold(command=0, call="out"))  # while this would
    peer.wait(40.0)
    assert peer.one(o.CallEnded)


def test_changes_wait_for_one_another_within_a_limit() -> None:
    peer = Peer()
    peer.call_out()
    commands = [
        peer.command(i.Hold(command=0, call="out") if n % 2 else i.Resume(command=0, call="out")) for n in range(1, 18)
    ]
    assert "waiting" in peer.refused(i.Hold(command=0, call="out"))
    peer.command(i.HangUp(command=0, call="out"))
    assert sorted(failed.command for failed in peer.all(o.CommandFailed)) == commands
