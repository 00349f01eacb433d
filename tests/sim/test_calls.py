"""Proof: a thousand random calls between two agents, on links that do what links do."""

from __future__ import annotations

import collections
import itertools

import pytest

from sipproto.agent import Output, Recovery
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from tests.sim.network import Link, MediaPeer
from tests.sim.pair import AUDIO, Pair

CALLS = 50  # in each chunk; 20 chunks
LINKS = {
    "udp-clean": Link(),
    "udp-jitter": Link(jitter=0.3, reorder=0.2),
    "udp-loss": Link(loss=0.2, duplicate=0.1, reorder=0.1, jitter=0.05),
    "udp-terrible": Link(loss=0.45, duplicate=0.2, reorder=0.3, jitter=0.5),
    "ws-clean": Link(transport="WS"),
    "ws-reset": Link(transport="WS", jitter=0.2),
}
MEDIA = {
    "good": MediaPeer(),
    "bad": MediaPeer(fail=0.1, silent=0.1, break_later=0.1),
    "slow": MediaPeer(delay=15.0),
}
CHUNKS = [
    *[(link, media, seed) for seed, link in enumerate(LINKS) for media in MEDIA],
    ("udp-loss", "good", 101),
    ("ws-reset", "bad", 102),
]


def simulate(link: str, media: str, seed: int, *, calls: int = CALLS, base: float = 0.0) -> Pair:
    pair = Pair(seed, LINKS[link], MEDIA[media], base=base)
    pair.auto = True
    for number in range(calls):
        pair.after(120 * pair.rng.random(), lambda number=number: pair.random_call(f"call-{number}"))  # type: ignore[misc]
    if link == "ws-reset":
        for _ in range(8):
            name = pair.rng.choice("ab")
            pair.after(120 * pair.rng.random(), lambda name=name: pair.reset(name))  # type: ignore[misc]
    pair.run(260)
    pair.run(200)
    return pair


@pytest.mark.parametrize(("link", "media", "seed"), CHUNKS, ids=lambda value: str(value))
def test_random_calls(link: str, media: str, seed: int) -> None:
    pair = simulate(link, media, seed)
    pair.check()
    assert len(pair.stories) > CALLS / 2
    assert any(story.established for story in pair.stories.values())
    for (name, _), numbers in pair.cseqs().items():
        # one more for each new request of a dialog, an INVITE with its credentials included
        steps = [after[0] - before[0] for before, after in itertools.pairwise(numbers)]
        assert set(steps) <= {1}, f"seed {seed}, agent {name}: {numbers}"
    if LINKS[link].loss == 0 and link != "ws-reset":
        for name, story in pair.stories.items():
            if not story.interrupted:
                assert story.established == {"a", "b"}, f"seed {seed}, {name}: {story}"


@pytest.mark.parametrize("link", ["udp-loss", "ws-reset"])
def test_same_seed_same_octets(link: str) -> None:
    first, second = (simulate(link, "bad", 7, calls=15) for _ in range(2))
    assert first.octets() == second.octets()
    assert first.log == second.log


def test_shifted_time_shifts_everything() -> None:
    first, second = (simulate("udp-loss", "bad", 8, calls=15, base=base) for base in (0.0, 2.0**20))
    outputs: list[list[tuple[str, Output]]] = [[(n, out) for _, n, out in pair.log] for pair in (first, second)]
    assert outputs[0] == outputs[1]
    assert [when for when, _, _ in first.log] == pytest.approx([when for when, _, _ in second.log], abs=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 5, 23, 79])  # the last two have shown something
def test_calls_go_on_after_a_reset(seed: int) -> None:
    """With recovery: whatever breaks and whenever, a call that is up ends because somebody wants it to."""
    pair = Pair(seed, Link(transport="WS", jitter=0.1), recovery=Recovery(first_delay=0.5, max_delay=4.0))
    pair.auto = True
    for number in range(30):
        pair.after(60 * pair.rng.random(), lambda number=number: pair.random_call(f"call-{number}"))  # type: ignore[misc]
    for _ in range(8):
        name = pair.rng.choice("ab")
        pair.after(80 * pair.rng.random(), lambda name=name: pair.reset(name))  # type: ignore[misc]
    pair.run(400)
    pair.check(bound=400)
    up: set[tuple[str, str]] = set()
    causes: collections.Counter[o.Cause] = collections.Counter()
    for _, name, output in pair.log:
        if isinstance(output, o.CallEstablished):
            up.add((name, output.call))
        elif isinstance(output, o.CallEnded) and (name, output.call) in up:
            causes[output.cause] += 1
    recovered = [out for _, _, out in pair.log if isinstance(out, o.CallRecovered)]
    assert len(recovered) >= 4
    # Some answer an offer with media by a description without ICE.
    assert set(causes) <= {o.Cause.TERMINATED, o.Cause.INCOMPATIBLE_MEDIA}, causes


def test_established_calls_exist_at_all() -> None:
    pair = simulate("udp-clean", "good", 3)
    kinds = {type(output) for _, _, output in pair.log}
    assert {o.CallHeld, o.CallResumed, o.DtmfReceived, o.InfoReceived, o.CallEstablished} <= kinds


def story(link: Link) -> dict[str, list[Output]]:
    """What the applications are told of one fixed call."""
    pair = Pair(11, link)
    pair.call("a", "call", media=(AUDIO,))
    pair.run(1)
    (call,) = pair.b.agent.calls
    for name, what in (
        ("b", i.Answer(command=0, call=call, media=(AUDIO,))),
        ("a", i.Hold(command=0, call="call")),
        ("b", i.SendInfo(command=0, call=call, content_type="text/plain", body=b"x")),
        ("b", i.SendDtmf(command=0, call=call, digits="12")),
        ("a", i.Resume(command=0, call="call")),
        ("b", i.Hold(command=0, call=call)),
        ("a", i.HangUp(command=0, call="call")),
    ):
        pair.command(name, what)
        pair.run(2)
    pair.reconnect = False
    pair.run(200)
    pair.check()
    unseen = (o.SendData, m.OpenMedia, m.ApplyMedia)
    return {side: [out for _, name, out in pair.log if name == side and not isinstance(out, unseen)] for side in "ab"}


def test_duplicates_change_nothing_for_the_application() -> None:
    once, twice = story(Link()), story(Link(duplicate=1.0))
    for side in "ab":
        # A 180 may be repeated on purpose (13.3.1.1), and nothing tells such a one from a duplicate.
        unlike = (o.IncomingCall, o.CallProgressed)
        told = [[out for out in of[side] if not isinstance(out, unlike)] for of in (once, twice)]
        assert told[0] == told[1]
