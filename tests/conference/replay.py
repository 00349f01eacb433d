"""The server's side of a recording, played to a client over a real WebSocket.

Each request of the client gets the answers that its counterpart got. What the server asked by itself is sent when the
test says so. Tags, Call-ID, CSeq, Via and addresses follow what this client says; the media are nobody's, and come to nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from sipproto.agent import inputs as i
from sipproto.dialog import build_response
from sipproto.errors import MessageSyntaxError
from sipproto.message import Message, NameAddr, Request, Response, fields, parse_message
from sipproto_client import WebSocketFlow, plain_task_group
from sipproto_client.port import Event, Runtime, Stream
from sipproto_wsproto import HandshakeGuard, WebSocketConnection, WebSocketLimits

from .recorded import Recording, own_lines

NOT_RECORDED = 501
_PATIENCE = 5.0  # seconds
_FOLLOWING = frozenset({"via", "from", "to", "call-id", "cseq", "content-length", "contact"})  # made for each message
_MEDIA = ("c=IN IP4 127.0.0.1", "a=ice-ufrag:none", "a=ice-pwd:nobodynobodynobodynobody")
_FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["00"] * 32)


@define
class Dialog:
    """A call of the client, as the server sees it. `here` and `there`: values of From or To with their tags."""

    call_id: str
    here: str
    there: str
    target: str
    sequence: int = 0


@define
class Replay:
    """A server for one client.

    said: what the client asked, with the name of what was recorded in its place, or None. asked: what we asked, by name.
    answers: the responses of the client.
    """

    runtime: Runtime
    recording: Recording
    port: int = 0
    said: list[tuple[str | None, Request]] = field(factory=list)
    dialog: Dialog | None = None
    _flow: WebSocketFlow | None = None
    _contact: str = ""
    _invites: dict[tuple[str, int], str] = field(factory=dict)  # names, by Call-ID and CSeq
    answers: list[Response] = field(factory=list)
    asked: dict[str, Request] = field(factory=dict)
    _sent: int = 0
    _changed: Event | None = None

    # -- what tests use ----------------------------------------------------------------------------------------------

    async def expect(self, name: str, count: int = 1) -> Request:
        """Waits until the client has said this so many times, and gives the last one. Fails after 5 s."""

        def find() -> Request | None:
            found = [request for known, request in self.said if known == name]
            return found[count - 1] if len(found) >= count else None

        while (request := find()) is None:
            await self._wait(f"the client does not say {name!r}: {[known for known, _ in self.said]}")
        return request

    async def ask(self, name: str) -> Response:
        """Sends a request that the server sent, and gives the final answer, which an INVITE gets an ACK for. Fails after 5 s."""
        request = self.asked[name] = self._adapted(self.recording.request(name))
        key = _key(request)
        if request.method == "INVITE":
            self.dialog = Dialog(key[0], str(request.headers.first("From")), "", self._contact, key[1])
        self._send(request)
        while (answer := next((a for a in self.answers if _key(a) == key and a.status >= 200), None)) is None:
            await self._wait(f"the client does not answer {name!r}")
        if request.method == "INVITE" and self.dialog is not None:
            self._settle(self.dialog, answer)
            self._send(self._adapted(self.recording.request(f"ack of {name}")))
        return answer

    def requests(self) -> dict[str, Request]:
        """The first request of each name."""
        return {name: request for name, request in reversed(self.said) if name is not None}

    async def _wait(self, failure: str) -> None:
        self._changed = self.runtime.event()
        assert await self.runtime.wait(self._changed, _PATIENCE), failure

    # -- the connection ----------------------------------------------------------------------------------------------

    async def connection(self, stream: Stream) -> None:
        guard, limits = HandshakeGuard(origins=None), WebSocketLimits()  # pages may come, too
        connection = WebSocketConnection(client=False, guard=guard, limits=limits)
        self._flow = WebSocketFlow(self.runtime, stream, connection, self._received, 1, "WS")
        await self._flow.run()

    def _send(self, message: Message) -> None:
        assert self._flow is not None, "no client is connected"
        self._flow.send(message.to_bytes())

    def _received(self, what: i.Input) -> None:
        if not isinstance(what, i.DataReceived):
            return
        try:
            message = parse_message(what.data)
        except MessageSyntaxError:
            return  # a keep-alive
        if isinstance(message, Request):
            self._request(message)
        else:
            self.answers.append(message)
        if self._changed is not None:
            self._changed.set()

    # -- the client asks ---------------------------------------------------------------------------------------------

    def _request(self, request: Request) -> None:
        name = self._name(request)
        self.said.append((name, request))
        if (contact := request.headers.get(fields.CONTACT)) is not None and isinstance(contact, NameAddr):
            self._contact = str(contact.uri)
        if request.method == "ACK":
            return
        answers = () if name is None else self.recording.responses(name)
        if not answers:
            self._send(build_response(request, NOT_RECORDED, reason="Not In The Recording", to_tag="none"))
        for answer in answers:
            self._send(self._answer(request, answer))
        if request.method == "INVITE" and name is not None:
            self._invites[_key(request)] = name
            if answers[-1].status < 300 and not _is_within(request):
                here = str(self._answer(request, answers[-1]).headers.first("To"))
                there = str(request.headers.first("From"))
                self.dialog = Dialog(_key(request)[0], here, there, self._contact)

    def _name(self, request: Request) -> str | None:
        """That of the recorded request that is most like it."""
        names = self.recording.names(sent=True)
        if request.method == "ACK":
            return self._ack_name(names, self._invites.get(_key(request)))
        for likeness in (_whole, _kinds, _unproven):
            for name in names:
                if likeness(self.recording.request(name)) == likeness(request):
                    return name
        return None

    def _ack_name(self, names: list[str], invite: str | None) -> str | None:
        if invite is None:
            return None
        key = _key(self.recording.request(invite))
        asked = (name for name in names if self.recording.request(name).method == "ACK")
        return next((name for name in asked if _key(self.recording.request(name)) == key), None)

    def _answer(self, request: Request, recorded: Response) -> Response:
        extra = [(name, value) for name, value in recorded.headers if name.lower() not in _FOLLOWING]
        contact = recorded.headers.first("Contact")
        if contact is not None:
            extra.append(("Contact", self._bound(request, contact) if request.method == "REGISTER" else contact))
        tag = recorded.headers.require(fields.TO).tag
        body = _description_for(request.body, recorded.body) if recorded.body else b""
        return build_response(request, recorded.status, reason=recorded.reason, to_tag=tag, extra=extra, body=body)

    def _bound(self, request: Request, recorded: str) -> str:
        """The recorded binding, for the device of this client."""
        contact = request.headers.require(fields.CONTACT)
        assert isinstance(contact, NameAddr)
        text = re.sub(r"^<[^>]*>", f"<{contact.uri}>", recorded)
        instance = (contact.params.get("+sip.instance") or "").strip('"<>')
        return (
            re.sub(r"urn:uuid:[0-9a-f-]+", instance, text)
            if instance
            else re.sub(r";(pub-|temp-)gruu=\"[^\"]*\"", "", text)
        )

    # -- the server asks ---------------------------------------------------------------------------------------------

    def _adapted(self, recorded: Request) -> Request:
        """The recorded request for this client: within its call, unless it begins one."""
        within, dialog = _is_within(recorded), self.dialog
        assert dialog is not None or not within, "there is no call"
        headers = recorded.headers.without("Content-Length")
        self._sent += 1
        _, _, parameters = headers.raw("Via")[0].partition(";")
        branch = re.sub(r"branch=[^;]+", f"branch=z9hG4bKreplay{self._sent}", parameters)
        headers = headers.without("Via").with_first("Via", f"SIP/2.0/WS replay.invalid;{branch}")
        target = self._contact
        if within and dialog is not None:
            if recorded.method != "ACK":
                dialog.sequence = max(dialog.sequence + 1, headers.require(fields.CSEQ).number)
            target = dialog.target
            headers = headers.replace("From", dialog.here).replace("To", dialog.there)
            headers = headers.replace("Call-ID", dialog.call_id)
            headers = headers.replace("CSeq", f"{dialog.sequence} {recorded.method}")
        body = _usable(recorded.body) if recorded.method == "INVITE" else recorded.body
        return Request(recorded.method, target, headers.with_("Content-Length", len(body)), body)

    def _settle(self, dialog: Dialog, answer: Response) -> None:
        dialog.there = str(answer.headers.first("To"))
        contact = answer.headers.get(fields.CONTACT)
        dialog.target = str(contact.uri) if isinstance(contact, NameAddr) else dialog.target


@asynccontextmanager
async def replay(runtime: Runtime, recording: Recording) -> AsyncIterator[Replay]:
    """Listens on a free port of loopback for the length of the block."""
    server, started = Replay(runtime, recording), runtime.event()

    def on_started(port: int) -> None:
        server.port = port
        started.set()

    async with plain_task_group(runtime) as tasks:
        tasks.start_soon(runtime.serve, "127.0.0.1", 0, None, server.connection, on_started)
        await started.wait()
        yield server
        tasks.cancel()


# -- which recorded request is meant -------------------------------------------------------------------------------------


def _key(message: Message) -> tuple[str, int]:
    return message.headers.require(fields.CALL_ID), message.headers.require(fields.CSEQ).number


def _is_within(request: Request) -> bool:
    return request.headers.require(fields.TO).tag is not None


def _kinds(request: Request) -> object:
    """What is asked, and whether with a password."""
    proven = "Authorization" in request.headers or "Proxy-Authorization" in request.headers
    return proven and not _is_within(request), _unproven(request)


def _unproven(request: Request) -> object:
    """What is asked, without the values."""
    names = frozenset(name.lower() for name, _ in own_lines(request) if request.method == "INFO")
    ends = request.method == "REGISTER" and _expires(request) == 0
    content_type = request.headers.first("Content-Type") if request.method == "INFO" else None
    return request.method, _is_within(request), ends, content_type, names


def _whole(request: Request) -> object:
    return _kinds(request), frozenset((name.lower(), value) for name, value in own_lines(request)), request.body.strip()


def _expires(request: Request) -> int | None:
    contact = request.headers.get(fields.CONTACT)
    stated = contact.params.get("expires") if isinstance(contact, NameAddr) else None
    return int(stated) if stated else request.headers.get(fields.EXPIRES)


# -- session descriptions ------------------------------------------------------------------------------------------------

_DIRECTION = re.compile(r"a=(sendrecv|sendonly|recvonly|inactive)")
_OWN = re.compile(r"a=(candidate|end-of-candidates|ssrc|ssrc-group|msid|ice-\w+|fingerprint|rtcp|tls-id)(:|$)")


def _description_for(offer: bytes, recorded: bytes) -> bytes:
    """The answer to this offer that says of each line what was recorded of it."""
    directions = _DIRECTION.findall(recorded.decode())
    lines, number = [], -1
    for line in offer.decode().splitlines():
        if line.startswith("m="):
            number += 1
        if _OWN.match(line):
            continue
        if _DIRECTION.fullmatch(line) and number < len(directions):
            line = f"a={_agreed(line.removeprefix('a='), directions[number])}"
        lines.append("a=setup:active" if line.startswith("a=setup:") else line)
        if line.startswith("c=") and number >= 0:
            lines += [*_MEDIA[1:], _FINGERPRINT]
    return ("\r\n".join(lines) + "\r\n").encode()


def _agreed(offered: str, recorded: str) -> str:
    """The recorded direction as far as this offer allows it (RFC 3264 6.1): who sends no more is received no more."""
    sends = recorded in ("sendrecv", "sendonly") and offered in ("sendrecv", "recvonly")
    receives = recorded in ("sendrecv", "recvonly") and offered in ("sendrecv", "sendonly")
    return {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly"}.get(
        (sends, receives), "inactive"
    )


_NOT_KEPT = {
    "audio": ("a=rtcp-mux", "a=rtpmap:111 opus/48000/2"),
    "video": ("a=rtcp-mux", "a=rtpmap:96 VP8/90000"),
}


def _usable(recorded: bytes) -> bytes:
    """A recorded offer with what was not kept of it."""
    lines: list[str] = []
    for line in recorded.decode().replace("s=-\r\n", "").splitlines():
        lines.append(line)
        if line.startswith("o="):
            lines.append("s=-")
        if line.startswith("m="):
            lines += [*_MEDIA, _FINGERPRINT, *_NOT_KEPT[line[2:7]]]
    return ("\r\n".join(lines) + "\r\n").encode()
