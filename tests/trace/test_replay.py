"""A recording, done again, gives the same octets; and where it does not, the difference is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from sipproto.agent import AgentConfig, Output, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError
from sipproto.trace import Recorder, Transcript, describe, read_transcript, replay
from tests.sim.test_calls import LINKS, MEDIA
from tests.trace.rig import Recorded, simulate

OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("media", MEDIA)
def test_simulated_calls(link: str, media: str) -> None:
    seed = 3 * list(LINKS).index(link) + list(MEDIA).index(media)
    bodies = seed % 2 == 0
    pair = simulate(link, media, seed, calls=6, bodies=bodies)
    for recorded in pair.recorded.values():
        transcript = recorded.transcript
        result = replay(transcript)
        assert result.equal, describe(result.first) if result.first else ""
        assert result.steps == len(transcript.steps) > 30 and result.outputs > 30
        assert transcript.complete and transcript.header.bodies is bodies


def test_the_octets_are_those_of_the_call() -> None:
    pair = simulate("udp-jitter", "good", 5, calls=4)
    for name, recorded in pair.recorded.items():
        sent = [out.data for step in recorded.transcript.steps for out in step.outputs if isinstance(out, o.SendData)]
        raw = [data for who, data in pair.octets() if who == name]
        covered = [re.sub(rb"(?<=a=ice-pwd:)\S+", lambda m: b"?" * len(m[0]), data) for data in raw]
        assert [re.sub(rb"(?<=a=ice-pwd:)\S+", lambda m: b"?" * len(m[0]), data) for data in sent] == covered
        assert sent != raw or not any(b"ice-pwd" in data for data in raw)


def test_system_randomness_is_recorded() -> None:
    """Two recordings of the same differ, each is equal to itself."""
    texts = []
    for _ in range(2):
        agent = Recorded(AgentConfig(aor="sip:a@example.com"))
        agent.handle(i.Connect(command=1, server="ws://x"), 0.0)
        agent.handle(i.FlowOpened(flow=1, transport="WS"), 0.125)
        agent.handle(i.Register(command=2), 1.0)
        texts.append(agent.text)
        assert replay(agent.transcript).equal
    assert texts[0] != texts[1]


def digest_call(password: str = "open sesame", **more: Any) -> Recorded:
    """A registration that is asked for credentials."""
    secret = Secret(username="alice", password=password, **more)
    agent = Recorded(AgentConfig(aor="sip:alice@example.com", secrets=(secret,)))
    agent.handle(i.Connect(command=1, server="ws://x"), 0.0)
    agent.handle(i.FlowOpened(flow=1, transport="WS"), 0.1)
    (sent,) = agent.handle(i.Register(command=2), 0.2)
    assert isinstance(sent, o.SendData)
    outputs = agent.handle(i.DataReceived(flow=1, data=answer(sent.data, "401 Unauthorized", CHALLENGE)), 0.3)
    sent = next(out for out in outputs if isinstance(out, o.SendData))
    info = 'Authentication-Info: qop=auth, rspauth="deadbeefdeadbeef", nc=00000001\r\nContact: <sip:a@b>;expires=60\r\n'
    agent.handle(i.DataReceived(flow=1, data=answer(sent.data, "200 OK", info)), 0.4)
    return agent


CHALLENGE = 'WWW-Authenticate: Digest realm="example.com", nonce="abc", qop="auth", algorithm=SHA-256\r\n'


def answer(request: bytes, status: str, more: str = "") -> bytes:
    kept = [
        line for line in request.decode().split("\r\n") if line.startswith(("Via", "From", "To", "Call-ID", "CSeq"))
    ]
    return "\r\n".join([f"SIP/2.0 {status}", *kept, f"{more}Content-Length: 0", "", ""]).encode()


def test_digest_is_replayed_without_the_password() -> None:
    agent = digest_call()
    transcript = agent.transcript
    assert b'response="xxxx' in transcript.steps[3].outputs[0].data  # type: ignore[union-attr]
    assert replay(transcript).equal
    assert any(isinstance(out, o.RegistrationChanged) for out in transcript.steps[4].outputs)


def test_refused_commands_are_part_of_it() -> None:
    agent = Recorded(AgentConfig(aor="sip:a@example.com"))
    with pytest.raises(LocalProtocolError, match="no call"):
        agent.handle(i.HangUp(command=1, call="x"), 0.0)
    transcript = agent.transcript
    assert transcript.steps[0].raised is not None and "no call" in transcript.steps[0].raised.text
    assert replay(transcript).equal


def test_a_crash_is_recorded_and_found_again() -> None:
    """Whatever goes wrong inside, the input that did it is in the file."""

    class Broken(UserAgent):
        def handle(self, what: i.Input, now: float) -> tuple[Output, ...]:
            if isinstance(what, i.TimeoutElapsed):
                raise KeyError("oh")
            return super().handle(what, now)

    pieces: list[str] = []
    recorder = Recorder(pieces.append, AgentConfig(aor="sip:a@example.com"))
    broken = Broken(recorder.config)
    recorder.handle(broken, i.Connect(command=1, server="ws://x"), 0.0)
    with pytest.raises(KeyError):
        recorder.handle(broken, i.TimeoutElapsed(), 1.0)
    recorder.finish()
    transcript = read_transcript("".join(pieces))
    assert transcript.steps[1].raised is not None and transcript.steps[1].raised.error == "KeyError"
    result = replay(transcript)  # by an engine that is mended
    assert result.differences == 1 and result.first is not None and result.first.got is None


def change(transcript: Transcript, number: int, edit: Callable[[Output], Output]) -> Transcript:
    steps = list(transcript.steps)
    steps[number] = evolve(steps[number], outputs=tuple(map(edit, steps[number].outputs)))
    return evolve(transcript, steps=tuple(steps))


def test_one_octet_makes_a_difference() -> None:
    text = digest_call().text
    found = 0
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.startswith("    | User-Agent: sipproto"):
            continue
        changed = "\n".join([*lines[:number], line.replace("sipproto", "sipprotO"), *lines[number + 1 :]])
        result = replay(read_transcript(changed))
        assert result.differences == 1 and result.first is not None
        assert isinstance(result.first.expected, o.SendData) and isinstance(result.first.got, o.SendData)
        shown = describe(result.first)
        assert "-    | User-Agent: sipprotO" in shown and "+    | User-Agent: sipproto" in shown
        assert f"line {result.first.line}," in shown[0] and lines[result.first.line - 1].endswith("in Register") is (
            found == 0
        )
        found += 1
    assert found == 2


def test_missing_and_additional_outputs() -> None:
    transcript = digest_call().transcript
    steps = list(transcript.steps)
    steps[0] = evolve(steps[0], outputs=steps[0].outputs[:1])
    steps[1] = evolve(steps[1], outputs=(*steps[1].outputs, o.CloseFlow(flow=9)))
    result = replay(evolve(transcript, steps=tuple(steps)))
    assert result.differences == 2 and result.first is not None
    assert result.first.number == 1 and result.first.expected is None and isinstance(result.first.got, o.OpenFlow)


def test_other_inputs_make_other_outputs() -> None:
    text = digest_call().text
    assert not replay(read_transcript(text.replace('nonce="abc"', 'nonce="abd"', 1))).equal
    assert not replay(read_transcript(text.replace("register_expires = 600", "register_expires = 601"))).equal
    assert not replay(read_transcript(re.sub(r"tokens (\d+):.", r"tokens \1:", text, count=1))).equal


def test_wrong_tokens_do_not_stop_it() -> None:
    text = re.sub(r"(?m)^tokens .*\n", "", digest_call().text)
    result = replay(read_transcript(text))
    assert not result.equal and result.steps == 5


def test_a_recording_without_end_is_compared_as_far_as_it_goes() -> None:
    whole = digest_call().text
    for end in range(whole.index("\n0.0 in"), len(whole) - 8, 7):
        transcript = read_transcript(whole[:end], partial=True)
        assert not transcript.complete
        assert replay(transcript).equal


def test_invite_with_everything() -> None:
    agent = Recorded(AgentConfig(aor="sip:a@example.com"))
    agent.handle(i.FlowOpened(flow=-1, transport="UDP", local=("192.0.2.1", 5060), remote=("192.0.2.2", 5070)), 1e-9)
    with pytest.raises(LocalProtocolError):
        agent.handle(i.Invite(command=1, call="c", target="sip:b@c", body=OFFER), 1e9 + 1 / 3)
    transcript = agent.transcript
    assert [step.now for step in transcript.steps] == [1e-9, 1e9 + 1 / 3]
    assert replay(transcript).equal
