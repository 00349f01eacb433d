"""What happens in the conference to pictures: a presentation, cameras that the server commands, a restart of ICE."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent.media import MediaReport
from sipproto.agent.stats import InboundRtpStats, LocalCandidateStats, OutboundRtpStats, RemoteCandidateStats
from sipproto.media.video_balancer import ParametersUpdated
from sipproto_cli._common import CommandProblem
from sipproto_cli._demo._party import Figures, Party
from sipproto_cli._demo._senses import Scene
from sipproto_cli._demo._stage import ROOM, Stage
from sipproto_client import ConnectorError, ErrorCode, plain_task_group
from sipproto_devices import MediaSetup
from sipproto_server import PermissionWanted

_SLIDES = MediaSetup(video=Scene("orange"))
_OTHER_SLIDES = MediaSetup(video=Scene("violet"))
_CAP, _LOWER_CAP = 300_000, 120_000  # bits per second
_SECOND = 1  # the video line of presentations
_SMALL = "128x72"


# -- the presentation --------------------------------------------------------------------------------------------------


async def present(stage: Stage) -> None:
    """Refused, allowed, seen by the others, changed, and stopped."""
    stage.view.chapter("A presentation")
    alice, others = stage.alice, (stage.bob, stage.carol)
    await _ask(stage, alice, "deny")
    stage.view.step("alice asks to present, the operator denies it: ConnectorError REFUSED")
    await _ask(stage, alice, "allow", max_bitrate=_CAP)
    start = stage.runtime.now()
    await alice.told("presentation:started")
    alice.show("presents")
    for other in others:
        await other.told("api:availableSecondRemoteStream")
        await other.sees("orange", _SECOND)
    seconds = stage.runtime.now() - start
    capped = await alice.sends("the presentation", _is_sent, line=_SECOND, limit=_CAP)
    stage.view.step(
        f"allowed: bob and carol see the second stream (orange, {capped.width}x{capped.height}) {seconds:.1f} s later"
    )
    stage.view.step(f"alice sends it with {capped.bitrate / 1000:.0f} kbit/s, {_CAP // 1000} are the limit")
    await _update(stage, alice)
    for other in others:
        await other.sees("violet", _SECOND)
    lower = await alice.sends("the presentation", _is_sent, line=_SECOND, limit=_LOWER_CAP)
    stage.view.step(f"updated without a new offer: violet, {lower.bitrate / 1000:.0f} of {_LOWER_CAP // 1000} kbit/s")
    try:
        await stage.bob.connector.start_presentation(_SLIDES)
    except ConnectorError as error:
        _require_refusal(error)
    else:
        raise CommandProblem("bob should not present while alice does")
    stage.view.step("bob wants to present, too, and is refused")
    await alice.connector.stop_presentation()
    for other in others:
        await other.told("api:notAvailableSecondRemoteStream")
    await alice.told("presentation:ended")
    alice.show(f"in {ROOM}")
    stage.view.step("alice stops: presentation:ended, bob and carol are told api:notAvailableSecondRemoteStream")
    stage.notes.figures |= {"presentation": capped.words, "presentation_updated": lower.words}


async def _ask(stage: Stage, party: Party, verdict: str, max_bitrate: int | None = None) -> None:
    """Asks to present, and has the operator decide."""
    async with plain_task_group(stage.runtime) as tasks:
        tasks.start_soon(_decide, stage, party, verdict)
        try:
            await party.connector.start_presentation(_SLIDES, max_bitrate=max_bitrate)
        except ConnectorError as error:
            if verdict == "allow":
                raise
            _require_refusal(error)
        else:
            if verdict == "deny":
                raise CommandProblem(f"{party.name} should have been refused")


async def _decide(stage: Stage, party: Party, verdict: str) -> None:
    await stage.server_tells(f"the wish of {party.name}", lambda x: isinstance(x, PermissionWanted))
    stage.operator(verdict, party)


async def _update(stage: Stage, party: Party) -> None:
    """Asks once more, for another picture."""
    async with plain_task_group(stage.runtime) as tasks:
        tasks.start_soon(_decide, stage, party, "allow")
        await party.connector.update_presentation(_OTHER_SLIDES, max_bitrate=_LOWER_CAP)


def _require_refusal(error: ConnectorError) -> None:
    if error.code is not ErrorCode.REFUSED:
        raise error


# -- the camera --------------------------------------------------------------------------------------------------------


async def command_camera(stage: Stage) -> None:
    """The server commands the size and the rate of a camera, the balancer obeys; the others see it."""
    stage.view.chapter("The server commands carol's camera")
    carol, alice = stage.carol, stage.alice
    await carol.told("video-balancer:balancing-started")
    full = await _balanced(carol, _is_large)
    stage.view.step(f"she sends {full.words}")
    small = await _commanded(stage, "max-resolution", _is_small, _SMALL)
    report = await alice.measure("a small picture", lambda report: _is_small(report.inbound("video")))
    seen = report.inbound("video")
    assert seen is not None
    stage.view.step(
        f"MAXMAINCAMRESOLUTION {_SMALL}: {small.words}; alice receives {seen.frame_width}x{seen.frame_height}"
    )
    paused = await _commanded(stage, "pause-camera", lambda sent: (sent.frame_width or 0) < 64)
    again = await _commanded(stage, "resume-camera", _is_large)
    await alice.sees(carol.color)
    stage.view.step(f"PAUSEMAINCAM: {paused.words}; RESUMEMAINCAM: {again.words}")
    for name, figures in (("full", full), ("small", small), ("paused", paused), ("resumed", again)):
        stage.notes.figures[f"camera_{name}"] = figures.words


async def _commanded(stage: Stage, command: str, good: Callable[[OutboundRtpStats], bool], *values: str) -> Figures:
    """Has carol's camera commanded, and waits until what she sends is good."""
    stage.operator(command, stage.carol, *values)
    await stage.carol.told("api:main-cam-control")
    return await _balanced(stage.carol, good)


async def _balanced(party: Party, good: Callable[[OutboundRtpStats], bool]) -> Figures:
    """What is sent once the balancer has given the line other parameters."""
    updated = await party.told("video-balancer:parameters-updated")
    assert isinstance(updated, ParametersUpdated)
    limit = updated.effective.encodings[0].max_bitrate
    assert limit is not None
    return await party.sends("balancing", good, limit=limit)


def _is_sent(_: OutboundRtpStats) -> bool:
    return True


def _is_large(sent: OutboundRtpStats) -> bool:
    """Nobody has asked for less; how much of it is sent depends on the bit rate and the time that there is."""
    return (sent.frame_width or 0) >= 320


def _is_small(picture: OutboundRtpStats | InboundRtpStats | None) -> bool:
    return picture is not None and 0 < (picture.frame_width or 0) <= 128


# -- ICE ---------------------------------------------------------------------------------------------------------------


async def restart_ice(stage: Stage) -> None:
    """The server says restart; everybody goes over to a new pair of candidates, and hears the others meanwhile."""
    stage.view.chapter("The server says restart")
    before = {party.name: _ports(await party.call.stats()) for party in stage}
    stage.listen_for_gaps()
    start = stage.runtime.now()
    stage.operator(f"restart @{ROOM}")
    for party in stage:
        await party.told("api:restart")
        await party.restarted()
        await _on_another_pair(party, before[party.name])
        await party.hears(*(other for other in stage if other is not party))
    seconds = stage.runtime.now() - start
    gap = stage.longest_gap()
    stage.notes.figures |= {"ice_restart_s": round(seconds, 2), "gap_at_ice_restart_ms": round(1000 * gap)}
    stage.view.step(
        f"api:restart: all three are on new pairs of candidates after {seconds:.1f} s; "
        f"the longest silence at any ear: {1000 * gap:.0f} ms"
    )


async def _on_another_pair(party: Party, old: tuple[int | None, ...] | None) -> None:
    await party.measure("another pair of candidates", lambda report: _ports(report) not in (None, old))


def _ports(report: MediaReport) -> tuple[int | None, ...] | None:
    """Of the pair of candidates in use."""
    pair = report.selected_pair
    if pair is None:
        return None
    ends = (report.get(pair.local_candidate_id), report.get(pair.remote_candidate_id))
    return tuple(end.port for end in ends if isinstance(end, LocalCandidateStats | RemoteCandidateStats))
