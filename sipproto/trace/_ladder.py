"""Call-flow ladders in plain text."""

from __future__ import annotations

from sipproto.trace._callflow import AGENT, APPLICATION, Entry, call_flow, flows_of
from sipproto.trace._model import Transcript

_TIME = 11  # columns of the time stamp
_FIRST = 13  # columns from the application to the agent; what they say stands to the right of the agent
_LAST = 12  # columns to the right of the last line, for its title
_MIN_GAP = 26  # columns between other lines; flows for which there is no room share the last line
MIN_WIDTH = 60


def ladder(transcript: Transcript, *, width: int = 100) -> str:
    """The call flow as a ladder: the application, the agent and the peer of each flow, with arrows between them.

    width: columns, 60 and more. Times are seconds since the first step. Flows that do not fit beside each other share
    the last line, and are named on their arrows.
    """
    return _Ladder(transcript, max(MIN_WIDTH, width)).text()


class _Ladder:
    def __init__(self, transcript: Transcript, width: int) -> None:
        self._transcript = transcript
        self._width = width
        flows = flows_of(transcript)
        free = width - _TIME - _FIRST - _LAST
        room = free // _MIN_GAP
        self._own = list(flows)[: max(1, room) if len(flows) <= room else max(0, room - 1)]
        self._shared = len(self._own) < len(flows)
        titles = [APPLICATION, AGENT, *(f"flow {n} {flows[n]}".rstrip() for n in self._own)]
        if self._shared:
            titles.append("other flows" if self._own else "flows")
        gap = free // max(1, len(titles) - 2)
        self._columns = [_TIME, *(_TIME + _FIRST + number * gap for number in range(len(titles) - 1))]
        self._titles = titles

    def text(self) -> str:
        head = [" "] * self._width
        for title, column in zip(self._titles, self._columns, strict=True):
            _put(head, column, title)
        rows = ["".join(head).rstrip(), self._row(None, [])]
        rows += [self._entry(entry) for entry in call_flow(self._transcript)]
        return "\n".join(rows) + "\n"

    def _column(self, who: str | int) -> int:
        if who in (APPLICATION, AGENT):
            return self._columns[0 if who == APPLICATION else 1]
        return self._columns[2 + self._own.index(who)] if who in self._own else self._columns[-1]

    def _entry(self, entry: Entry) -> str:
        label = entry.label
        shared = next(
            (who for who in (entry.source, entry.target) if isinstance(who, int) and who not in self._own), None
        )
        if shared is not None:
            label = f"{shared}: {label}"
        if entry.source == entry.target:
            return self._note(entry.when, self._column(entry.source), label)
        source, target = self._column(entry.source), self._column(entry.target)
        left, right = sorted((source, target))
        room = right - left - 1
        if left == self._columns[0]:
            line = "-" * (room - 1)
            words = _shorten(label, self._width - right - 2)
            return self._row(
                entry.when, [(left + 1, f"{line}>" if target == right else f"<{line}"), (right + 2, words)]
            )
        text = f" {_shorten(label, room - 6)} ".center(room - 2, "-")
        arrow = f"-{text}>" if target == right else f"<{text}-"
        return self._row(entry.when, [(left + 1, arrow)])

    def _note(self, when: float, column: int, label: str) -> str:
        text = f"* {label}"
        free = self._width - column - 2
        if len(text) > free:  # to the left of its line, when there is more room
            column = max(_TIME, min(column, self._width - len(text) - 2))
            text = _shorten(text, self._width - column - 2)
        return self._row(when, [(column + 2, text)])

    def _row(self, when: float | None, parts: list[tuple[int, str]]) -> str:
        row = [" "] * self._width
        if when is not None:
            _put(row, 0, f"{when:9.3f}"[: _TIME - 1])
        for column in self._columns:
            row[column] = "|"
        for column, text in parts:
            _put(row, column, text)
        return "".join(row).rstrip()


def _put(row: list[str], at: int, text: str) -> None:
    text = text[: len(row) - at]
    row[at : at + len(text)] = text


def _shorten(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 2)] + ".."
