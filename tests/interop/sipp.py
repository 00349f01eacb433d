"""SIPp as a peer: one scenario file is one SIPp process, which ends by itself and says what it did not like.

The files in `sipp/` are ordinary SIPp scenarios but for two things, which are put in before SIPp sees them: `@NAME@` is a
value that the test gives, and `@part argument@` one of the `PARTS` below, so that a file shows only what is its own.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sipproto_client import plain_task_group
from sipproto_client.port import Runtime

from .child import end, launch
from .ports import free_port, is_bound

SCENARIOS = Path(__file__).resolve().parent / "sipp"
_TIME_LIMIT = 12  # seconds for a whole scenario: less than a test may take, so that SIPp is the first to complain
_RECEIVE_LIMIT = 9000  # milliseconds for the next message
_TICK = 0.01
_CONTACT = "Contact: <sip:[user]@[local_ip]:[local_port];transport=[transport]>"
_VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\nMax-Forwards: @HOPS@"
_ME = "<sip:[user]@[domain]>;tag=[pid]u[call_number]"
_YOU = "<sip:[service]@[domain]>"
_LAST = "[last_Via:]\n[last_Record-Route:]\n[last_From:]\n[last_To:]"
_SEND = '<send retrans="500"><![CDATA[\n$0\n@end@]]></send>\n'
_PLAIN = (
    "Content-Type: application/sdp\nContent-Length: [len]\n\nv=0\no=sipp 1 $2 IN IP4 [local_ip]\ns=-\n"
    "c=IN IP4 [local_ip]\nt=0 0\nm=audio @OF_PORT@ RTP/AVP @OF_PAYLOAD@ 101\na=rtpmap:@OF_PAYLOAD@ @OF_CODEC@/8000\n"
    "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=$1\n"
)

# $1, $2 ... are the words of the argument, $* is all of it, $+ all but the first.
PARTS = {
    # Requests: outside of a dialog; in one that SIPp has made, or we; and what belongs to an INVITE without 2xx that was
    # sent $2 messages ago.
    "first": f"$1 sip:[service]@[domain] SIP/2.0\n{_VIA}\nFrom: {_ME}\nTo: {_YOU}\n"
    f"Call-ID: [call_id]\nCSeq: [cseq] $1\n{_CONTACT}",
    "next": f"$1 [next_url] SIP/2.0\n{_VIA}\n[routes]\nFrom: {_ME}\nTo: {_YOU}[peer_tag_param]\n"
    f"Call-ID: [call_id]\nCSeq: [cseq] $1\n{_CONTACT}",
    "back": f"$1 [next_url] SIP/2.0\n{_VIA}\n[routes]\nFrom:[$to];tag=[pid]u[call_number]\nTo:[$from]\n"
    f"Call-ID: [call_id]\nCSeq: [cseq] $1\n{_CONTACT}",
    "same": "$1 sip:[service]@[domain] SIP/2.0\n"
    "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-$2]\nMax-Forwards: 70\n"
    f"From: {_ME}\nTo: {_YOU}[peer_tag_param]\nCall-ID: [call_id]\nCSeq: [cseq] $1",
    "samenext": "$1 [next_url] SIP/2.0\n"
    "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-$2]\nMax-Forwards: 70\n[routes]\n"
    f"From: {_ME}\nTo: {_YOU}[peer_tag_param]\nCall-ID: [call_id]\nCSeq: [cseq] $1",
    # With a sequence number of its own, $2; and in a dialog that is none
    "numbered": f"$1 [next_url] SIP/2.0\n{_VIA}\n[routes]\nFrom: {_ME}\nTo: {_YOU}[peer_tag_param]\n"
    "Call-ID: [call_id]\nCSeq: $2 $1",
    "stray": f"$1 sip:[service]@[domain] SIP/2.0\n{_VIA}\nFrom: {_ME}\nTo: {_YOU};tag=nowhere\n"
    f"Call-ID: [call_id]\nCSeq: [cseq] $1\n{_CONTACT}",
    "register": f"REGISTER sip:[domain] SIP/2.0\n{_VIA}\nFrom: {_ME}\nTo: <sip:[user]@[domain]>\n"
    "Call-ID: [call_id]\nCSeq: [cseq] REGISTER",
    # Answers: to a request that makes a dialog; the same with a tag of its own, $1; the same when other requests came
    # since; and to all other requests.
    "reply": f"SIP/2.0 $*\n{_LAST};tag=[pid]u[call_number]\n[last_Call-ID:]\n[last_CSeq:]\n{_CONTACT}",
    "fork": f"SIP/2.0 $+\n{_LAST};tag=$1\n[last_Call-ID:]\n[last_CSeq:]\n{_CONTACT}",
    "later": "SIP/2.0 $*\n[$via][$rr]From:[$from]\nTo:[$to];tag=[pid]u[call_number]\nCall-ID: [call_id]\n"
    f"CSeq:[$cseq]\n{_CONTACT}",
    "answer": f"SIP/2.0 $*\n{_LAST}\n[last_Call-ID:]\n[last_CSeq:]\n{_CONTACT}",
    # What `back` and `later` need of the INVITE; and that a header is there and looks so
    "remember": """
    <ereg regexp=".*" search_in="hdr" header="From:" assign_to="from"/>
    <ereg regexp=".*" search_in="hdr" header="To:" assign_to="to"/>
    <ereg regexp=".*" search_in="hdr" header="CSeq:" assign_to="cseq"/>
    <ereg regexp="(Via: [^[:cntrl:]]*[[:cntrl:]]+)+" search_in="msg" assign_to="via"/>
    <ereg regexp="(Record-Route: [^[:cntrl:]]*[[:cntrl:]]+)+" search_in="msg" assign_to="rr"/>""",
    "body": '<ereg regexp="$*" search_in="body" check_it="true" assign_to="check"/>',
    "check": '<ereg regexp="$+" search_in="hdr" header="$1" check_it="true" assign_to="check"/>',
    # Bodies
    "end": "Content-Length: 0\n\n",
    "sdp": "Content-Type: application/sdp\nContent-Length: [len]\n\nv=0\no=sipp 1 1 IN IP4 [local_ip]\ns=-\n"
    "c=IN IP4 [local_ip]\nt=0 0\nm=audio 6000 RTP/AVP 0\n",
    # What an engine for WebRTC would say: direction, DTLS role, version
    "media": "Content-Type: application/sdp\nContent-Length: [len]\n\nv=0\no=sipp 1 $3 IN IP4 [local_ip]\ns=-\nt=0 0\n"
    "m=audio 6000 UDP/TLS/RTP/SAVPF 0\nc=IN IP4 [local_ip]\na=mid:0\na=$1\na=rtcp-mux\na=rtpmap:0 PCMU/8000\n"
    "a=ice-ufrag:sipp\na=ice-pwd:sippsippsippsippsippsipp\n"
    "a=candidate:1 1 udp 2130706431 [local_ip] 6000 typ host\n"
    f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\na=setup:$2\n",
    # A classic endpoint: direction, version; and the same after it has handed the call over to another one
    "plain": _PLAIN.replace("OF_", ""),
    "moved": _PLAIN.replace("OF_", "OTHER_"),
    # Whole steps, for what is not the point of a scenario: a call made by SIPp, made by us; ended by SIPp, ended by us
    "called": '<recv request="INVITE" rrs="true"><action>@remember@</action></recv>\n'
    "<send><![CDATA[\n@reply 180 Ringing@\n@end@]]></send>\n"
    '<send retrans="500"><![CDATA[\n@reply 200 OK@\n@BODY@\n]]></send>\n<recv request="ACK"/>',
    "accepted": '<recv response="100" optional="true"/>\n<recv response="180" optional="true"/>\n'
    '<recv response="200" rrs="true"/>\n<send><![CDATA[\n@next ACK@\n@end@]]></send>',
    "calling": f"@login INVITE@\n{_SEND.replace('$0', '@first INVITE@').replace('@end@', '@BODY@')}@accepted@",
    "hangup": f'{_SEND.replace("$0", "@$1 BYE@")}<recv response="200"/>',
    "hungup": '<recv request="BYE"/>\n<send><![CDATA[\n@answer 200 OK@\n@end@]]></send>',
    # An INFO that tells SIPp to go on
    "cue": '<recv request="INFO"/>\n<send><![CDATA[\n@answer 200 OK@\n@end@]]></send>',
    "login": "",
}
# A proxy wants a password before it takes the first request: in front of that goes the same one without.
_PROXY = {
    "login": f'{_SEND.replace("$0", "@stranger $1@")}<recv response="407" auth="true"/>\n@ack $1@',
    "stranger": PARTS["first"],
    "first": f"{PARTS['first']}\n[authentication username=@USER@ password=@PASSWORD@]",
}


class SippFailure(Exception):
    """A scenario did not go as its file says; the text has SIPp's own words and the last messages."""


class Sipp:
    """A SIPp process with one scenario and one call, to be used as a context manager. It never outlives the block.

    server: the port on 127.0.0.1 that SIPp sends to; without one it waits for us at `port`. password: where a proxy asks
    for one. values: for the `@NAME@`s of the file. Its error, message and log files are in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        scenario: str,
        *,
        server: int | None = None,
        transport: str = "udp",
        user: str = "sipp",
        domain: str = "127.0.0.1",
        service: str = "alice",
        password: str | None = None,
        options: tuple[str, ...] = (),
        values: Mapping[str, str] | None = None,
    ) -> None:
        self.scenario = scenario
        self.transport = transport
        self.port = free_port(transport)
        self._server = server
        self.folder = Path(folder)
        self._through_proxy = password is not None
        self.domain = domain
        self._keys = {"user": user, "domain": domain}
        self._values = {"BODY": "@sdp@", "HOPS": "70", "USER": user, "PASSWORD": password or "", **(values or {})}
        self._options = ("-s", service, *options)
        self._process: subprocess.Popen[Any] | None = None
        self.pid: int | None = None
        # Several of them may play the same scenario.
        self._name = f"{scenario}-{self.port}"

    def __enter__(self) -> Self:
        file = self._file("xml")
        text = (SCENARIOS / f"{self.scenario}.xml").read_text()
        file.write_text(expand(text, self._values, through_proxy=self._through_proxy))
        keys = [word for name, value in self._keys.items() for word in ("-key", name, value)]
        arguments = [
            *([] if self._server is None else [f"127.0.0.1:{self._server}"]),
            *("-sf", str(file), "-t", {"udp": "u1", "tcp": "t1"}[self.transport], "-m", "1", "-nostdin"),
            *("-i", "127.0.0.1", "-p", str(self.port), "-cp", str(free_port("udp"))),
            *("-recv_timeout", str(_RECEIVE_LIMIT), "-timeout", f"{_TIME_LIMIT}s", "-timeout_error"),
            *(
                "-trace_err",
                "-error_file",
                str(self._file("err")),
                "-trace_msg",
                "-message_file",
                str(self._file("msg")),
            ),
            *("-trace_logs", "-log_file", str(self._file("log"))),
            *self._options,
            *keys,
        ]
        with self._file("out").open("wb") as out:
            self._process = launch(
                "sipp",
                *arguments,
                cwd=self.folder,
                env={**os.environ, "TERM": "dumb"},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        if error is not None and not isinstance(error, SippFailure):
            error.add_note(self.story())
        end(process)

    async def wait_ready(self, runtime: Runtime) -> None:
        """Until SIPp listens, where it is the one who is called."""
        while self._server is None and not is_bound(self.transport, self.port):
            self._check()
            await runtime.wait(runtime.event(), _TICK)

    async def run(self, runtime: Runtime) -> None:
        """Until the scenario is over. Raises SippFailure when it went otherwise than the file says."""
        while not self._check():
            await runtime.wait(runtime.event(), _TICK)

    def _check(self) -> bool:
        """Whether it has ended well."""
        assert self._process is not None
        status = self._process.poll()
        if status:
            raise SippFailure(self.story())
        return status == 0

    def messages(self) -> str:
        """All that SIPp has sent and received, as it wrote it down."""
        file = self._file("msg")
        return file.read_text(errors="replace") if file.exists() else ""

    def received(self) -> list[str]:
        """The messages that SIPp has received, repetitions too."""
        parts = re.split(r"-{20,}[^\n]*\n", self.messages())
        return [part.partition(":\n")[2].lstrip() for part in parts if " message received " in part.partition("\n")[0]]

    def story(self) -> str:
        status = None if self._process is None else self._process.poll()
        ended = "still running" if status is None else f"ended with status {status}"
        text = f"SIPp, {self.scenario}.xml, {ended}"
        for kind, limit in (("err", 2000), ("out", 0 if self._file("err").exists() else 1500), ("msg", 6000)):
            file = self._file(kind)
            if limit and file.exists():
                text += f"\n--- {kind}:\n{file.read_text(errors='replace')[-limit:]}"
        return text

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self._name}.{kind}"


@asynccontextmanager
async def playing(runtime: Runtime, sipp: Sipp) -> AsyncIterator[Sipp]:
    """SIPp beside the block: a failure of it ends the block, and leaving the block waits for the end of the scenario."""
    with sipp:
        async with plain_task_group(runtime) as tasks:
            await sipp.wait_ready(runtime)
            tasks.start_soon(sipp.run, runtime)
            yield sipp


def expand(text: str, values: Mapping[str, str], *, through_proxy: bool) -> str:
    """Puts values and parts into a scenario."""
    parts = PARTS | _PROXY if through_proxy else PARTS

    def part(match: re.Match[str]) -> str:
        words = (match[2] or "").split(" ")
        if match[1] == "ack":  # which an INVITE alone gets
            return "<send><![CDATA[\n@same ACK 2@\n@end@]]></send>\n" if words == ["INVITE"] else ""
        out = parts[match[1]].replace("$*", " ".join(words)).replace("$+", " ".join(words[1:]))
        for number, word in enumerate(words, 1):
            out = out.replace(f"${number}", word)
        return out

    while True:
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        expanded = re.sub(r"@([a-z]+)(?: ([^@\n]*))?@", part, text)
        if expanded == text:
            break
        text = expanded
    # SIPp takes a variable that is set and not used for a mistake.
    if variables := sorted(set(re.findall(r'assign_to="(\w+)"', text))):
        text = text.replace("</scenario>", f'<Reference variables="{",".join(variables)}"/>\n</scenario>')
    return text
