"""A call whose offer is left to the peer, between two real engines over loopback, on each of the runtimes."""

from __future__ import annotations

import pytest

from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto_aiortc import MediaSetup, Tone
from sipproto_client import Call
from sipproto_client.port import Runtime
from tests.client.rig import REALM, RUNTIMES, play
from tests.client.test_frames import AUDIO, two

BOB = f"sip:bob@{REALM}"


async def hears(call: Call, frequency: float) -> None:
    """Waits until a tone is heard; the time limit is that of the scenario."""
    async with call.watch_stats(0.1) as samples:
        async for report in samples:
            line = report.line("audio")
            if line is not None and line.audio_frequency is not None and abs(line.audio_frequency - frequency) < 30:
                return


@pytest.mark.parametrize("named", ["before", "when the offer is there"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_the_called_offers_and_media_flow(name: str, named: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with two(runtime) as (alice, bob), runtime.task_group() as tasks:
            answered: list[Call] = []
            incoming = bob.incoming_calls()
            call = alice.new_call()
            events = call.events()

            async def answer() -> None:
                theirs = await anext(incoming)
                assert theirs.incoming is not None and theirs.incoming.offer == b""
                answered.append(theirs)
                await theirs.answer(AUDIO, setup=MediaSetup(audio=Tone(600.0)))

            async def take() -> None:
                async for event in events:
                    if isinstance(event, o.CallOffered):
                        assert (event.audio, event.video) == (True, False)
                        await call.answer(AUDIO, setup=MediaSetup(audio=Tone(440.0)))
                        return

            tasks.start_soon(answer)
            if named == "before":
                await alice.call(BOB, AUDIO, call=call, setup=MediaSetup(audio=Tone(440.0)), late_offer=True)
            else:
                tasks.start_soon(take)
                await alice.call(BOB, call=call, late_offer=True)
            assert [line.kind for line in call.lines] == ["audio"]
            await hears(call, 600.0)
            await hears(answered[0], 440.0)
            await call.hold()
            await call.resume()
            assert call.lines[0].direction is Direction.SENDRECV
            await call.hang_up()
            events.close()
            incoming.close()

    play(name, scenario)


def test_a_call_with_nothing_to_offer_fails_at_once() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with two(runtime) as (alice, _):
            with pytest.raises(LocalProtocolError, match="media or a body"):
                await alice.call(BOB)
            assert alice.agent.calls == ()

    play(RUNTIMES[0], scenario)
