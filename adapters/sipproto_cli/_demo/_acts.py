"""What happens in the conference, but for pictures (`_media_acts.py`). Each step waits for what it claims."""

from __future__ import annotations

from sipproto.agent.outputs import DtmfReceived
from sipproto.conference import EnterRoom, License
from sipproto.connector.events import CallStatus
from sipproto.connector.naming import ChannelIds, MoveToSpectators, SyncForced
from sipproto_cli._common import CommandProblem
from sipproto_cli._demo._party import Party, until
from sipproto_cli._demo._stage import ROOM, USERS, Stage
from sipproto_server import ParticipantChanged

_DIGITS = "42#"
_OFFLINE = 0.5  # seconds


async def come_in(stage: Stage) -> None:
    """Everybody connects and calls; who has no account waits in the lobby."""
    stage.view.chapter("Into the room")
    for party in stage:
        configuration = await party.connector.connect(**stage.settings(party))
        party.show("registered" if configuration.register else "connected")
        if party.connector.is_registered is not (party.name in USERS):
            raise CommandProblem(f"{party.name} should be {'registered' if party.name in USERS else 'a guest'}")
    stage.view.step("alice and bob are registered (digest SHA-256), carol has no account")
    milliseconds = [await _enter(stage, party) for party in stage]
    stage.notes.figures["call_setup_ms"] = milliseconds
    each = ", ".join(f"{name} {time} ms" for name, time in zip(stage.parties, milliseconds, strict=True))
    stage.view.step(f"everybody calls {ROOM}, established after: {each}")
    await _told_room(stage.carol, "purgatory", CallStatus.PURGATORY)
    await stage.alice.hears(stage.bob)
    await stage.carol.hears()
    stage.view.step("carol is a guest and waits in the lobby: alice hears bob alone, carol hears nobody")
    typed = stage.operator("admit", stage.carol)
    await _told_room(stage.carol, ROOM, CallStatus.IN_ROOM)
    stage.view.step(f"the operator types {typed!r}; carol is told api:enterRoom with the room {ROOM}")


async def _enter(stage: Stage, party: Party) -> int:
    """Milliseconds until the call was established."""
    party.show("calling")
    start = stage.runtime.now()
    await party.connector.call(ROOM, party.stream)
    milliseconds = round(1000 * (stage.runtime.now() - start))
    if party.name in USERS:
        await _told_room(party, ROOM, CallStatus.IN_ROOM)
    return milliseconds


async def _told_room(party: Party, room: str, status: CallStatus) -> None:
    entered = await party.told("api:enterRoom")
    assert isinstance(entered, EnterRoom)
    if entered.room != room or party.connector.call_status is not status:
        raise CommandProblem(f"{party.name} should be in {room}, and is in {entered.room}")
    party.show(f"in {room}")


async def meet(stage: Stage) -> None:
    """Everybody hears the others and sees the one who came last."""
    stage.view.chapter("All hear and see one another")
    for party, shown in ((stage.alice, stage.carol), (stage.bob, stage.carol), (stage.carol, stage.bob)):
        others = [other for other in stage if other is not party]
        await party.hears(*others)
        seen = await party.sees(shown.color)
        tones = " and ".join(f"{other.name} ({other.hertz:g} Hz)" for other in others)
        size = f"{shown.color}, {seen.frame_width}x{seen.frame_height}"
        stage.view.step(f"{party.name} hears {tones} and sees {shown.name} ({size})")


async def change_roles(stage: Stage) -> None:
    """A participant becomes a spectator and comes back; what else the server has to say."""
    stage.view.chapter("Roles and notices")
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    stage.operator("spectator", carol)
    moved = await carol.told("api:participant:move-request-to-spectators")
    assert isinstance(moved, MoveToSpectators)
    carol.show("spectator")
    await alice.hears(bob)
    await alice.sees(bob.color)
    await carol.hears(alice, bob)
    stage.view.step(
        "carol is a spectator (api:participant:move-request-to-spectators): she hears, nobody hears or sees her"
    )
    stage.operator("participant", carol)
    await carol.told("api:participant:move-request-to-participants")
    carol.show(f"in {ROOM}")
    await alice.hears(bob, carol)
    await alice.sees(carol.color)
    stage.view.step("carol is a participant again (api:participant:move-request-to-participants), heard and seen")
    await carol.told("api:useLicense")  # of her entry
    stage.operator("license", carol, "AUDIO")
    if await carol.told("api:useLicense") is not License.AUDIO:
        raise CommandProblem("carol should have a license for audio")
    for command, name in (
        ("add-moderator", "api:participant:added-to-list-moderators"),
        ("remove-moderator", "api:participant:removed-from-list-moderators"),
        ("webcast-started", "api:webcast:started"),
        ("webcast-stopped", "api:webcast:stopped"),
    ):
        stage.operator(command, carol)
        await carol.told(name)
    stage.view.step(
        "carol is told api:useLicense AUDIO, that she is a moderator and is none, api:webcast:started, :stopped"
    )


async def talk(stage: Stage) -> None:
    """Digits, a microphone that the server turns off, and figures."""
    stage.view.chapter("Digits, a microphone, figures")
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    await alice.connector.send_dtmf(_DIGITS, gap=0.05)
    for digit in _DIGITS:
        await stage.server_tells(f"the digit {digit}", lambda x: isinstance(x, DtmfReceived))
    stage.view.step(f"alice dials {_DIGITS}, the server takes the digits one by one")
    await _switch_mic(stage, bob, False)
    await alice.hears(carol)
    await _switch_mic(stage, bob, True)
    await alice.hears(bob, carol)
    stage.view.step("the moderator turns bob's microphone off and on: bob does so and says so, alice hears it")
    await until(stage.runtime, "statistics", lambda: alice.collected is not None)
    stage.view.step(f"alice measures: {_statistics(alice)}")


async def _switch_mic(stage: Stage, party: Party, is_on: bool) -> None:
    """Has a moderator turn somebody's microphone on or off, and waits until they say that they have."""
    word = "start" if is_on else "stop"
    stage.operator(f"{word}-mic", party, "forced")
    forced = await party.told(f"api:admin-{word}-mic")
    assert isinstance(forced, SyncForced) and forced.is_sync_forced
    await stage.server_tells(
        f"{party.name} says that the microphone is switched",
        lambda output: isinstance(output, ParticipantChanged) and output.participant.mic is is_on,
    )


def _statistics(party: Party) -> str:
    """What the last sample says, in words."""
    assert party.collected is not None
    inbound, outbound = party.collected.inbound, party.collected.outbound
    audio, video = inbound.audio.inbound_rtp, inbound.video.inbound_rtp
    pair = outbound.additional.candidate_pair
    trip = pair.current_round_trip_time if pair is not None else None
    words = [f"round trip {1000 * trip:.1f} ms"] if trip is not None else []
    for kind, received in (("audio", audio), ("video", video)):
        if received is not None:
            jitter = f", jitter {1000 * received.jitter:.1f} ms" if received.jitter is not None else ""
            words.append(f"{kind} {received.packets_received} packets, {received.packets_lost or 0} lost{jitter}")
    return "; ".join(words)


async def lose_and_return(stage: Stage) -> None:
    """The connection of somebody is cut and comes back; the call goes on."""
    stage.view.chapter("A connection is cut and comes back")
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    stage.listen_for_gaps()
    call, start = bob.call, stage.runtime.now()
    await stage.cables["bob"].cut()
    await bob.told("connection:disconnected")
    bob.show("cut off")
    await stage.runtime.wait(stage.runtime.event(), _OFFLINE)
    if not call.reconnecting or call.ended is not None:
        raise CommandProblem("bob's call should wait for his connection")
    await bob.hears(alice, carol)
    stage.view.step("bob's WebSocket is cut: his call waits, he hears the others all the time")
    stage.cables["bob"].mend()
    if not await call.wait_recovered():
        raise CommandProblem("bob's call should go on")
    seconds = stage.runtime.now() - start
    bob.show(f"in {ROOM}")
    stage.operator("channels", bob, "1", "2")
    channels = await bob.told("api:channels:notify")
    assert isinstance(channels, ChannelIds) and channels.input_channels == "1"
    await alice.hears(bob, carol)
    await carol.sees(bob.color)
    gap = stage.longest_gap()
    stage.notes.figures |= {"reconnected_after_s": round(seconds, 2), "gap_at_reconnection_ms": round(1000 * gap)}
    stage.view.step(
        f"{seconds:.1f} s after the cut bob is back in the same call, and the server reaches him; "
        f"the longest silence at any ear: {1000 * gap:.0f} ms"
    )


async def leave(stage: Stage) -> None:
    """Everybody hangs up; the server has nobody left."""
    stage.view.chapter("Everybody leaves")
    for party in stage:
        await party.connector.hang_up()
        await party.told("call:ended")
        await party.connector.disconnect()
        party.show("gone")
    server = stage.server.core
    await until(stage.runtime, "the end at the server", lambda: not server.participants)
    stage.view.step("all have hung up, unregistered and disconnected; the room is empty")
