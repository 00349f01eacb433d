"""The softphone with two JsSIP pages through a real Kamailio: two calls at once, transfers; and messages that wait."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipproto_phone import commands as c
from sipproto_phone.model import Mailbox, Phase

from .kamailio import Kamailio, password_of
from .peers import HERTZ, BrowserPeer, Party
from .softphone import Softphone, page_hears

pytestmark = pytest.mark.interop


@pytest.fixture
def phone(kamailio: Kamailio, tmp_path: Path) -> Iterator[Softphone]:
    with Softphone(tmp_path) as phone:
        phone.save(kamailio)
        phone.until_online()
        yield phone


@pytest.fixture
def pages(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[tuple[Party, Party]]:
    """bob and carol."""
    both = Party(browser, "bob", page="bob"), Party(browser, "carol", page="carol")
    try:
        for page in both:
            page.open(kamailio, kamailio.ws_url)
        yield both
    finally:
        for page in both:
            page("close")
        browser.forget_events()


def test_a_second_call_and_swap(phone: Softphone, pages: tuple[Party, Party]) -> None:
    bob, carol = pages
    first = phone.call(bob)
    phone.talk(bob)
    second = phone.called_by(carol)
    bob.expect("call", state="held", originator="remote")
    phone.talk(carol)
    page_hears(bob, None)

    phone.do(c.Resume(call=first))
    bob.expect("call", state="resumed", originator="remote")
    carol.expect("call", state="held", originator="remote")
    phone.talk(bob)
    page_hears(carol, None)
    assert [x.phase for x in phone.state.calls] == [Phase.TALKING, Phase.HELD]

    phone.hang_up(first, bob)
    phone.do(c.Resume(call=second))
    phone.talk(carol)
    phone.hang_up(second, carol)
    assert phone.written() == [("out", "bob", "answered"), ("in", "carol", "answered")]


def test_a_blind_transfer(phone: Softphone, pages: tuple[Party, Party]) -> None:
    bob, carol = pages
    call = phone.called_by(bob)
    phone.talk(bob)
    phone.do(c.Transfer(call=call, number="carol"))
    assert carol.expect("call", state="incoming")["from"] == "sip:bob@rig.test"
    assert phone.state.calls[0].transfer is not None
    carol("answer")
    phone.until_phase(Phase.ENDED)
    bob.expect("call", state="ended", originator="remote")
    page_hears(bob, HERTZ["carol"])
    page_hears(carol, HERTZ["bob"])
    assert phone.state.notice == ""
    bob("hangup")
    assert phone.written() == [("in", "bob", "answered")]


def test_a_blind_transfer_that_is_refused(phone: Softphone, pages: tuple[Party, Party]) -> None:
    bob, carol = pages
    call = phone.call(bob)
    phone.do(c.Transfer(call=call, number="carol"))
    carol.expect("call", state="incoming")
    carol("reject", status=486)
    phone.until("a notice", lambda: "486" in phone.state.notice)
    assert phone.state.calls[0].transfer is None
    phone.until_hears(HERTZ["bob"])
    phone.do(c.HangUp(call=call))


def test_an_attended_transfer(phone: Softphone, pages: tuple[Party, Party]) -> None:
    bob, carol = pages
    first = phone.called_by(bob)
    phone.talk(bob)
    second = phone.call(carol)
    phone.talk(carol)
    phone.do(c.Transfer(call=first, other=second))
    carol.expect("call", state="incoming", **{"from": "sip:bob@rig.test"})
    carol("answer")
    phone.until_phase(Phase.ENDED)
    phone.until_phase(Phase.ENDED, "carol")
    page_hears(bob, HERTZ["carol"])
    page_hears(carol, HERTZ["bob"])
    assert phone.written() == [("in", "bob", "answered"), ("out", "carol", "answered")]
    bob("hangup")


def test_a_page_transfers_us(phone: Softphone, pages: tuple[Party, Party]) -> None:
    """What another telephone asks of us: to call somebody else in its place."""
    bob, carol = pages
    call = phone.called_by(bob)
    phone.talk(bob)
    refer = "[...rig.calls.values()].at(-1).session.refer('sip:carol@rig.test') && true"
    bob("evaluate", expression=refer)
    carol.expect("call", state="incoming", **{"from": "sip:alice@rig.test"})
    carol("answer")
    phone.until_phase(Phase.TALKING, "carol")
    phone.talk(carol)
    bob("hangup")
    phone.until("the end of the first", lambda: all(x.id != call for x in phone.state.calls))
    phone.hang_up(phone.state.calls[0].id, carol)
    assert phone.written() == [("in", "bob", "answered"), ("out", "carol", "answered")]


# -- messages that wait ------------------------------------------------------------------------------------------------


def notify(kamailio: Kamailio, body: str) -> int:
    """Sends alice a NOTIFY that she has not asked for, as voice mails do; returns the status."""
    uri, tag, call_id = "sip:alice@rig.test", secrets.token_hex(4), secrets.token_hex(8)

    def request(number: int, authorization: str) -> bytes:
        head = (
            f"NOTIFY {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{tag}{number}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:dave@rig.test>;tag={tag}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: {number} NOTIFY\r\n"
            "Contact: <sip:dave@127.0.0.1;transport=tcp>\r\nEvent: message-summary\r\n"
            f"Subscription-State: active\r\n{authorization}Content-Type: application/simple-message-summary\r\n"
        )
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    with socket.create_connection(("127.0.0.1", kamailio.tcp_port), timeout=10) as connection:
        connection.sendall(request(1, ""))
        challenge = connection.recv(65536).decode()
        nonce = re.search(r'nonce="([^"]+)"', challenge)
        assert nonce is not None, challenge
        secret = md5(f"dave:rig.test:{password_of('dave')}")
        response = md5(f"{secret}:{nonce[1]}:00000001:ab:auth:{md5(f'NOTIFY:{uri}')}")
        answer = (
            f'Proxy-Authorization: Digest username="dave", realm="rig.test", nonce="{nonce[1]}", uri="{uri}", qop=auth,'
            f' nc=00000001, cnonce="ab", algorithm=MD5, response="{response}"\r\n'
        )
        connection.sendall(request(2, answer))
        return int(connection.recv(65536).split()[1])


def test_messages_that_wait(kamailio: Kamailio, phone: Softphone) -> None:
    told: list[tuple[str, Mailbox]] = [
        ("Messages-Waiting: yes\r\nVoice-Message: 3/8 (0/2)\r\n", Mailbox(new=3, old=8)),
        ("Messages-Waiting: no\r\n", Mailbox(new=0)),
    ]
    for body, wanted in told:
        assert notify(kamailio, body) == 200
        here: Callable[[], bool] = lambda wanted=wanted: phone.state.mailbox == wanted  # type: ignore[misc]  # noqa: E731
        phone.until(f"{wanted}", here)
