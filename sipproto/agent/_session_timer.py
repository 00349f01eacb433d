"""Session timers (RFC 4028): somebody refreshes the session in time, or it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipproto.agent._call_table import CallState
from sipproto.agent.config import SessionTimers
from sipproto.agent.outputs import Cause
from sipproto.message import Request, Response, fields

if TYPE_CHECKING:
    from sipproto.agent._call import Call

FLOOR = 90  # seconds: no interval may be shorter (RFC 4028 5)
_MAX = 86_400  # a Min-SE of more than a day is no offer to refresh
_PATIENCE = 5.0  # seconds, while something else of the call is under way


class SessionTimer:
    """The interval that both sides agreed on, and who refreshes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._config = call.hub.config.session_timers
        self._least = max(FLOOR, self._config.minimum)  # what a 422 raises
        self._interval: int | None = None  # agreed on
        self._ours = False  # whether we refresh
        self._expires_at = 0.0

    @property
    def is_running(self) -> bool:
        """Whether an interval is agreed on."""
        return self._interval is not None

    # -- what messages say -------------------------------------------------------------------------------------------

    def request_headers(self) -> list[tuple[str, object]]:
        """For an INVITE, re-INVITE or UPDATE of ours (7.1, 7.4)."""
        wanted = self._interval or self._config.expires
        if not wanted:
            return []
        text = str(max(wanted, self._least))
        if self._interval is not None:  # 7.4: the roles stay as they are
            text += f";refresher={'uac' if self._ours else 'uas'}"
        out: list[tuple[str, object]] = [("Session-Expires", text)]
        if self._least > FLOOR:
            out.append(("Min-SE", self._least))
        return out

    def raised(self, response: Response) -> bool:
        """Takes note of a 422. Whether another attempt can succeed: it really asks for more (7.3)."""
        least = response.headers.get(fields.MIN_SE)
        if least is None or not max(self._least, self._interval or self._config.expires) < least.seconds <= _MAX:
            return False
        self._least = least.seconds
        self._interval = self._interval and least.seconds
        return True

    def accepted(self, response: Response) -> None:
        """The 2xx to a request of ours (7.2): without the header there is no timer."""
        stated = response.headers.get(fields.SESSION_EXPIRES)
        ours = stated is not None and (stated.params.get("refresher") or "uac").lower() != "uas"
        if stated is None or not (ours or self._config.agree):
            self._stop()
        else:
            self._start(stated.seconds, ours)

    def response_headers(self, request: Request) -> list[tuple[str, object]]:
        """For our 2xx (9). The timer runs from here."""
        stated = request.headers.get(fields.SESSION_EXPIRES)
        if stated is None or not _has_to_agree(request, self._config):
            self._stop()
            return []
        knows = _knows_timers(request)
        refresher = (stated.params.get("refresher") or "").lower()
        if refresher not in ("uac", "uas") or not knows:
            refresher = "uac" if knows else "uas"
        interval = max(stated.seconds, FLOOR)
        self._start(interval, refresher == "uas")
        out: list[tuple[str, object]] = [("Session-Expires", f"{interval};refresher={refresher}")]
        if refresher == "uac":
            out.append(("Require", "timer"))
        return out

    # -- time --------------------------------------------------------------------------------------------------------

    def _start(self, interval: int, ours: bool) -> None:
        interval = max(FLOOR, min(interval, 10 * _MAX))
        self._interval, self._ours = interval, ours
        self._expires_at = self._call.hub.now + interval
        # 10: who refreshes does so at half time; the other says BYE shortly before the end.
        self._call.start_timer("session", interval / 2 if ours else interval - min(32.0, interval / 3))

    def _stop(self) -> None:
        self._interval = None
        self._call.stop_timer("session")

    def fire(self) -> None:
        call = self._call
        left = self._expires_at - call.hub.now
        if call.state is not CallState.ESTABLISHED:
            call.start_timer("session", _PATIENCE)  # a call that is being recovered will be refreshed by that
        elif not self._ours or left <= 0:
            call.dialog_lost("the session was not refreshed in time", Cause.EXPIRED)
        elif not call.changes.refresh(self._refreshed):
            call.start_timer("session", min(_PATIENCE, max(0.1, left)))

    def _refreshed(self, done: bool, _: Cause, status: int | None, __: str) -> None:
        if done or self._call.state is not CallState.ESTABLISHED:
            return
        dialog = self._call.dialog
        if status in (405, 501) and dialog is not None:  # it said that it knows UPDATE, and does not
            dialog.remote_methods -= {"UPDATE"}
        left = self._expires_at - self._call.hub.now
        self._call.start_timer("session", max(0.1, min(left, max(_PATIENCE, left / 2))))


def _knows_timers(request: Request) -> bool:
    return any(tag.lower() == "timer" for tag in request.headers.all(fields.SUPPORTED))


def _has_to_agree(request: Request, config: SessionTimers) -> bool:
    return config.agree or any(tag.lower() == "timer" for tag in request.headers.all(fields.REQUIRE))


def too_small(request: Request, config: SessionTimers) -> int | None:
    """What to answer 422 with (9), when the peer asks for less than we take and would understand it."""
    stated = request.headers.get(fields.SESSION_EXPIRES)
    least = max(FLOOR, config.minimum)
    ignored = not _has_to_agree(request, config)
    if stated is None or ignored or stated.seconds >= least or not _knows_timers(request):
        return None
    return least
