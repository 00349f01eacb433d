"""What a scripted server answers to what: rules of the test, the newest of which counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

IN_ORDER = 200
Answer = int | None  # a status; None: never
Chooser = Callable[[Any], Answer]


class Everything:
    """What a rule is for that names nothing."""

    def __repr__(self) -> str:
        return "everything"


EVERYTHING = Everything()


@define
class _Rule:
    to: object
    answer: Answer | Chooser
    left: int | None  # how often it still counts; None: always

    def covers(self, what: object, name: object) -> bool:
        match self.to:
            case Everything():
                return True
            case type() as kind:
                return isinstance(what, kind)
            case to if callable(to):
                return bool(to(what))
            case _:
                return self.to in (what, name)


class Answers:
    """The rules for one kind of thing. Without any, all is in order (200)."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(self, answer: Answer | Chooser, to: object, times: int | None) -> None:
        """Raises ValueError for what is no answer: it is 200, a refusal of 300 to 699, None, or a function of such."""
        if not callable(answer):
            _check(answer)
        if times is not None and times < 1:
            raise ValueError(f"a rule counts once or more often, not {times} times")
        self._rules.append(_Rule(to, answer, times))

    def of(self, what: object, name: object = None) -> Answer:
        """The answer to `what`, which is also known by its `name`. Rules that are used up are forgotten."""
        for rule in reversed(self._rules):
            if rule.covers(what, name):
                if rule.left is not None:
                    rule.left -= 1
                    if not rule.left:
                        self._rules.remove(rule)
                return _check(rule.answer(what)) if callable(rule.answer) else rule.answer
        return IN_ORDER

    def clear(self) -> None:
        self._rules.clear()


def _check(answer: object) -> Answer:
    if answer is None or (isinstance(answer, int) and (answer == IN_ORDER or 300 <= answer <= 699)):
        return answer
    raise ValueError(f"{answer!r} is no answer: give 200, a refusal of 300 to 699, or None for silence")
