"""Who sees what: the main video of each room, and its presentation on a second video line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipproto.agent import inputs as i
from sipproto.agent.media import CallId
from sipproto.conference import PURGATORY, Role, Share, ShareState
from sipproto.sdp import Direction
from sipproto_server._config import ArrangeMedia, Arrangement, VideoFrom
from sipproto_server._room import Participant, PresentationEnded, PresentationStarted, Room, Undelivered

if TYPE_CHECKING:
    from sipproto_server._conference import Conference


class Pictures:
    """Brings about by re-INVITE what everybody in a room is to see, and tells the media engine."""

    def __init__(self, conference: Conference) -> None:
        self._conference = conference
        self._focus = conference.focus
        self._arranged: dict[CallId, Arrangement] = {}

    def __len__(self) -> int:
        return len(self._arranged)

    def refresh(self, room: Room) -> None:
        """Somebody is there, is gone, or sends something else: brings everything in a room in order."""
        presenter = room.presenter
        begins = presenter is not None and presenter.granting is None and presenter.content_in is not None
        if presenter is not None and begins and not room.showing:
            room.showing, room.permitted_until = True, None
            self._focus.emit(PresentationStarted(room=room.name, participant=presenter.ident))
            self._conference.note(presenter, presenting=True)
        shown: set[VideoFrom] = set()
        for member in room.members:
            self._offer(room, member)
            shown |= self.arrange(room, member)
        for source in shown:
            self._ask_for_key_frame(room, source)

    def end(self, room: Room) -> None:
        """The presentation of a room is over, or the permission for one."""
        presenter, was_shown = room.presenter, room.showing
        room.presenter, room.showing, room.permitted_until = None, False, None
        if presenter is not None and was_shown:
            self._focus.emit(PresentationEnded(room=room.name, participant=presenter.ident))
            self._conference.note(presenter, presenting=False)
        self.refresh(room)

    def leave(self, member: Participant) -> None:
        """Somebody goes into another room, where there is another presentation, or none."""
        if member.told:
            member.told = False
            self._conference.tell(member, ShareState(state=Share.ENDED))

    # -- one participant ---------------------------------------------------------------------------------------------

    def _offer(self, room: Room, member: Participant) -> None:
        """Tells of the presentation or of its end, and gives a second line to see it by. One change after the other.

        The line stays as it is when there is nothing more to see: stacks of browsers put a presentation of their own on a line
        only while they receive on it, and add another one else. In both directions, so that we take it then.
        """
        wanted = room.showing and room.presenter is not member
        if wanted and not member.told and room.presenter is not None:
            member.told = True
            self._conference.tell(member, ShareState(state=Share.AVAILABLE, codec=_codec_of(room.presenter)))
        elif not wanted:
            self.leave(member)
        if member.changing or member.tried is wanted or 0 not in member.lines:
            return
        member.tried = wanted  # once: who does not take the line would be asked for ever
        if not wanted or member.content_out is not None:
            return
        spare = member.spare_line
        if spare is None:
            self._change(room, member, add=(("video", Direction.SENDRECV),))
        else:
            self._change(room, member, directions=((member.lines[spare].mid, Direction.SENDRECV),))

    def _change(
        self,
        room: Room,
        member: Participant,
        *,
        add: i.Media = (),
        directions: tuple[tuple[str, Direction], ...] = (),
    ) -> None:
        def done(error: str | None) -> None:
            member.changing = False
            if error is not None:
                self._focus.emit(Undelivered(participant=member.ident, what="media", detail=error))
            if member in room.members:
                self.refresh(room)
                self.settle(room, member)

        member.changing = True
        self._focus.command(
            lambda command: i.ChangeMedia(command=command, call=member.call, add=add, directions=directions), done
        )

    def settle(self, room: Room, member: Participant) -> None:
        """Answers the wish to present, now that no re-INVITE of ours can meet the one that follows it (RFC 3261 14.1)."""
        if member.granting is None or member.changing:
            return
        info, member.granting = member.granting, None
        self._focus.command(
            lambda command: i.AnswerInfo(command=command, call=member.call, info=info), lambda error: None
        )
        self.refresh(room)

    # -- the media engine --------------------------------------------------------------------------------------------

    def arrange(self, room: Room, member: Participant) -> set[VideoFrom]:
        """Tells the media engine what somebody hears and sees, if that is new; returns what they did not see before."""
        wanted, before = self._arrangement(room, member), self._arranged.get(member.call, Arrangement())
        if self._arranged.get(member.call) != wanted:
            self._arranged[member.call] = wanted
            self._focus.emit(ArrangeMedia(call=member.call, arrangement=wanted))
        return {source for source in wanted.video if source is not None and source not in before.video}

    def _ask_for_key_frame(self, room: Room, source: VideoFrom) -> None:
        """Of whose picture is shown from now on: what came before may have been lost, and nobody has missed it."""
        sender = next((one for one in room.members if one.call == source.call), None)
        if sender is None:
            return
        mid = sender.lines[source.line].mid
        self._focus.command(lambda n: i.RequestKeyFrame(command=n, call=sender.call, line=mid), lambda _: None)

    def forget(self, call: CallId) -> None:
        self._arranged.pop(call, None)

    def _arrangement(self, room: Room, member: Participant) -> Arrangement:
        if room.name == PURGATORY or member not in room.members:
            return Arrangement()
        main = room.main_for(member)
        shown = {0: VideoFrom(call=main.call, line=main.main_line or 0) if main is not None else None}
        presenter = room.presenter
        source = presenter.content_in if presenter is not None else None
        if room.showing and presenter is not None and presenter is not member and source is not None:
            shown |= {n: VideoFrom(call=presenter.call, line=source) for n in member.lines if n == member.content_out}
        return Arrangement(
            room=room.name,
            speaks=member.info.role is Role.PARTICIPANT,
            video=tuple(shown.get(number) for number in range(max(shown) + 1)),
        )


def _codec_of(presenter: Participant) -> str | None:
    line = presenter.content_in
    return None if line is None else presenter.lines[line].codec.rpartition("/")[2] or None
