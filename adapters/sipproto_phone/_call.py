"""One call: how it is shown, and what can be done in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from sipproto.agent import outputs as o
from sipproto.agent.outputs import Cause, Originator
from sipproto.errors import SipProtoError
from sipproto.sdp import Direction
from sipproto_client import Call
from sipproto_phone._sound import CallSound, Sound
from sipproto_phone.commands import CommandProblem
from sipproto_phone.model import CallView, Outcome, Phase

AUDIO = (("audio", Direction.SENDRECV),)
_UP = (Phase.TALKING, Phase.HELD, Phase.RECONNECTING)
# Of a call that was not answered, by why it ended.
_REFUSED: dict[Cause, Outcome] = {
    Cause.BUSY: Outcome.BUSY,
    Cause.REJECTED: Outcome.REJECTED,
    Cause.NO_ANSWER: Outcome.NO_ANSWER,
    Cause.UNAVAILABLE: Outcome.NO_ANSWER,
    Cause.CANCELED: Outcome.CANCELED,
    Cause.TERMINATED: Outcome.CANCELED,
}


class PhoneCall:
    """A call of ours in the client, as a CallView. changed: told whenever the view is another one."""

    def __init__(self, view: CallView, call: Call, sound: Sound, changed: Callable[[], None]) -> None:
        self.view = view
        self.call = call
        self.entry: int | None = None  # in the journal
        self.early_media = False
        self.decided: Outcome | None = None  # by us, before the call has ended
        self.answered: float | None = None  # when, in seconds since 1970, for the journal
        self.hidden = False
        self._sounds = sound
        self._changed = changed
        self.sound: CallSound | None = None
        self.on_answer: Callable[[], object] = lambda: None  # or at the end: it rings no more

    def show(self, **fields: Any) -> None:
        """The view with these fields."""
        view = evolve(self.view, **fields)
        if view != self.view:
            self.view = view
            self._changed()

    @property
    def is_up(self) -> bool:
        return self.view.phase in _UP

    @property
    def is_over(self) -> bool:
        return self.view.phase is Phase.ENDED

    @property
    def rings(self) -> bool:
        return self.view.phase is Phase.INCOMING

    # -- what is told of it ------------------------------------------------------------------------------------------

    def heard(self, event: object) -> None:
        """An event of this call, but its beginning, answer and end."""
        match event:
            case o.CallProgressed(status=status, early_media=early):
                self.early_media = self.early_media or early
                if status in (180, 183) and self.view.phase is Phase.DIALLING:
                    self.show(phase=Phase.RINGING)
                self._changed()
            case o.CallHeld(originator=Originator.LOCAL):
                self.show(phase=Phase.HELD)
            case o.CallResumed(originator=Originator.LOCAL):
                self.show(phase=Phase.TALKING)
            case o.CallHeld():
                self.show(held_by_peer=True)
            case o.CallResumed():
                self.show(held_by_peer=False)
            case o.CallReconnecting():
                self.show(phase=Phase.RECONNECTING)
            case o.CallRecovered():
                self.show(phase=self._steady_phase())
            case o.TransferProgressed(status=status):
                self.show(transfer=status)
            case _:
                pass

    def _steady_phase(self) -> Phase:
        return Phase.HELD if Originator.LOCAL in self.call.held_by else Phase.TALKING

    def outcome_of(self, ended: o.CallEnded | None) -> Outcome:
        """How it ended, for the journal and the screen."""
        if self.view.answered_at is not None:
            return Outcome.ANSWERED
        if self.decided is not None:
            return self.decided
        if self.view.incoming:
            elsewhere = ended is not None and ended.answered_elsewhere
            return Outcome.ELSEWHERE if elsewhere else Outcome.MISSED
        if ended is None:
            return Outcome.FAILED
        if ended.cause is Cause.REQUEST_TIMEOUT and ended.status == 408:
            return Outcome.NO_ANSWER
        return _REFUSED.get(ended.cause, Outcome.FAILED)

    # -- what can be done in it --------------------------------------------------------------------------------------

    def require_up(self) -> None:
        if not self.is_up:
            raise CommandProblem("nobody talks in this call", "not_possible")

    async def hold(self) -> None:
        """Nobody hears us from now on, whatever the peer says to the hold. Raises CommandProblem when it refuses."""
        self.require_up()
        if self.view.phase is Phase.RECONNECTING:
            self.fall_silent()  # the peer is told when the call has recovered
        elif self.view.phase is not Phase.HELD:
            await self._rest(True)

    async def resume(self) -> None:
        self.require_up()
        if self.view.phase is Phase.HELD:
            await self._rest(False)
        elif Originator.LOCAL not in self.call.held_by:
            self._set_resting(False)  # it only fell silent

    async def _rest(self, resting: bool) -> None:
        if resting:
            self._set_resting(True)
        try:
            await (self.call.hold() if resting else self.call.resume())
        except SipProtoError as error:
            self._set_resting(self.view.phase is Phase.HELD)
            if getattr(error, "status", None) is None:  # nobody has answered
                raise CommandProblem(str(error)) from None
            raise CommandProblem(f"the other side refused: {error}", "refused") from None
        self._set_resting(resting)

    def _set_resting(self, resting: bool) -> None:
        if self.sound is not None and not self.is_over:
            self._sounds.rest(self.sound, resting)

    def fall_silent(self) -> None:
        """Nobody hears us from now on, though the peer cannot be told of a hold: the connection to it is lost."""
        self._set_resting(True)

    @property
    def is_to_be_held(self) -> bool:
        """Whether we are silent, and the peer does not know it yet."""
        return self.sound is not None and self.sound.resting and self.view.phase is Phase.TALKING

    def mute(self, muted: bool) -> None:
        """Really silent: zeros are sent in place of what the microphone hears."""
        if self.is_over or self.sound is None:
            raise CommandProblem("nobody talks in this call", "not_possible")
        self.sound.microphone.muted = muted
        self.show(muted=muted)

    async def send_digits(self, digits: str) -> None:
        self.require_up()
        if not digits or len(digits) > 64 or set(digits.upper()) - set("0123456789*#ABCD,"):
            raise CommandProblem("digits are 0 to 9, * and #, A to D, and a comma for a pause", "bad_digits")
        self.show(digits=(self.view.digits + digits)[-64:])
        await self.call.send_dtmf(digits.upper())
