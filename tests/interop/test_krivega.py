"""The SIP stacks of the conference SDK in a browser, with our agent in the place of a conference server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from sipproto import conference as c
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.sdp import Direction, parse_sdp
from sipproto_aiortc import MediaSetup, TestPattern, Tone
from sipproto_anyio import AnyioRuntime
from sipproto_client import Call
from tests.conference.compare import Verdict, compare
from tests.conference.compare import table as table_of
from tests.conference.replay import replay

from .child import PATIENCE
from .embedded import Embedded
from .krivega import SDKS, Sdk, SdkPage
from .media_calls import AUDIO, GREEN, RED, VIDEO, YELLOW, MediaCall, gaps, until
from .ours import Ours
from .peers import HERTZ, BrowserPeer, PeerError

pytestmark = pytest.mark.interop
each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
Record = Callable[[str, object], None]

# What the recorded INFOs mean.
SAID: dict[str, c.ConferenceMessage] = {
    "media state": c.MediaState(cam=True, mic=False),
    "channels": c.Channels(input="0", output="1"),
    "refusal of microphone": c.RefusalToTurnOn(device=c.Device.MIC),
    "refusal of camera": c.RefusalToTurnOn(device=c.Device.CAM),
    "ask to enable camera": c.AskToEnableCam(),
    "bitrate": c.AvailableIncomingBitrate(bitrate=1000),
    "let me start presentation": c.ShareState(state=c.Share.LET_ME_START),
    "presentation stopped": c.ShareState(state=c.Share.STOPPED),
    "direct room": c.EnterRoom(room="p2perintobob", participant_name="bob", direct_peer_to_peer=True),
    "direct room of call": c.EnterRoom(room="p2pbobtoerin", participant_name="bob", direct_peer_to_peer=True),
}
CHANNELS = c.Channels(input="100,1", output="2,3")
TOLD: tuple[c.ConferenceMessage, ...] = (
    c.EnterRoom(room=c.PURGATORY, participant_name="Ivan Petrov"),
    c.EnterRoom(room="Room-A", participant_name="Иван Петров", channels=CHANNELS, bearer_token="AbC.dEf"),
    c.UseLicense(license=c.License.AUDIO_PLUS_PRESENTATION),
    c.ParticipantState(role=c.Role.SPECTATOR, audio_id="4", mode=c.SpectatorMode.FORCED),
    c.ParticipantState(role=c.Role.PARTICIPANT),
    c.MainCamControl(command=c.MainCam.MAX_RESOLUTION, resolution="1280x720"),
    c.MainCamControl(command=c.MainCam.PAUSE, forced=False),
    c.MainCamControl(command=c.MainCam.ADMIN_STOP, forced=True),
    c.MicControl(command=c.Mic.ADMIN_START, forced=False),
    c.ShareState(state=c.Share.AVAILABLE, codec="VP8"),
    c.ShareState(state=c.Share.ENDED),
    c.ShareState(state=c.Share.MUST_STOP),
    c.ChannelsNotified(input="1", output="2"),
    c.AddedToModerators(conference="Room-A"),
    c.ParticipationAccepted(conference="Room-A"),
    c.WebcastStarted(conference="Комната", type="hls"),
    c.AccountChanged(),
    c.ParticipantTokenIssued(conference="Room-A", participant="SIP/bob", jwt="AbC.dEf"),
)


class Table(MediaCall):
    """A call of a page to us, who are the conference."""

    def __init__(self, alice: Ours, call: Call, page: SdkPage) -> None:
        super().__init__(alice, call, page)
        self.page = page

    def tell(self, message: c.ConferenceMessage) -> c.Info:
        info = c.write_info(message)
        status = self.alice.say(
            lambda n: i.SendInfo(
                command=n, call=self.call.ident, content_type=info.content_type, headers=info.headers, body=b""
            )
        )
        assert status == 200
        return info

    def hear(self) -> tuple[o.InfoReceived, c.ConferenceMessage | c.Unusable]:
        """The next INFO, still to be answered, and what it means."""
        event = self.alice.expect(o.InfoReceived)
        (message,) = c.parse_info(event.content_type, event.headers, event.body)
        return event, message

    def answer(self, event: o.InfoReceived, status: int = 200, reason: str | None = None) -> None:
        self.alice.say(
            lambda n: i.AnswerInfo(command=n, call=event.call, info=event.info, status=status, reason=reason)
        )

    def exchange(self, name: str, status: int = 200, reason: str | None = None) -> int:
        """The page says it, we answer; the status as the page takes it. Raises PeerError for a refusal."""
        reply = self.page.start(name)
        event, message = self.hear()
        assert message == SAID[name]
        self.answer(event, status, reason)
        taken: int = self.page.peer.wait_reply(reply)["status"]
        return taken

    def present(self, color: tuple[int, int, int]) -> None:
        self.exchange("let me start presentation")
        self.page("present", color=f"rgb{color}")


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with Embedded() as server:
        yield server


FURTHER = tuple(TestPattern(color=YELLOW) for _ in range(2))
SETUP = MediaSetup(audio=Tone(HERTZ["alice"]), video=TestPattern(color=RED), further_video=FURTHER)


@pytest.fixture
def table(sdk: Sdk, server: Embedded, browser: BrowserPeer, request: pytest.FixtureRequest) -> Iterator[Table]:
    page = SdkPage(browser, "bob", sdk)
    we_call = getattr(request, "param", "") == "we call"
    try:
        page.enter(server.ws_url, server.domain)
        with Ours("anyio-asyncio", "alice", answer_infos=True) as alice:
            alice.connect(server.ws_url)
            if we_call:
                calling = alice.call("bob", media=(AUDIO, VIDEO), setup=SETUP)
                page.expect("call", state="incoming")
                page("answer")
                call = calling.result(PATIENCE)
            else:
                reply = page.send("call", target="alice", video=True)
                call = alice.answer(media=(AUDIO, VIDEO), setup=SETUP)
                page.peer.wait_reply(reply)
            table = Table(alice, call, page)
            table.talk()
            table.watch()
            yield table
            alice.do(call.hang_up)
            page.expect("call", state="ended")
    finally:
        page("close")
        browser.forget_events()


@each_sdk
def test_pages_say_what_the_sdk_said(sdk: Sdk, browser: BrowserPeer) -> None:
    """Every message of a page beside the recorded one of the SDK, before a server that says what that one's said."""
    page = SdkPage(browser, "erin", sdk)
    with start_blocking_portal("asyncio") as portal:
        opened = portal.wrap_async_context_manager(replay(AnyioRuntime(), sdk.recording))
        with opened as server:
            try:
                page.enter(f"ws://127.0.0.1:{server.port}/", "rig.test", user_agent="rig-sc")
                page("options", target="sip:erin@rig.test")
                page("call", target="bob", video=True)
                for name in sdk.recording.names(sent=True):
                    if name == "presentation offer":
                        page("present", color="green")
                    elif sdk.recording.request(name).method == "INFO" and not name.endswith("of call"):
                        assert page.say(name) == 200
                page("hangup")
                page.expect("call", state="ended")
            finally:
                page("close")
            portal.call(server.expect, "unregister with password")
            said = server.requests()
    browser.forget_events()
    assert said.keys() == {name for name in sdk.recording.names(sent=True) if not name.endswith("of call")}
    found = {name: compare(request, sdk.recording.request(name), ()) for name, request in said.items()}
    assert not any(one.verdict is Verdict.DIFFERENT for row in found.values() for one in row), table_of(found)


@each_sdk
def test_what_the_sdk_says_is_understood(table: Table) -> None:
    recorded = table.page.sdk.recording
    names = [name for name in recorded.names(sent=True) if recorded.request(name).method == "INFO"]
    assert set(names) - SAID.keys() == {"digit"}
    for name in names:
        if name == "digit":
            assert table.page.say(name) == 200
            digit = table.alice.expect(o.DtmfReceived)
            assert (digit.digit, digit.duration) == ("5", 120)
        else:
            assert table.exchange(name) == 200
    table.page("dtmf", digits="12#")
    assert [table.alice.expect(o.DtmfReceived).digit for _ in range(3)] == ["1", "2", "#"]


@each_sdk
@pytest.mark.parametrize("table", ["it calls", "we call"], indirect=True)
def test_what_we_say_arrives(table: Table) -> None:
    for message in TOLD:
        table.page.hears(table.tell(message))
    table.talk()


@each_sdk
def test_refusals(table: Table) -> None:
    """None of them ends the call, and a refused presentation changes nothing."""
    offers = len(table.alice.received("INVITE"))
    for name in ("ask to enable camera", "let me start presentation", "bitrate"):
        with pytest.raises(PeerError) as refused:
            table.exchange(name, 603)
        assert refused.value.status == 603
    assert len(table.page_lines()) == 2
    assert len(table.alice.received("INVITE")) == offers
    table.talk()
    table.watch()


@each_sdk
def test_only_ok_is_a_yes_to_the_older_one(table: Table) -> None:
    """Its stack reads the phrase and not the status, which is why servers have to answer 200 OK to the letter."""
    if table.page.sdk.stack == "krivega-5":
        with pytest.raises(PeerError) as refused:
            table.exchange("let me start presentation", 200, "Granted")
        assert refused.value.status == 200
    else:
        assert table.exchange("let me start presentation", 200, "Granted") == 200


@each_sdk
def test_presentation_of_the_page(table: Table) -> None:
    table.present(GREEN)
    table.we_see(GREEN, 1)
    table.watch()  # the camera as well
    assert [line.direction for line in table.call.lines] == [Direction.SENDRECV, Direction.SENDRECV, Direction.RECVONLY]
    table.exchange("presentation stopped")
    table.page("stop_presenting")
    offers = len(table.alice.received("INVITE"))
    quiet(table, table.line("video", 1))
    assert len(table.alice.received("INVITE")) == offers  # the line stays
    table.present(YELLOW)
    table.we_see(YELLOW, 1)
    assert len(table.call.lines) == 3


@each_sdk
def test_presentation_of_somebody_else(table: Table) -> None:
    table.page.hears(table.tell(c.ShareState(state=c.Share.AVAILABLE, codec="VP8")))
    (mid,) = table.alice.do(table.call.change_media, add=(("video", Direction.SENDONLY),))
    offer = table.page.expect("reinvite")
    assert len(parse_sdp(offer["body"]).media) == 3
    table.they_see(YELLOW, 1)
    table.watch()
    table.tell(c.ShareState(state=c.Share.ENDED))
    table.alice.do(table.call.change_media, directions=((mid, Direction.INACTIVE),))
    table.page.expect("reinvite")
    table.watch()


@each_sdk
def test_restart(table: Table, record_property: Record) -> None:
    """Version 16.2 restarts ICE when the server says so; the newer ones do not know the word."""
    before = table.page("sdp")["local"]
    with gaps(table, record_property, f"restart {table.page.sdk.name}"):
        table.tell(c.Restart(tracks_direction=c.TracksDirection.SENDRECV, audio_track_count=1, video_track_count=1))
        table.page.expect("info")
        if table.page.sdk.restarts:
            assert table.page.expect("restarted")["done"] is True
            assert ufrags(table.page("sdp")["local"]).isdisjoint(ufrags(before))
        else:
            table.talk()
            assert table.page("sdp")["local"] == before
        table.talk()
        table.watch()


@each_sdk
def test_restart_of_ours(table: Table, record_property: Record) -> None:
    before = ufrags(table.page("sdp")["remote"])
    with gaps(table, record_property, f"our restart {table.page.sdk.name}"):
        assert table.alice.do(table.call.restart_ice) is True
        table.page.expect("reinvite")
        assert ufrags(table.page("sdp")["remote"]).isdisjoint(before)
        table.talk()
        table.watch()


def quiet(table: Table, mid: str) -> None:
    """Pictures of the page stop to come by this line."""

    def decoded() -> int:
        return table.ours(mid).frames_decoded or 0

    def still() -> bool:
        before = decoded()
        time.sleep(0.4)
        return decoded() == before

    until(still, bool, f"pictures go on in {mid}")


def ufrags(description: str) -> set[str]:
    return {line for line in description.splitlines() if line.startswith("a=ice-ufrag:")}
