"""How a call ends."""

from __future__ import annotations

from sipproto.agent.outputs import Cause, Originator, Reason


class End:
    """Why and by whom a call ends; the last one noted before REPORT_END counts."""

    __slots__ = ("cause", "detail", "originator", "reason", "reasons", "refusal", "said", "status")

    def __init__(
        self,
        cause: Cause,
        originator: Originator,
        detail: str = "",
        *,
        status: int | None = None,
        refusal: int = 603,
        reason: str | None = None,
        reasons: tuple[Reason, ...] = (),
        said: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.cause = cause
        self.originator = originator
        self.detail = detail
        self.status = status
        self.refusal = refusal  # what an unanswered INVITE of the peer gets
        self.reason = reason
        self.reasons = reasons  # of the peer
        self.said = said  # headers of ours that say why
