"""Media lines of calls with JsSIP in Chromium and in Firefox come, go, are held, and change direction, begun by either side.

Whatever flows is recognised, audio by its frequency and pictures by their colour, and counted anew on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sipproto.agent import outputs as o
from sipproto.sdp import Direction

from .kamailio import Kamailio
from .media_calls import AUDIO, GREEN, RED, VIDEO, YELLOW, MediaCall, Pair, css, gaps, pair_of
from .peers import BrowserPeer, each_browser

pytestmark = [pytest.mark.interop, each_browser]
Record = Callable[[str, object], None]
BLACK = (0, 0, 0)
LOCAL, REMOTE = o.Originator.LOCAL, o.Originator.REMOTE
either_side = pytest.mark.parametrize("who", ["alice", "bob"])


@pytest.fixture(scope="module")
def open_pair(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Pair]:
    with pair_of(kamailio, browser, "media") as pair:
        yield pair


@pytest.fixture
def pair(open_pair: Pair) -> Iterator[Pair]:
    yield open_pair
    open_pair.end_calls()


def renegotiate(call: MediaCall, *, by_update: bool = False) -> None:
    call.bob("renegotiate", use_update=by_update)


def media_lines(description: str) -> list[str]:
    """Kind and port of each line."""
    return [" ".join(line.split()[:2]) for line in description.splitlines() if line.startswith("m=")]


# -- a second video line -----------------------------------------------------------------------------------------------


@either_side
@pytest.mark.parametrize("by_update", [False, True], ids=["INVITE", "UPDATE"])
def test_second_video_comes_goes_and_comes_again(
    who: str, by_update: bool, pair: Pair, record_property: Record
) -> None:
    """It takes the place that the first one left."""
    call = pair.call(media=(AUDIO, VIDEO))
    call.talk()
    call.watch()
    pair.alice.forget()
    mids = []
    with gaps(call, record_property, f"lines by {who}"):
        for _ in range(2):
            if who == "alice":
                (mid,) = pair.alice.do(
                    call.call.change_media, add=(("video", Direction.SENDONLY),), use_update=by_update
                )
                assert mid == call.line("video", 1)
                call.they_see(YELLOW, 1)
            else:
                call.bob("add_line", direction="sendonly", color=css(GREEN))
                renegotiate(call, by_update=by_update)
                mid = call.line("video", 1)
                call.we_see(GREEN, 1)
            mids.append(mid)
            assert len(media_lines(call.descriptions()[0])) == 3
            if who == "alice":
                pair.alice.do(call.call.change_media, remove=(mid,), use_update=by_update)
            else:
                call.bob("change_lines", mid=mid, stop=["video"])
                renegotiate(call, by_update=by_update)
            assert len(call.call.lines) == 2
            assert [mid for mid in mids if mid in {line["mid"] for line in call.page_lines()}] == []
            assert media_lines(call.descriptions()[0])[2] == "m=video 0"
    assert len(set(mids)) == 2
    call.talk()
    call.watch()
    method = "UPDATE" if by_update else "INVITE"
    assert {str(m.headers.first("CSeq")).split()[1] for m in pair.alice.sent()} - {"ACK"} == {method}


# -- hold --------------------------------------------------------------------------------------------------------------


def hold(call: MediaCall, who: str) -> None:
    if who == "alice":
        call.alice.do(call.call.hold)
        call.bob.expect("call", state="held", originator="remote")
    else:
        call.bob("hold")
        call.alice.expect(o.CallHeld, originator=REMOTE)


def resume(call: MediaCall, who: str) -> None:
    if who == "alice":
        call.alice.do(call.call.resume)
    else:
        call.bob("resume")
        call.alice.expect(o.CallResumed, originator=REMOTE)


def nothing_reaches_the_holder(call: MediaCall, holder: str) -> None:
    call.nothing_reaches(**{"us" if holder == "alice" else "them": ["audio", "video"]})


@pytest.mark.parametrize("holder", ["alice", "bob"])
def test_the_held_side_offers_again(holder: str, pair: Pair) -> None:
    """The hold outlives the other's offer, and both media come back."""
    call = pair.call(media=(AUDIO, VIDEO))
    call.watch()
    hold(call, holder)
    if holder == "alice":
        renegotiate(call)
        assert "a=sendonly" in call.descriptions()[0]
    else:
        pair.alice.do(call.call.restart_ice)
    assert call.held_by(LOCAL if holder == "alice" else REMOTE)
    nothing_reaches_the_holder(call, holder)
    resume(call, holder)
    assert call.held_by()
    call.talk()
    call.watch()


@pytest.mark.parametrize("first_back", ["alice", "bob"])
@pytest.mark.parametrize("first", ["alice", "bob"])
def test_both_hold(first: str, first_back: str, pair: Pair) -> None:
    """In either order, and back in either order."""
    other = {"alice": "bob", "bob": "alice"}
    call = pair.call(media=(AUDIO, VIDEO))
    call.watch()
    hold(call, first)
    hold(call, other[first])
    assert call.held_by(LOCAL, REMOTE)
    resume(call, first_back)
    assert call.held_by(REMOTE if first_back == "alice" else LOCAL)
    nothing_reaches_the_holder(call, other[first_back])
    resume(call, other[first_back])
    assert call.held_by()
    call.talk()
    call.watch()


@pytest.mark.parametrize("holder", ["alice", "bob"])
@either_side
def test_presentation_while_on_hold(who: str, holder: str, pair: Pair) -> None:
    call = pair.call()
    call.talk()
    hold(call, holder)
    if who == "alice":
        pair.alice.do(call.call.change_media, add=(("video", Direction.SENDONLY),))
        call.they_see(RED)
    else:
        call.bob("add_line", direction="sendonly", color=css(GREEN))
        renegotiate(call)
        if holder == "alice":
            call.nothing_reaches(us=["video"])  # we hold
        else:
            call.we_see(BLACK)  # JsSIP switches off what it sends while somebody holds
    assert call.held_by(LOCAL if holder == "alice" else REMOTE)
    call.nothing_reaches(**{"us" if holder == "alice" else "them": ["audio"]})
    resume(call, holder)
    assert call.held_by()
    call.talk()
    if who == "alice":
        call.they_see(RED)
    else:
        call.we_see(GREEN)


# -- directions --------------------------------------------------------------------------------------------------------

DIRECTIONS = [
    (Direction.SENDONLY, Direction.RECVONLY),
    (Direction.INACTIVE, Direction.SENDONLY),
    (Direction.RECVONLY, Direction.INACTIVE),
    (Direction.SENDRECV, Direction.SENDRECV),
]


def reverse(direction: Direction) -> Direction:
    return {Direction.SENDONLY: Direction.RECVONLY, Direction.RECVONLY: Direction.SENDONLY}.get(direction, direction)


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_directions_from_the_start(caller: str, pair: Pair) -> None:
    """We only receive the video. What we never sent we may send later."""
    call = pair.call(caller=caller, media=(AUDIO, ("video", Direction.RECVONLY)))
    call.flows(audio=Direction.SENDRECV, video=Direction.RECVONLY)
    call.bob("shape", directions={"video": "sendrecv"})
    pair.alice.do(call.call.change_media, directions=((call.line("video"), Direction.SENDRECV),))
    call.watch()


@either_side
def test_directions_of_each_kind(who: str, pair: Pair) -> None:
    call = pair.call(media=(AUDIO, VIDEO))
    for audio, video in DIRECTIONS:
        if who == "alice":
            pair.alice.do(call.call.change_media, directions=((call.line("audio"), audio), (call.line("video"), video)))
        else:
            call.bob("change_lines", directions={"audio": reverse(audio).value, "video": reverse(video).value})
            renegotiate(call)
        assert [line.direction for line in call.call.lines] == [audio, video]
        call.flows(audio=audio, video=video)


# -- video that is refused, and comes later ----------------------------------------------------------------------------


@either_side
@pytest.mark.parametrize("refuser", [None, "alice", "bob"])
def test_video_comes_later(refuser: str | None, who: str, pair: Pair) -> None:
    """Asked for with the call it is refused with port 0, and the audio goes on; what comes later takes its place."""
    if refuser is None:
        call = pair.call()
    elif refuser == "alice":
        call = pair.call(caller="bob", video=True)
    else:
        call = pair.call(media=(AUDIO, VIDEO), edits={"remote": [["VP8/90000|VP9/90000|H264/90000", "x/90000"]]})
    call.talk()
    assert [line.kind for line in call.call.lines] == ["audio"]
    ours, theirs = map(media_lines, call.descriptions())
    if refuser is not None:
        assert (ours if refuser == "alice" else theirs)[1] == "m=video 0"
    if who == "alice":
        call.bob("shape", send=["video"])
        pair.alice.do(call.call.change_media, add=(VIDEO,))
    else:
        call.bob("add_line")
        renegotiate(call)
        call.we_see()
        assert call.call.lines[1].direction is Direction.RECVONLY
        pair.alice.do(call.call.change_media, directions=((call.line("video"), Direction.SENDRECV),))
    call.watch()
    call.talk()
    assert [len(media_lines(description)) for description in call.descriptions()] == [2, 2]
