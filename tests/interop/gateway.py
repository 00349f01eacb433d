"""The SIP side of a gateway: a server over TCP for one client, whose calls lead into whatever takes offers and answers.

It does no more than a test on loopback needs: nothing is sent twice, everybody is registered, and there is one call at a time.
"""

from __future__ import annotations

import itertools
import queue
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sipproto.dialog import Dialog, Pairs, build_request, build_response, contact_or_none
from sipproto.message import KeepAlive, NameAddr, Request, Response, StreamParser, fields, parse_uri

from .child import PATIENCE

_SDP = ("Content-Type", "application/sdp")


class Refused(Exception):
    """One side does not take an offer."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(str(status))


class Gateway:
    """`answer` is called, in a thread of the gateway, with each offer of the client and gives the answer, or raises Refused."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        port: int = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{port}"
        self._contact = ("Contact", f"<sip:gateway@127.0.0.1:{port};transport=tcp>")
        self._numbers = itertools.count(1)
        self._socket: socket.socket | None = None
        self._client = ""  # its contact
        self._dialog: Dialog | None = None
        self._responses: queue.Queue[Response] = queue.Queue()
        self.ended = threading.Event()  # the client has hung up
        self.errors: list[BaseException] = []  # of `answer`
        self._thread = threading.Thread(target=self._serve, name="gateway", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, self._socket):
            if one is not None:
                try:
                    one.shutdown(socket.SHUT_RDWR)  # wakes up the thread
                except OSError:
                    pass  # the client was first
        self._thread.join()
        self._listener.close()
        if self._socket is not None:
            self._socket.close()

    # -- what the gateway begins ---------------------------------------------------------------------------------------

    def offer(self, sdp: str) -> str:
        """Calls the registered client, or changes the call that there is; gives its answer. Raises Refused."""
        extra = [self._via(), self._contact, _SDP]
        dialog = self._dialog
        if dialog is None:
            request = build_request(
                "INVITE",
                self._client,
                from_=f"<sip:gateway@127.0.0.1>;tag=g{next(self._numbers)}",
                to=NameAddr(parse_uri(self._client)),
                call_id=f"gateway-{next(self._numbers)}",
                cseq=1,
                extra=extra,
                body=sdp.encode(),
            )
        else:
            request = dialog.next_request("INVITE", extra=extra, body=sdp.encode())
        self._send(request.to_bytes())
        response = self._final_of(request)
        if dialog is None and response.status < 300:
            dialog = self._dialog = Dialog.from_response(request, response, 0)
        if response.status >= 300:
            self._send(self._ack_of_failure(request, response).to_bytes())
            raise Refused(response.status)
        assert dialog is not None
        number = request.headers.require(fields.CSEQ).number
        self._send(dialog.request("ACK", number, extra=[self._via()]).to_bytes())
        return response.body.decode()

    def _final_of(self, request: Request) -> Response:
        while True:
            response = self._responses.get(timeout=PATIENCE)
            if response.status >= 200 and response.headers.raw("CSeq") == request.headers.raw("CSeq"):
                return response

    def _ack_of_failure(self, request: Request, response: Response) -> Request:
        """Of the same transaction (RFC 3261 17.1.1.3)."""
        return build_request(
            "ACK",
            request.target,
            from_=request.headers.require(fields.FROM),
            to=response.headers.require(fields.TO),
            call_id=request.headers.require(fields.CALL_ID),
            cseq=request.headers.require(fields.CSEQ).number,
            extra=[("Via", request.headers.raw("Via")[0])],
        )

    def _via(self) -> tuple[str, str]:
        return "Via", f"SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKg{next(self._numbers)}"

    # -- what the client begins ----------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._socket, _ = self._listener.accept()
            parser = StreamParser()
            while data := self._socket.recv(65536):
                for message in parser.feed(data):
                    self._take(message)
        except OSError:
            pass  # the test is over

    def _take(self, message: Request | Response | KeepAlive) -> None:
        if isinstance(message, KeepAlive):
            self._send(KeepAlive.PONG.value)
        elif isinstance(message, Response):
            self._responses.put(message)
        elif message.method == "INVITE":
            self._invited(message)
        elif message.method == "REGISTER":
            self._client = contact_or_none(message) or ""
            self._respond(message, 200, [("Contact", f"<{self._client}>;expires=600")])
        elif message.method != "ACK":
            self._respond(message, 200)
            if message.method == "BYE":
                self._dialog = None
                self.ended.set()

    def _invited(self, request: Request) -> None:
        try:
            body = self._answer(request.body.decode())
        except Refused as error:
            self._respond(request, error.status)
            return
        except BaseException as error:
            self.errors.append(error)
            self._respond(request, 500)
            return
        tag = f"g{next(self._numbers)}"
        if self._dialog is None:
            self._dialog = Dialog.from_request(request, tag, 0)
        self._respond(request, 200, [self._contact, _SDP], body.encode(), tag)

    def _respond(
        self, request: Request, status: int, extra: Pairs = (), body: bytes = b"", tag: str = "gateway"
    ) -> None:
        self._send(build_response(request, status, to_tag=tag, extra=extra, body=body).to_bytes())

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)
