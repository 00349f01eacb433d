"""Calls in the simulator, recorded."""

from __future__ import annotations

from typing import Any

from sipproto.agent import AgentConfig, Input, Output, SessionTimers, UserAgent
from sipproto.trace import Recorder, Transcript, read_transcript
from tests.sim.network import Agent, Link, MediaPeer, Node
from tests.sim.pair import NO_RECOVERY, Pair, config
from tests.sim.test_calls import LINKS, MEDIA


class Recorded:
    """An agent whose inputs go through a recorder."""

    def __init__(self, agent_config: AgentConfig, *, bodies: bool = True) -> None:
        self.pieces: list[str] = []
        self.recorder = Recorder(self.pieces.append, agent_config, bodies=bodies)
        self.agent = UserAgent(self.recorder.config)

    def handle(self, what: Input, now: float) -> tuple[Output, ...]:
        return self.recorder.handle(self.agent, what, now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    @property
    def text(self) -> str:
        self.recorder.finish()
        return "".join(self.pieces)

    @property
    def transcript(self) -> Transcript:
        return read_transcript(self.text)


class RecordedPair(Pair):
    """Two agents of the simulator, both recorded."""

    def __init__(self, seed: int, link: Link, media: MediaPeer | None = None, *, bodies: bool = True) -> None:
        self.recorded: dict[str, Recorded] = {}
        self._bodies = bodies
        super().__init__(seed, link, media)

    def add(self, name: str, agent: Agent, media: MediaPeer | None = None) -> Node:
        recorded = Recorded(
            config(name, 2 * self.seed + (name == "b"), NO_RECOVERY, SessionTimers()), bodies=self._bodies
        )
        self.recorded[name] = recorded
        return super().add(name, recorded, media)


def simulate(link: str, media: str, seed: int, *, calls: int = 10, bodies: bool = True) -> RecordedPair:
    """Random calls between two agents, with lost connections on the link "ws-reset"."""
    pair = RecordedPair(seed, LINKS[link], MEDIA[media], bodies=bodies)
    pair.auto = True
    for number in range(calls):
        pair.after(120 * pair.rng.random(), lambda number=number: pair.random_call(f"call-{number}"))  # type: ignore[misc]
    if link == "ws-reset":
        for _ in range(8):
            name = pair.rng.choice("ab")
            pair.after(120 * pair.rng.random(), lambda name=name: pair.reset(name))  # type: ignore[misc]
    pair.run(460)
    pair.check()
    return pair
