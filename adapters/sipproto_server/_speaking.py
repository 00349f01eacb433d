"""Who speaks in a room, by how loud everybody is.

Whoever has spoken for a moment takes over from who is silent, and stays until somebody else does. So that pictures do not
flicker nobody takes over twice within the hold time, and of two at once the first one stays.
"""

from __future__ import annotations

from sipproto.agent.media import CallId

THRESHOLD = -45.0  # dBFS RMS of a measurement: who is softer is silent
ATTACK = 0.5  # seconds of speech after which somebody takes over: a cough does not
PAUSE = 1.0  # seconds of silence after which somebody else may
HOLD = 2.0  # seconds after a change for which there is no other
_GAP = 0.6  # seconds between two measurements after which speech begins anew


class Speakers:
    """`order`: all who have spoken, the last one first."""

    def __init__(self) -> None:
        self.order: list[CallId] = []
        self._began: dict[CallId, float] = {}
        self._heard: dict[CallId, float] = {}
        self._changed: float | None = None

    def heard(self, call: CallId, level: float, now: float) -> bool:
        """Takes the level of a call, in dBFS. Whether it has become the one who speaks."""
        if level < THRESHOLD:
            self._began.pop(call, None)
            return False
        last = self._heard.get(call)
        if last is None or now - last > _GAP:
            self._began.pop(call, None)
        began = self._began.setdefault(call, now)
        self._heard[call] = now
        if self.order[:1] == [call] or now - began < ATTACK or not self._may_change(now):
            return False
        self.order = [call, *(one for one in self.order if one != call)]
        self._changed = now
        return True

    def _may_change(self, now: float) -> bool:
        if self._changed is not None and now - self._changed < HOLD:
            return False
        return not self.order or now - self._heard[self.order[0]] >= PAUSE

    def forget(self, call: CallId) -> None:
        """They have left the room, or may not speak any more."""
        self.order = [one for one in self.order if one != call]
        self._began.pop(call, None)
        self._heard.pop(call, None)
