"""SIP messages as they come and go, each in a few words."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o


def summary_of(data: bytes) -> str:
    """A SIP message in a few words: its method or status, and what it answers."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("utf-8", "replace").split("\r\n")
    words = lines[0].split(" ", 2)
    what = f"{words[1]} {words[2]}" if words[0].startswith("SIP/") and len(words) > 2 else words[0]
    cseq = next((line.split(":", 1)[1].strip() for line in lines[1:] if line.lower().startswith("cseq:")), "")
    method = cseq.split(" ")[-1]
    about = f" ({method})" if words[0].startswith("SIP/") and method else ""
    sdp = " + SDP" if b"m=audio" in body or b"m=video" in body else ""
    return f"{what}{about}{sdp}" if what.strip() else "keep-alive"


class Ladder:
    """The messages between endpoints and the server, as (seconds, who, direction, what)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._start = now()
        self.rows: list[tuple[float, str, str, str]] = []

    def tap(self, who: str) -> Callable[[str, object], None]:
        def note(_: str, what: object) -> None:
            arrow = "->" if isinstance(what, o.SendData) else "<-" if isinstance(what, i.DataReceived) else ""
            if arrow and isinstance(what, o.SendData | i.DataReceived):
                self.rows.append((self._now() - self._start, who, arrow, summary_of(what.data)))

        return note

    def table(self, last: int | None = None) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for column in ("right", "left", "left", "left"):
            table.add_column(justify=column)
        for seconds, who, arrow, what in self.rows[-last:] if last else self.rows:
            other = "server"
            table.add_row(f"{seconds:6.3f}", Text(who, style="bold"), f"{arrow} {other}", what)
        return table
