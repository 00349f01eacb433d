"""Rooms, headers of calls and names, as the tools of the original SDK have them."""

from __future__ import annotations

import pytest

from sipproto.conference import (
    PURGATORY,
    display_name_of,
    get_extra_headers,
    get_user_agent,
    has_peer_to_peer,
    has_purgatory,
    peer_to_peer_room,
)
from sipproto.errors import LocalProtocolError


def test_purgatory() -> None:
    assert has_purgatory("purgatory") and has_purgatory(PURGATORY)
    assert not any(map(has_purgatory, (None, "", "Purgatory", " purgatory", "purgatory1")))


@pytest.mark.parametrize("room", ["p2paliceTObob", "P2P1to2", "p2ptotob", "p2p100tomato", peer_to_peer_room("a", "b")])
def test_rooms_of_two_peers(room: str) -> None:
    assert has_peer_to_peer(room)


@pytest.mark.parametrize("room", [None, "", "p2p", "p2ptob", "p2pato", "xp2patob", "p2patob\n", "100"])
def test_other_rooms(room: str | None) -> None:
    assert not has_peer_to_peer(room)


def test_the_room_of_two_peers() -> None:
    assert peer_to_peer_room("alice", "Bob") == "p2palicetoBob"  # as in the frames
    for caller, called in (("", "b"), ("a", " ")):
        with pytest.raises(LocalProtocolError):
            peer_to_peer_room(caller, called)


def test_user_agent() -> None:
    assert get_user_agent("MyApp") == get_user_agent(app_name="MyApp") == "ChromeNew - MyApp"
    assert get_user_agent("MyApp", "3") == "ChromeNew - MyApp 3"
    assert (
        get_user_agent("MyApp", "3", browser_name="Firefox", browser_version="140")
        == "ChromeNew - Firefox 140, MyApp 3"
    )
    assert get_user_agent("a@b*c!d|e", "1!") == "ChromeNew - a_b_c_d_e 1!"
    assert get_user_agent("MyApp", "3", is_unified_sdp_semantic=False) == "Chrome"
    for name in ("", " ", "a\r\nb"):
        with pytest.raises(LocalProtocolError):
            get_user_agent(name)


def test_extra_headers() -> None:
    assert get_extra_headers(is_muted_audio=False, is_muted_video=True, remote_address="203.0.113.7") == (
        ("X-Vinteo-Mic-State", "1"),
        ("X-Vinteo-MainCam-State", "0"),
        ("X-Vinteo-Purgatory-Call", "yes"),
        ("X-Vinteo-Remote", "203.0.113.7"),
    )
    assert get_extra_headers(
        is_muted_audio=True,
        is_muted_video=False,
        is_registered=True,
        session_id="s-1",
        is_presentation_call=True,
        remote_address="2001:db8::7",
    ) == (
        ("X-Vinteo-Mic-State", "0"),
        ("X-Vinteo-MainCam-State", "1"),
        ("X-Vinteo-Session", "s-1"),
        ("X-Vinteo-Presentation-Call", "yes"),
        ("X-Vinteo-Remote", "2001:db8::7"),
    )
    with pytest.raises(LocalProtocolError):
        get_extra_headers(is_muted_audio=True, is_muted_video=True, session_id="a\r\nX-Evil: 1")


def test_display_name() -> None:
    assert display_name_of("  Ivan  Petrov ") == "Ivan__Petrov"
    assert display_name_of("Ivan\tP") == "Ivan\tP"  # only spaces, as in the original
