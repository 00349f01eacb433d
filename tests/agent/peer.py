"""A scripted peer: raw SIP in, outputs checked."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import evolve

from sipproto.agent import AgentConfig, Input, Output, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.message import Request, Response, parse_message
from sipproto.negotiation import Negotiator
from sipproto.sdp import Direction
from sipproto.tokens import SeededTokens
from tests.sim.network import CAPABILITIES, local_transport

T = TypeVar("T")
AUDIO = (("audio", Direction.SENDRECV),)
RAW = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
FLOW = 1
NO_RECOVERY = Recovery(reconnect=False, grace=0.0)


class Peer:
    """The server at the other end of the flow, and the user of the agent. `out` has what the last step gave."""

    def __init__(self, *, transport: str = "WS", connect: bool = True, auto_media: bool = True, **config: Any) -> None:
        settings: dict[str, Any] = {
            "capabilities": CAPABILITIES,
            "tokens": SeededTokens(1),
            "recovery": NO_RECOVERY,
            "keep_alive": 0.0,
            **config,
        }
        self.config = AgentConfig(aor="sip:alice@example.com", **settings)
        self.agent = UserAgent(self.config)
        self.now = 100.0
        self.flow = FLOW  # on which the peer speaks
        self.out: list[Output] = []
        self.auto_media = auto_media
        self.restarts = 0
        self.commands = 0
        self.negotiator = Negotiator(CAPABILITIES, SeededTokens(99))
        self.branch = 0
        if connect:
            self.command(i.Connect(command=0, server="wss://example.com"))
            self.give(i.FlowOpened(flow=FLOW, transport=transport, local=("192.0.2.7", 5060)))

    # -- stepping ----------------------------------------------------------------------------------------------------

    def handle(self, what: Input) -> list[Output]:
        return list(self.agent.handle(what, self.now))

    def give(self, what: Input, *, keep: bool = False) -> list[Output]:
        out = self.handle(what)
        self.out = [*self.out, *out] if keep else out
        for output in out:
            assert "secret" not in repr(output)
            if self.auto_media and isinstance(output, m.OpenMedia):
                self.restarts += output.restart  # a restart brings new credentials
                transports = tuple((slot, local_transport(slot, self.restarts)) for slot in output.slots)
                self.give(m.MediaOpened(request=output.request, transports=transports), keep=True)
            elif self.auto_media and isinstance(output, m.ApplyMedia):
                self.give(m.MediaApplied(request=output.request), keep=True)
        return self.out

    def command(self, what: i.Command) -> int:
        self.commands += 1
        self.give(evolve(what, command=self.commands))
        return self.commands

    def refused(self, what: i.Command) -> str:
        """The text of the LocalProtocolError, which must have changed nothing."""
        before = (self.agent.retained, self.agent.timers(), self.agent.next_timeout(), self.agent.calls)
        try:
            self.agent.handle(evolve(what, command=9999), self.now)
        except LocalProtocolError as error:
            assert before == (self.agent.retained, self.agent.timers(), self.agent.next_timeout(), self.agent.calls)
            assert self.agent.handle(i.TimeoutElapsed(), self.now) == ()
            return str(error)
        raise AssertionError(f"{what} was taken")

    def wait(self, seconds: float) -> list[Output]:
        """Lets time pass, stopping at each deadline. `out` has all of it."""
        end, out = self.now + seconds, list[Output]()
        while (when := self.agent.next_timeout()) is not None and when <= end:
            self.now = max(self.now, when)
            out += self.give(i.TimeoutElapsed())
        self.now, self.out = end, out
        return out

    def data(self, message: str | bytes | Request | Response, flow: int | None = None) -> list[Output]:
        if isinstance(message, str):
            message = message.encode()
        octets = message if isinstance(message, bytes) else message.to_bytes()
        return self.give(i.DataReceived(flow=self.flow if flow is None else flow, data=octets))

    # -- looking -----------------------------------------------------------------------------------------------------

    def all(self, kind: type[T]) -> list[T]:
        return [output for output in self.out if isinstance(output, kind)]

    def one(self, kind: type[T]) -> T:
        found = self.all(kind)
        assert len(found) == 1, self.out
        return found[0]

    def sent(self) -> list[Request | Response]:
        return [parse_message(output.data) for output in self.all(o.SendData)]

    def requests(self, method: str) -> list[Request]:
        return [s for s in self.sent() if isinstance(s, Request) and s.method == method]

    def request(self, method: str) -> Request:
        found = self.requests(method)
        assert len(found) == 1, self.sent()
        return found[0]

    def statuses(self) -> list[int]:
        return [s.status for s in self.sent() if isinstance(s, Response)]

    def response(self, status: int) -> Response:
        found = [s for s in self.sent() if isinstance(s, Response) and s.status == status]
        assert len(found) == 1, self.sent()
        return found[0]

    # -- what the peer says ------------------------------------------------------------------------------------------

    def answer(self, to: Request, status: int, *lines: str, tag: str = "peer", body: bytes = b"") -> list[Output]:
        return self.data(answer_to(to, status, *lines, tag=tag, body=body))

    def say(self, method: str, *lines: str, body: bytes = b"", cseq: int = 1, **parts: str) -> list[Output]:
        return self.data(self.text(method, *lines, body=body, cseq=cseq, **parts))

    def text(self, method: str, *lines: str, body: bytes = b"", cseq: int = 1, **parts: str) -> bytes:
        branch = parts.get("branch")
        if branch is None:
            self.branch += 1
            branch = f"z9hG4bKpeer{self.branch}"
        tag = parts.get("to_tag", "")
        head = [
            f"{method} {parts.get('target', 'sip:alice@example.com')} SIP/2.0",
            f"Via: SIP/2.0/WS peer.invalid;branch={branch}",
            "Max-Forwards: 70",
            f"From: {parts.get('sender', '<sip:bob@example.com>')};tag={parts.get('from_tag', 'bob')}",
            f"To: <sip:alice@example.com>{';tag=' + tag if tag else ''}",
            f"Call-ID: {parts.get('call_id', 'incoming-1')}",
            f"CSeq: {cseq} {method}",
            *(
                ["Contact: <sip:bob@peer.invalid;transport=ws>"]
                if method in ("INVITE", "SUBSCRIBE", "NOTIFY") and parts.get("contact") != ""
                else []
            ),
            *lines,
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def offer(self, *kinds: str) -> bytes:
        for kind in kinds or ("audio",):
            self.negotiator.add_line(kind)
        return self.reoffer()

    def reoffer(self) -> bytes:
        for slot in self.negotiator.missing_slots():
            self.negotiator.add_transport(slot, local_transport(slot, 7))
        return self.negotiator.create_offer().to_bytes()

    def answer_sdp(self, offer: bytes) -> bytes:
        self.negotiator.receive_offer(offer, (*AUDIO, ("video", Direction.SENDRECV)))
        for slot in self.negotiator.missing_slots():
            self.negotiator.add_transport(slot, local_transport(slot, 7))
        for slot in self.negotiator.restart_slots():
            self.negotiator.add_transport(slot, local_transport(slot, 107 + self.restarts))
        return self.negotiator.create_answer()[0].to_bytes()

    # -- whole calls -------------------------------------------------------------------------------------------------

    def invite(self, **more: Any) -> Request:
        settings: dict[str, Any] = {"call": "out", "target": "sip:bob@example.com", "media": AUDIO, **more}
        self.command(i.Invite(command=0, **settings))
        return self.request("INVITE")

    def call_out(self) -> Request:
        """An established call of ours, named "out". Returns its INVITE."""
        invite = self.invite()
        self.answer(invite, 200, CONTACT, SDP, body=self.answer_sdp(invite.body))
        self.one(o.CallEstablished)
        return invite

    def call_in(self, *lines: str, body: bytes | None = None) -> Response:
        """An established call of the peer's, named "in-1". Returns our 200."""
        self.say("INVITE", SDP, *lines, body=self.offer() if body is None else body)
        self.command(i.Answer(command=0, call="in-1", media=AUDIO))
        ok = self.response(200)
        self.negotiator.receive_answer(ok.body)
        self.say("ACK", to_tag=tag_of(ok))
        self.one(o.CallEstablished)
        return ok

    def in_dialog(self, invite: Request, method: str, *lines: str, cseq: int = 1, body: bytes = b"") -> list[Output]:
        """A request of the peer in the dialog of our INVITE."""
        return self.say(
            method,
            *lines,
            cseq=cseq,
            body=body,
            from_tag="peer",
            to_tag=(invite.headers.first("From") or "").partition("tag=")[2],
            call_id=invite.headers.first("Call-ID") or "",
        )


CONTACT = "Contact: <sip:bob@peer.invalid;transport=ws>"
SDP = "Content-Type: application/sdp"


def tag_of(message: Request | Response) -> str:
    return (message.headers.first("To") or "").partition("tag=")[2]


def answer_to(to: Request, status: int, *lines: str, tag: str = "peer", body: bytes = b"") -> bytes:
    head = [f"SIP/2.0 {status} Text"]
    head += [f"Via: {via}" for via in to.headers.raw("Via")]
    head += [f"{name}: {to.headers.first(name)}" for name in ("From", "Call-ID", "CSeq")]
    target = to.headers.first("To") or ""
    head.append(f"To: {target}" if "tag=" in target or status == 100 else f"To: {target};tag={tag}")
    return "\r\n".join([*head, *lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body


def cseq_of(message: Request | Response) -> int:
    return int((message.headers.first("CSeq") or "0").split()[0])
