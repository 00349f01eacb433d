"""What a connector is asked for, beyond the inputs of an agent. Commands share the numbers of those of the agent.

Each command ends in one CommandSucceeded or CommandFailed. Those that another one takes the place of end as SUPERSEDED,
those that are given up as CANCELED.
"""

from __future__ import annotations

from attrs import field, frozen, validators

from sipproto.agent.inputs import CommandId, Media
from sipproto.agent.media import CallId
from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding, SenderParameters
from sipproto.conference import (
    AskToEnableCam,
    AvailableIncomingBitrate,
    Channels,
    EnterRoom,
    MediaState,
    RefusalToTurnOn,
    ShareState,
)
from sipproto.connector.config import SENDRECV, AutoConnect, ConnectionParameters
from sipproto.media.video_balancer import Balance as Balance
from sipproto.media.video_balancer import BalancingCommand
from sipproto.media.video_balancer import StartBalancing as StartBalancing
from sipproto.media.video_balancer import StopBalancing as StopBalancing
from sipproto.negotiation import CodecPreferences

# -- the connection ----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ConnectToServer:
    """Connect, and register if the parameters say so; whatever connection there is, is left first.

    The newest one counts: an older one that is not through yet ends as SUPERSEDED. parameters: None: the connector asks
    for them (ParametersWanted). A connection that cannot be opened is tried for again, a refusal is not. auto: it is tried for
    until it comes about, in place of `attempts`. The result is the Configuration.
    """

    command: CommandId
    parameters: ConnectionParameters | None = None
    auto: AutoConnect | None = None


@frozen(kw_only=True)
class ParametersResolved:
    """The answer to ParametersWanted. None: they could not be had; `error` says why in one line."""

    command: CommandId
    parameters: ConnectionParameters | None = None
    error: str = ""


@frozen(kw_only=True)
class DisconnectFromServer:
    """Hang up, unregister, disconnect: at once, in place of all that is under way, within `leave_limit` and a little."""

    command: CommandId


@frozen(kw_only=True)
class RegisterAtServer:
    """Register. Waits for what is under way; fails without a connection."""

    command: CommandId


@frozen(kw_only=True)
class UnregisterFromServer:
    """Unregister. Fine when we are not registered."""

    command: CommandId


@frozen(kw_only=True)
class TryRegister:
    """Unregister, whatever comes of it, and register."""

    command: CommandId


@frozen(kw_only=True)
class SetName:
    """Another display name, from the next request on. The result is whether it is another one."""

    command: CommandId
    display_name: str


@frozen(kw_only=True)
class Ping:
    """OPTIONS to our own address, or to `target`; any answer is one. The result is its status. Disturbs nothing."""

    command: CommandId
    target: str | None = None
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Cancel:
    """Give up an operation of the connection, or the start or update of a presentation; a call is given up by HangUpCall.

    A connection that it has made by now is left, a presentation ended; else fine when it has ended. Has no outcome of its
    own.
    """

    target: CommandId


# -- calls -------------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class CallServer:
    """Call a number (or an address) of our server, as the new call `call`. Ends when the call is established or has failed.

    encodings and the rest of SenderParameters: what its first video line is sent with.
    """

    command: CommandId
    call: CallId
    number: str
    media: Media = SENDRECV
    codecs: CodecPreferences | None = None
    headers: tuple[tuple[str, str], ...] = ()
    parameters: SenderParameters | None = None


@frozen(kw_only=True)
class AnswerCall:
    """Answer a caller. call: None: the one that rings for the longest time."""

    command: CommandId
    call: CallId | None = None
    media: Media = SENDRECV
    codecs: CodecPreferences | None = None
    headers: tuple[tuple[str, str], ...] = ()
    parameters: SenderParameters | None = None


@frozen(kw_only=True)
class DeclineCall:
    """Refuse a caller with a status of 300 to 699. call: as in AnswerCall."""

    command: CommandId
    call: CallId | None = None
    status: int = 487


@frozen(kw_only=True)
class HangUpCall:
    """End the call in whatever state it is. Fine without one."""

    command: CommandId


@frozen(kw_only=True)
class ChangeCallMedia:
    """The call sends other media: these kinds, by their directions. The peer is asked only when kinds come or go.

    add: lines for kinds that there are none of; remove: stop sending kinds that are not named. renegotiate: ask the peer
    in any case. parameters: as in CallServer.
    """

    command: CommandId
    media: Media = SENDRECV
    add: bool = True
    remove: bool = True
    renegotiate: bool = False
    parameters: SenderParameters | None = None


@frozen(kw_only=True)
class RestartCallIce:
    """Restart ICE of the call. The result is whether it came about. Several at once are one."""

    command: CommandId
    use_update: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    parameters: SenderParameters | None = None


ClientMessage = (
    Channels | MediaState | RefusalToTurnOn | AskToEnableCam | AvailableIncomingBitrate | ShareState | EnterRoom
)


@frozen(kw_only=True)
class SendToServer:
    """Tell the conference server something. The result is the status of the answer; a refusal never ends the call."""

    command: CommandId
    message: ClientMessage


# -- the presentation --------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class PresentationParameters:
    """How a presentation is sent. `max_bitrate`: of each encoding, bits per second; None: as the connector is configured."""

    max_bitrate: int | None = field(default=None, validator=validators.optional(validators.gt(0)))
    content_hint: ContentHint = ContentHint.DETAIL
    degradation_preference: DegradationPreference = DegradationPreference.BALANCED
    encodings: tuple[Encoding, ...] = field(default=(Encoding(),), validator=validators.min_len(1))


@frozen(kw_only=True)
class StartPresentation:
    """Send a second video line, once the server allows it (or the peer is told, `peer_to_peer`).

    attempts: how often to ask. The result is EffectiveParameters. A refusal leaves all as it was.
    """

    command: CommandId
    parameters: PresentationParameters = PresentationParameters()
    peer_to_peer: bool = False
    attempts: int = field(default=1, validator=validators.ge(1))
    codecs: CodecPreferences | None = None


@frozen(kw_only=True)
class UpdatePresentation:
    """Another picture or other parameters for the presentation, once the server allows it; no new offer."""

    command: CommandId
    parameters: PresentationParameters = PresentationParameters()
    peer_to_peer: bool = False


@frozen(kw_only=True)
class StopPresentation:
    """End the presentation, also one that is about to start. Fine without one."""

    command: CommandId
    peer_to_peer: bool = False


ConnectorCommand = (
    ConnectToServer
    | DisconnectFromServer
    | RegisterAtServer
    | UnregisterFromServer
    | TryRegister
    | SetName
    | Ping
    | CallServer
    | AnswerCall
    | DeclineCall
    | HangUpCall
    | ChangeCallMedia
    | RestartCallIce
    | SendToServer
    | StartPresentation
    | UpdatePresentation
    | StopPresentation
    | BalancingCommand
)
ConnectorInput = ConnectorCommand | ParametersResolved | Cancel
