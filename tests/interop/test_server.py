"""Registration, addresses of a device, routes and passwords, with a Kamailio that insists on them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Response, fields
from sipproto_client import CommandError

from .child import PATIENCE
from .kamailio import Kamailio, password_of
from .ours import AUDIO, Ours, each_runtime, one_runtime
from .peers import BrowserPeer, Party

pytestmark = pytest.mark.interop
INSTANCE = "urn:uuid:00000000-0000-4000-8000-0000000000a1"


@pytest.fixture
def bob(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    page = Party(browser, "bob", page="bob")
    try:
        page.open(kamailio, kamailio.ws_url)
        yield page
    finally:
        page("close")
        browser.forget_events()


def statuses(party: Ours, method: str) -> list[int]:
    return [message.status for message in party.received(method) if isinstance(message, Response)]


# -- addresses of a device (RFC 5627), flows (RFC 5626) ----------------------------------------------------------------


@each_runtime
def test_gruu_is_our_address_in_dialogs(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    with Ours(runtime, "alice", instance_id=INSTANCE) as alice:
        registration = alice.connect(kamailio.ws_url)
        assert registration.public_gruu == f"sip:alice@rig.test;gr={INSTANCE}"
        assert registration.temporary_gruu is not None and registration.temporary_gruu.endswith(";gr")
        (asked,) = {m.headers.first("Supported") for m in alice.requests("REGISTER")}
        assert asked is not None and set(asked.split(", ")) == {"path", "outbound", "gruu"}
        # Outside of dialogs it leads to this very device.
        assert bob("options", target=registration.public_gruu)["status"] == 200
        assert bob("message", target=registration.temporary_gruu, body="by a name that says nothing")["status"] == 200
        assert alice.expect(o.MessageReceived).body == b"by a name that says nothing"
        reply = bob.send("call", target=registration.public_gruu)
        alice.answer()
        bob.peer.wait_reply(reply)
        contacts = {message.headers.first("Contact") for message in alice.sent("INVITE")}
        assert contacts == {None, f"<{registration.public_gruu}>"}  # a 100 has none
        bob("hangup")
        alice.expect(o.CallEnded)


@one_runtime
def test_newer_flow_of_an_instance_replaces_the_older(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    """The same instance and reg-id: a client that has come back, whose old connection the server still thinks alive."""
    with Ours(runtime, "alice", instance_id=INSTANCE) as first, Ours(runtime, "alice", instance_id=INSTANCE) as second:
        first.connect(kamailio.ws_url)
        registration = second.connect(kamailio.ws_url)
        assert len(registration.bindings) == 1
        reply = bob.send("call", target="alice")
        call = second.answer()
        bob.peer.wait_reply(reply)
        assert not first.received("INVITE")
        # The end of the first one takes nothing from the second.
        first.do(first.endpoint.disconnect)
        first.expect(o.ConnectionChanged, state=o.ConnectionState.DISCONNECTED)
        time.sleep(0.2)
        assert bob("message", target="alice", body="still there?")["status"] == 200
        second.expect(o.MessageReceived)
        second.do(call.hang_up)


@one_runtime
def test_two_devices_ring_and_one_answers(runtime: str, kamailio: Kamailio) -> None:
    with (
        Ours(runtime, "alice") as alice,
        Ours(runtime, "carol", hertz=900) as desk,
        Ours(runtime, "carol", hertz=1200) as pocket,
    ):
        for party in (alice, desk, pocket):
            registration = party.connect(kamailio.ws_url)
        assert len(registration.bindings) == 2
        calling = alice.call("carol")
        on_desk, in_pocket = desk.incoming(), pocket.incoming()
        assert len({alice.expect(o.CallProgressed).dialog for _ in range(2)}) == 2
        desk.do(on_desk.progress, 183, AUDIO, setup=desk.setup)
        alice.hears(alice.newest(), 900)
        pocket.do(in_pocket.answer, AUDIO, setup=pocket.setup)
        call = calling.result(PATIENCE)
        assert desk.expect(o.CallEnded).cause is o.Cause.CANCELED
        alice.hears(call, 1200)  # who answered, and not who was heard before
        alice.do(call.hang_up)
        pocket.expect(o.CallEnded, originator=o.Originator.REMOTE)


@one_runtime
def test_service_route(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    """The server refuses what does not come by it."""
    with Ours(runtime, "frank") as frank:
        frank.do(frank.endpoint.connect, kamailio.ws_url)
        with pytest.raises(CommandError, match="Not By The Service Route"):
            frank.do(frank.endpoint.send_message, "sip:bob@rig.test", "too early")
        registration = frank.do(frank.endpoint.register)
        assert registration.service_route == ("sip:service@rig.test;lr",)
        assert frank.do(frank.endpoint.send_message, "sip:bob@rig.test", "in time") == 200
        calling = frank.call("bob")
        bob.expect("call", state="incoming")
        bob("answer")
        frank.do(calling.result(PATIENCE).hang_up)
        bob.expect("call", state="ended")
        invite = frank.requests("INVITE")[-1]
        assert [str(route.uri) for route in invite.headers.all(fields.ROUTE)] == ["sip:service@rig.test;lr"]
        assert not any("service" in route for m in frank.requests("BYE") for route in m.headers.raw("Route"))


# -- passwords ---------------------------------------------------------------------------------------------------------


@one_runtime
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_nonces_that_grow_stale(algorithm: str, runtime: str) -> None:
    """They are replaced without a question, and the server proves itself each time."""
    with Kamailio(algorithm=algorithm, nonce_expire=1) as server, Ours(runtime, "alice") as alice:
        alice.connect(server.ws_url)
        alice.do(alice.endpoint.send_message, "sip:alice@rig.test", "to myself")
        alice.forget()
        time.sleep(2.1)
        alice.do(alice.endpoint.send_message, "sip:alice@rig.test", "once more")
        alice.do(alice.endpoint.register)
        assert statuses(alice, "MESSAGE") == [407, 200]
        assert statuses(alice, "REGISTER") == [401, 200]
        proof = alice.received("REGISTER")[-1].headers.first("Authentication-Info") or ""
        assert "rspauth=" in proof and "nextnonce=" in proof
        # It was the right one, or this would have been told.
        with pytest.raises(AssertionError):
            alice.expect(o.ProtocolViolated, timeout=0.1)


@one_runtime
def test_two_realms(runtime: str, kamailio: Kamailio) -> None:
    """The proxy asks with 407, and then the server behind it with 401."""
    second = f"second.{kamailio.domain}"
    both = (
        Secret(username="alice", password=password_of("alice"), realm=kamailio.domain),
        Secret(username="heidi", password=password_of("heidi"), realm=second),
    )
    with Ours(runtime, "ivan") as ivan, Ours(runtime, "alice", secrets=both) as alice:
        ivan.connect(kamailio.ws_url)
        alice.connect(kamailio.ws_url)
        assert alice.do(alice.endpoint.send_message, "sip:ivan@rig.test", "twice asked") == 200
        assert statuses(alice, "MESSAGE") == [407, 401, 200]
        assert ivan.expect(o.MessageReceived).body == b"twice asked"
        alice.forget()
        assert alice.do(alice.endpoint.send_message, "sip:ivan@rig.test", "not again") == 200
        assert statuses(alice, "MESSAGE") == [200]
        alice.do(alice.endpoint.set_secrets, both[0])
        with pytest.raises(CommandError) as refused:
            alice.do(alice.endpoint.send_message, "sip:ivan@rig.test", "with one")
        assert (refused.value.cause, refused.value.status) == (o.Cause.NO_PASSWORD, 401)


@one_runtime
def test_password_that_changes(runtime: str, kamailio: Kamailio) -> None:
    wrong = Secret(username="alice", password="wrong")
    with Ours(runtime, "alice", secrets=(wrong,)) as alice:
        alice.do(alice.endpoint.connect, kamailio.ws_url)
        with pytest.raises(CommandError) as refused:
            alice.do(alice.endpoint.register)
        assert (refused.value.cause, refused.value.status) == (o.Cause.AUTHENTICATION_ERROR, 401)
        assert statuses(alice, "REGISTER") == [401, 401]  # asked once more, and no loop
        alice.do(alice.endpoint.set_secrets, Secret(username="alice", password=password_of("alice")))
        assert alice.do(alice.endpoint.register).expires == 600


@one_runtime
def test_options_of_a_page(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(kamailio.ws_url)
        assert bob("options", target="alice")["status"] == 200
        (answer,) = [m for m in alice.sent("OPTIONS") if isinstance(m, Response)]
        assert "UPDATE" in answer.headers.all(fields.ALLOW) and "PRACK" in answer.headers.all(fields.ALLOW)
