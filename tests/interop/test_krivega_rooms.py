"""The SIP stacks of the conference SDK in a browser, in the rooms of our server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from sipproto import conference as c
from sipproto.agent import outputs as o
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_anyio import open_connector
from sipproto_client import SipConnector
from sipproto_server import ParticipantEntered, ParticipantInfo, ParticipantLeft, PermissionWanted

from .embedded import Embedded
from .kamailio import password_of
from .krivega import SDKS, Sdk, SdkPage, conference_lines
from .media_calls import GREEN, YELLOW, Color, is_color, until
from .peers import COLORS, HERTZ, BrowserPeer, PeerError

pytestmark = pytest.mark.interop
each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
ROOM = "800"


class Guest:
    """A page in a conference, and what the server knows of it."""

    def __init__(self, server: Embedded, page: SdkPage) -> None:
        self.server = server
        self.page = page

    @property
    def info(self) -> ParticipantInfo:
        return self.server.participant(self.page.user)

    def call(self, *headers: str) -> None:
        """As the SDK calls: version 31 tells the peer, whoever it is, of a room of the two."""
        self.page(
            "call", target=ROOM, video=True, headers=["X-Vinteo-Mic-State: 1", "X-Vinteo-MainCam-State: 1", *headers]
        )
        if self.page.sdk.recorded == "v31":
            room = {"x-webrtc-enter-room": f"p2p{self.page.user}to{ROOM}", "x-webrtc-participant-name": ROOM}
            assert self.page.say("direct room", room) == 200

    def hears_of_room(self, room: str) -> dict[str, str]:
        event = self.page.expect("info", content_type="application/vinteo.webrtc.roomname")
        lines = conference_lines(event)
        assert lines["x-webrtc-enter-room"] == room
        assert lines["x-webrtc-participant-name"] == self.page.user
        return lines

    def enters(self) -> c.Channels:
        """Is told all that somebody is told who comes into the room; the channels among it."""
        lines = self.hears_of_room(ROOM)
        jwt = lines["x-bearer-token"]
        self.is_told(c.UseLicense(license=c.License.VIDEO))
        self.is_told(c.ParticipantTokenIssued(conference=ROOM, participant=f"SIP/{self.page.user}", jwt=jwt))
        return c.Channels(input=lines["x-webrtc-input-channels"], output=lines["x-webrtc-output-channels"])

    def operate(self, name: str, *values: str) -> None:
        self.server.operate(name, self.info.participant, *values)

    def is_told(self, message: c.ConferenceMessage) -> None:
        self.page.hears(c.write_info(message))

    def lines(self) -> list[dict[str, object]]:
        lines: list[dict[str, object]] = self.page("lines")["lines"]
        return lines

    def sees(self, color: Color, number: int = 0) -> None:
        """New pictures of this colour are decoded on a video line, counted from 0."""

        def picture() -> dict[str, object]:
            video = [line for line in self.lines() if line["kind"] == "video"]
            return video[number] if number < len(video) else {"color": None, "frames_decoded": 0}

        before = picture()["frames_decoded"]
        until(
            picture,
            lambda line: is_color(line["color"], color) and line["frames_decoded"] >= before + 3,  # type: ignore[operator, arg-type]
            f"{self.page.user} does not see {color} on {number}",
        )

    def is_heard_by(self, other: Guest) -> None:
        hertz = HERTZ[self.page.user]
        until(
            lambda: other.page("stats")["audio"]["frequency"],
            lambda seen: abs(seen - hertz) <= 0.05 * hertz,
            f"{other.page.user} does not hear {hertz} Hz",
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with Embedded(guests=True) as server:
        yield server


@contextmanager
def a_guest(server: Embedded, browser: BrowserPeer, user: str, sdk: Sdk, *, register: bool = True) -> Iterator[Guest]:
    page = SdkPage(browser, user, sdk)
    try:
        page.enter(server.ws_url, server.domain, register=register)
        yield Guest(server, page)
    finally:
        page("close")


@pytest.fixture
def guest(sdk: Sdk, server: Embedded, browser: BrowserPeer) -> Iterator[Guest]:
    """A page in the room."""
    with a_guest(server, browser, "bob", sdk) as guest:
        guest.call()
        guest.enters()
        server.expect(ParticipantEntered)
        yield guest
    server.expect(ParticipantLeft)
    server.forget()
    browser.forget_events()


@pytest.fixture
def other(sdk: Sdk, guest: Guest, server: Embedded, browser: BrowserPeer) -> Iterator[Guest]:
    """A page with the other version in the same room."""
    (version,) = [one for one in SDKS if one is not sdk]
    with a_guest(server, browser, "alice", version) as other:
        other.call()
        other.enters()
        server.expect(ParticipantEntered)
        yield other
    server.expect(ParticipantLeft)


@each_sdk
@pytest.mark.parametrize("registered", [True, False], ids=["registered", "guest"])
def test_through_the_lobby(sdk: Sdk, registered: bool, server: Embedded, browser: BrowserPeer) -> None:
    user = "bob" if registered else "31415926"  # the SDK makes up a number for who has no account
    with a_guest(server, browser, user, sdk, register=registered) as guest:
        guest.call("X-Vinteo-Purgatory-Call: yes")
        guest.hears_of_room(c.PURGATORY)
        assert server.expect(ParticipantEntered).participant.room == c.PURGATORY
        assert guest.info.user == ("bob" if registered else None)
        guest.operate("admit")
        channels = guest.enters()
        answer = {"x-webrtc-input-channels": channels.input, "x-webrtc-output-channels": channels.output}
        assert guest.page.say("channels", answer) == 200
        assert guest.info.channels == channels
        guest.page("hangup")
        assert server.expect(ParticipantLeft).participant.room == ROOM
    server.forget()
    browser.forget_events()


@each_sdk
def test_media_of_a_room(guest: Guest, other: Guest) -> None:
    guest.sees(COLORS["alice"])
    other.sees(COLORS["bob"])
    guest.is_heard_by(other)
    other.is_heard_by(guest)


@each_sdk
def test_what_the_page_tells(guest: Guest) -> None:
    page, told = guest.page, guest.server
    assert page.say("media state", {"x-vinteo-maincam-state": "0"}) == 200
    assert (guest.info.cam, guest.info.mic) == (False, False)
    for name, device in (("refusal of microphone", c.Device.MIC), ("refusal of camera", c.Device.CAM)):
        assert page.say(name) == 200
        assert guest.info.refused[-1] is device
    assert page.say("bitrate", {"x-webrtc-available-incoming-bitrate": "750000"}) == 200
    assert guest.info.bitrate == 750_000
    assert page.say("channels") == 200
    assert guest.info.channels == c.Channels(input="0", output="1")
    page("dtmf", digits="5#")
    assert [told.expect(o.DtmfReceived).digit for _ in range(2)] == ["5", "#"]
    assert page.say("ask to enable camera") == 200


@each_sdk
def test_what_the_operator_does(guest: Guest) -> None:
    for name, values, message in (
        ("spectator", ("4", "2"), c.ParticipantState(role=c.Role.SPECTATOR, audio_id="4", mode=c.SpectatorMode.FORCED)),
        ("participant", (), c.ParticipantState(role=c.Role.PARTICIPANT)),
        ("license", ("AUDIO",), c.UseLicense(license=c.License.AUDIO)),
        ("start-camera", (), c.MainCamControl(command=c.MainCam.ADMIN_START, forced=False)),
        ("stop-camera", ("yes",), c.MainCamControl(command=c.MainCam.ADMIN_STOP, forced=True)),
        ("start-mic", (), c.MicControl(command=c.Mic.ADMIN_START, forced=False)),
        ("stop-mic", ("yes",), c.MicControl(command=c.Mic.ADMIN_STOP, forced=True)),
        ("max-resolution", ("640x360",), c.MainCamControl(command=c.MainCam.MAX_RESOLUTION, resolution="640x360")),
        ("pause-camera", (), c.MainCamControl(command=c.MainCam.PAUSE)),
        ("resume-camera", (), c.MainCamControl(command=c.MainCam.RESUME)),
        ("add-moderator", (), c.AddedToModerators(conference=ROOM)),
        ("remove-moderator", (), c.RemovedFromModerators(conference=ROOM)),
        ("channels", ("1", "2"), c.ChannelsNotified(input="1", output="2")),
        ("webcast-started", (), c.WebcastStarted(conference=ROOM, type="hls")),
        ("webcast-stopped", (), c.WebcastStopped(conference=ROOM, type="hls")),
        ("give-word", (), c.ParticipationAccepted(conference=ROOM)),
        ("refuse-word", (), c.ParticipationRejected(conference=ROOM)),
        ("move-to-webcast", (), c.MovedToWebcast(conference=ROOM)),
        ("account-changed", (), c.AccountChanged()),
    ):
        guest.operate(name, *values)
        guest.is_told(message)


@each_sdk
def test_notify_outside_of_calls(sdk: Sdk, server: Embedded, browser: BrowserPeer) -> None:
    with a_guest(server, browser, "bob", sdk) as guest:
        for name, message in (("account-changed", c.AccountChanged()), ("account-deleted", c.AccountDeleted())):
            server.operate(name, "bob")
            heard = guest.page.expect("notify")
            assert conference_lines(heard) == {
                "x-vinteo-notify": dict(c.write_notify(message).headers)["X-VINTEO-NOTIFY"]
            }
    browser.forget_events()


@each_sdk
def test_presentation_refused(guest: Guest) -> None:
    guest.server.operate("presentation-policy", "deny")
    try:
        with pytest.raises(PeerError) as refused:
            guest.page.present(GREEN)
        assert refused.value.status == 603
    finally:
        guest.server.operate("presentation-policy", "allow")
    assert len(guest.lines()) == 2
    assert not guest.info.presenting


@each_sdk
def test_operator_is_asked(guest: Guest) -> None:
    guest.server.operate("presentation-policy", "ask")
    try:
        for decision, status in (("deny", 603), ("allow", None)):
            reply = guest.page.start("let me start presentation")
            assert guest.server.expect(PermissionWanted).participant == guest.info.participant
            guest.operate(decision)
            if status is None:
                guest.page.peer.wait_reply(reply)
            else:
                with pytest.raises(PeerError) as refused:
                    guest.page.peer.wait_reply(reply)
                assert refused.value.status == status
    finally:
        guest.server.operate("presentation-policy", "allow")


@each_sdk
def test_presentations(guest: Guest, other: Guest) -> None:
    """One after the other: each is seen by the other one, beside the camera; then the first again."""
    for presenter, viewer, color in ((guest, other, GREEN), (other, guest, YELLOW), (guest, other, GREEN)):
        presenter.page.present(color)
        viewer.is_told(c.ShareState(state=c.Share.AVAILABLE, codec="VP8"))
        viewer.sees(color, 1)
        viewer.sees(COLORS[presenter.page.user])
        presenter.sees(COLORS[viewer.page.user])
        with pytest.raises(PeerError) as refused:  # one at a time
            viewer.page.present(YELLOW)
        assert refused.value.status == 603
        presenter.page.stop_presenting()
        viewer.is_told(c.ShareState(state=c.Share.ENDED))
        assert not presenter.info.presenting
        assert len(guest.lines()) == len(other.lines()) == 3  # a presentation is on the line that others are seen by
    guest.is_heard_by(other)


@each_sdk
def test_presentations_in_turn_with_our_client(guest: Guest, server: Embedded) -> None:
    """Of a page and of our connector: no presentation adds another line."""
    with (
        start_blocking_portal("asyncio") as portal,
        closing(AiortcEngine(include_loopback=True)) as engine,
        portal.wrap_async_context_manager(open_connector(media=engine)) as alice,
    ):
        portal.call(enter_with, alice, server)
        guest.sees(COLORS["alice"])
        for _ in range(2):
            guest.page.present(GREEN)
            portal.call(sees_with, alice, 1, GREEN)
            guest.page.stop_presenting()
            portal.call(partial(alice.start_presentation, MediaSetup(video=TestPattern(color=YELLOW))))
            guest.is_told(c.ShareState(state=c.Share.AVAILABLE, codec="VP8"))
            guest.sees(YELLOW, 1)
            guest.sees(COLORS["alice"])
            portal.call(alice.stop_presentation)
            guest.is_told(c.ShareState(state=c.Share.ENDED))
            assert len(guest.lines()) == 3
            assert alice.connection is not None and len(alice.connection.lines) == 3
        portal.call(sees_with, alice, 0, COLORS["bob"])
        portal.call(alice.disconnect)


async def enter_with(connector: SipConnector, server: Embedded) -> None:
    await connector.connect(
        sip_server_url=server.domain,
        sip_web_socket_server_url=server.ws_url,
        user="alice",
        password=password_of("alice"),
        register=True,
    )
    with connector.events("api:enterRoom") as entered:
        await connector.call(ROOM, MediaSetup(audio=Tone(HERTZ["alice"]), video=TestPattern(color=COLORS["alice"])))
        await anext(entered)


async def sees_with(connector: SipConnector, number: int, color: Color) -> None:
    """New pictures of this colour come by a video line, counted from 0."""
    first: int | None = None
    with anyio.fail_after(15):
        while True:
            call = connector.connection
            assert call is not None
            video = [line for line in (await call.stats()).lines if line.kind == "video"]
            if number < len(video) and is_color(video[number].color, color):
                decoded = video[number].frames_decoded or 0
                first = decoded if first is None else first
                if decoded >= first + 3:
                    return
            await anyio.sleep(0.1)


@each_sdk
def test_presentation_is_stopped_by_the_operator(guest: Guest, other: Guest) -> None:
    guest.page.present(GREEN)
    other.is_told(c.ShareState(state=c.Share.AVAILABLE, codec="VP8"))
    other.sees(GREEN, 1)
    guest.operate("stop-presentation")
    guest.is_told(c.ShareState(state=c.Share.MUST_STOP))
    other.is_told(c.ShareState(state=c.Share.ENDED))


@each_sdk
def test_restart(guest: Guest, other: Guest) -> None:
    before = guest.page("sdp")["local"]
    guest.operate("restart")
    guest.is_told(c.Restart(tracks_direction=c.TracksDirection.SENDRECV, audio_track_count=1, video_track_count=1))
    if guest.page.sdk.restarts:
        assert guest.page.expect("restarted")["done"] is True
        assert guest.page("sdp")["local"] != before
    guest.sees(COLORS["alice"])
    other.sees(COLORS["bob"])
    guest.is_heard_by(other)
    other.is_heard_by(guest)
