"""What holds for any message and for anything that a peer sends."""

from __future__ import annotations

import enum
import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.conference import (
    Channels,
    ConferenceMessage,
    EnterRoom,
    Info,
    MainCamControl,
    Notification,
    ParticipantTokenIssued,
    Unusable,
    get_extra_headers,
    get_user_agent,
    parse_info,
    parse_notify,
    write_info,
)
from sipproto.errors import LocalProtocolError
from sipproto.message import Headers, Request, parse_message

from .golden import HEADERS, NOTIFICATIONS, content_type, headers

quick = settings(max_examples=300)
SECRET = "s3cr3t-t0ken"
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).map(str.strip).filter(bool)
numbers = st.integers(0, 10**15 - 1)
_OF_TYPES: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    str | None: st.none() | texts,
    bool: st.booleans(),
    bool | None: st.none() | st.booleans(),
    int: numbers,
    int | None: st.none() | numbers,
    Channels | None: st.none() | st.builds(Channels, input=texts, output=texts),
}


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _OF_TYPES:
        return _OF_TYPES[hint]
    kind = next(part for part in (hint, *get_args(hint)) if isinstance(part, enum.EnumType))
    members: st.SearchStrategy[Any] = st.sampled_from(list(kind))
    return members if kind is hint else st.none() | members


def says_something(message: ConferenceMessage) -> bool:
    return not isinstance(message, MainCamControl) or message.command is not None or message.resolution is not None


def _messages() -> st.SearchStrategy[ConferenceMessage]:
    classes = sorted(get_args(ConferenceMessage), key=lambda cls: str(cls.__name__))
    made = (st.builds(cls, **{name: of_type(hint) for name, hint in get_type_hints(cls).items()}) for cls in classes)
    return st.one_of(*made).filter(says_something)


messages = _messages()


@quick
@given(messages)
def test_what_is_written_is_read_again(message: ConferenceMessage) -> None:
    info = write_info(message)
    request = Request("INFO", "sip:a@b", Headers([*info.headers, ("Content-Type", info.content_type)]))
    received = parse_message(request.to_bytes())
    assert parse_info(info.content_type, received.headers) == (message,)
    if isinstance(message, Notification):
        assert parse_notify(received.headers) == message
        assert info.headers[0][1].isascii()


# -- anything --------------------------------------------------------------------------------------------------------

KINDS = sorted({content_type(text) for _, text in [*HEADERS, *NOTIFICATIONS]})
NAMES = sorted({name for _, text in [*HEADERS, *NOTIFICATIONS] for name, _ in headers(text)})
VALUES = sorted({value for _, text in [*HEADERS, *NOTIFICATIONS] for _, value in headers(text)})
COMMANDS = sorted({json.loads(headers(text)[0][1])["cmd"] for _, text in NOTIFICATIONS})
junk = st.text(max_size=30)  # control characters and lone surrogates, too
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | junk,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["body", "conference", "jwt"]) | junk, inner, max_size=4)
    ),
    max_leaves=8,
)
notifications = st.builds(
    lambda cmd, data: json.dumps(data | {"cmd": cmd}),
    st.sampled_from(COMMANDS) | json_values,
    st.dictionaries(
        st.sampled_from(["body", "conference", "input", "output", "type", "participant", "jwt"]), json_values
    ),
)
values = st.sampled_from(VALUES) | junk | notifications
pairs = st.lists(st.tuples(st.sampled_from(NAMES) | st.sampled_from(NAMES).map(str.upper) | junk, values), max_size=6)


def check(found: object) -> None:
    assert found is None or isinstance(found, ConferenceMessage | Unusable)
    if isinstance(found, Unusable):
        assert found.detail.isprintable() and 0 < len(found.detail) < 400
    elif found is not None:
        try:  # control characters come from no parser of messages
            info = write_info(found)
        except LocalProtocolError:
            return
        assert parse_info(info.content_type, info.headers) == (found,)


@quick
@given(st.sampled_from(KINDS) | junk, pairs, st.binary(max_size=10))
def test_nothing_that_a_peer_sends_is_raised(kind: str, given_pairs: list[tuple[str, str]], body: bytes) -> None:
    for found in parse_info(kind, given_pairs, body):
        check(found)
    check(parse_notify(given_pairs))


@quick
@given(notifications)
def test_no_json_is_raised(text: str) -> None:
    found = parse_notify([("X-VINTEO-NOTIFY", text)])
    assert found is not None
    check(found)


# -- secrets ---------------------------------------------------------------------------------------------------------


@quick
@given(st.sampled_from(KINDS), pairs, st.integers(0, 60))
def test_tokens_are_in_no_text(kind: str, given_pairs: list[tuple[str, str]], cut: int) -> None:
    issued = json.dumps({"cmd": "ConferenceParticipantTokenIssued", "body": {"conference": "1", "jwt": SECRET}})
    notify = [("X-VINTEO-NOTIFY", issued[: len(issued) - cut])]
    everything = [("x-bearer-token", SECRET), *given_pairs, *notify]
    assert SECRET not in repr(parse_info(kind, everything))
    assert SECRET not in repr(parse_notify([*notify, *given_pairs]))


@pytest.mark.parametrize(
    "message",
    [
        EnterRoom(room="1", bearer_token=SECRET),
        ParticipantTokenIssued(conference="1", participant="SIP/1", jwt=SECRET),
    ],
)
def test_tokens_are_sent_but_not_shown(message: ConferenceMessage) -> None:
    info = write_info(message)
    assert any(SECRET in value for _, value in info.headers)
    for shown in (message, info, parse_info(info.content_type, info.headers)):
        assert SECRET not in repr(shown) and SECRET not in str(shown)


@pytest.mark.parametrize("token", [SECRET + "\r\n", "a\x00" + SECRET, SECRET + "\ud800"])
def test_tokens_are_in_no_error(token: str) -> None:
    for message in (
        EnterRoom(room="1", bearer_token=token + "."),
        ParticipantTokenIssued(conference="1", participant="SIP/1", jwt=token + "."),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            write_info(message)
        assert SECRET not in str(caught.value) and caught.value.__cause__ is caught.value.__context__ is None


def test_an_info_does_not_show_its_headers() -> None:
    assert repr(Info(content_type="t", headers=(("x-bearer-token", SECRET),))) == "Info(content_type='t')"


# -- tools -----------------------------------------------------------------------------------------------------------


@quick
@given(texts, st.none() | texts, st.none() | texts)
def test_the_user_agent_names_the_application(name: str, version: str | None, browser: str | None) -> None:
    text = get_user_agent(name, version, browser_name=browser)
    assert text.startswith("ChromeNew - ") and not set("@*!|") & set(
        text.replace(version or "", "").replace(browser or "", "")
    )
    assert version is None or text.endswith(f" {version}")
    Headers([("User-Agent", text)])


@quick
@given(st.booleans(), st.booleans(), st.booleans(), st.none() | texts, st.none() | texts, st.booleans())
def test_extra_headers_can_be_sent(
    audio: bool, video: bool, registered: bool, session: str | None, address: str | None, presentation: bool
) -> None:
    made = get_extra_headers(
        is_muted_audio=audio,
        is_muted_video=video,
        is_registered=registered,
        session_id=session,
        remote_address=address,
        is_presentation_call=presentation,
    )
    assert len(Headers(made)) == len(made) >= 2
