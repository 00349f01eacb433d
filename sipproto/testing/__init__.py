"""For tests of what is built on sipproto: a media engine and a conference server, without media and without I/O.

See docs/testing-your-app.md.
"""

from sipproto.testing import canned
from sipproto.testing._fake_call import FakeCall
from sipproto.testing._fake_engine import FAKE_CAPABILITIES, FakeMediaEngine
from sipproto.testing._scripted_server import (
    FAILED_NUMBER,
    PASSWORD,
    REALM,
    URL,
    USER,
    WRONG_PASSWORD,
    ScriptedServer,
    room_of_number,
)
from sipproto.testing._scripted_values import LOST, BreakConnection, Deed, ServerCall
from sipproto.testing._world import NUMBER, ConnectorWorld

__all__ = [
    "FAILED_NUMBER",
    "FAKE_CAPABILITIES",
    "LOST",
    "NUMBER",
    "PASSWORD",
    "REALM",
    "URL",
    "USER",
    "WRONG_PASSWORD",
    "BreakConnection",
    "ConnectorWorld",
    "Deed",
    "FakeCall",
    "FakeMediaEngine",
    "ScriptedServer",
    "ServerCall",
    "canned",
    "room_of_number",
]
