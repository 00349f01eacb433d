"""What a conference server and its client tell each other, as values and on the wire: no network, no engine."""

from sipproto.conference import (
    Channels,
    EnterRoom,
    MediaState,
    Mic,
    MicControl,
    ParticipantTokenIssued,
    Unusable,
    get_extra_headers,
    get_user_agent,
    has_purgatory,
    parse_info,
    parse_notify,
    write_info,
    write_notify,
)

# A client calls: who it is, and what it has on.
print(get_user_agent("MyApp", "3"))
for name, value in get_extra_headers(is_muted_audio=False, is_muted_video=True, is_registered=True):
    print(f"  {name}: {value}")

# The server says where it is now. Names of headers may come in any letter case; texts keep theirs.
(message,) = parse_info(
    "application/vinteo.webrtc.roomname",
    [
        ("X-WEBRTC-ENTER-ROOM", "Room-7"),
        ("x-webrtc-participant-name", "Anna Bergström"),
        ("X-WEBRTC-INPUT-CHANNELS", "100,1"),
        ("X-WEBRTC-OUTPUT-CHANNELS", "2"),
        ("X-Bearer-Token", "a token that is not shown"),
    ],
)
print(message)
assert isinstance(message, EnterRoom) and not has_purgatory(message.room)
assert message.channels == Channels(input="100,1", output="2") and "not shown" not in str(message)

# What the client answers and tells, and what the server makes of it.
for told in (message.channels, MediaState(cam=False, mic=True), MicControl(command=Mic.ADMIN_STOP, forced=True)):
    info = write_info(told)
    print(info.content_type)
    for name, value in info.headers:
        print(f"  {name}: {value}")
    assert parse_info(info.content_type, info.headers) == (told,)

# Notifications are JSON in a header, in a call or outside of it.
token = ParticipantTokenIssued(conference="Room-7", participant="SIP/anna", jwt="eyJh.e30.c2ln")
assert parse_notify(write_notify(token).headers) == token
nonsense = parse_notify([("X-VINTEO-NOTIFY", '{"cmd":"WebcastStarted","body":{"conference":"Room-7"}}')])
assert isinstance(nonsense, Unusable)  # never an exception: whoever sent it is a peer
print(nonsense.detail)
