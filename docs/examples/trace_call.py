"""Records a call of two agents, draws it, and does it again: no network, no clock, no randomness but that of a seed."""

from collections import deque

from sipproto import AgentConfig, UserAgent
from sipproto.agent import inputs, outputs
from sipproto.tokens import SeededTokens
from sipproto.trace import Recorder, ladder, read_transcript, replay

pieces: list[str] = []
recorder = Recorder(pieces.append, AgentConfig(aor="sip:alice@example.com", tokens=SeededTokens(1)))
alice = UserAgent(recorder.config)  # this one is recorded
bob = UserAgent(AgentConfig(aor="sip:bob@example.com", tokens=SeededTokens(2)))
FLOW = {alice: 1, bob: 7}
OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
heard: list[object] = []


def give(agent: UserAgent, what: inputs.Input, now: float) -> None:
    """Gives an input to one agent; what it sends reaches the other 20 milliseconds later."""
    todo = deque([(agent, what, now)])
    while todo:
        at, item, when = todo.popleft()
        results = recorder.handle(at, item, when) if at is alice else at.handle(item, when)
        for output in results:
            if isinstance(output, outputs.SendData):
                other = bob if at is alice else alice
                todo.append((other, inputs.DataReceived(flow=FLOW[other], data=output.data), when + 0.02))
            else:
                heard.append(output)


give(alice, inputs.Connect(command=1, server="ws://in.memory"), now=0.0)
give(alice, inputs.FlowOpened(flow=1, transport="WS"), now=0.03)
give(bob, inputs.FlowOpened(flow=7, transport="WS"), now=0.03)
give(alice, inputs.Invite(command=2, call="a", target="sip:bob@example.com", body=OFFER), now=0.1)
incoming = next(event for event in heard if isinstance(event, outputs.IncomingCall))
give(bob, inputs.Answer(command=1, call=incoming.call, body=OFFER), now=1.5)
give(alice, inputs.SendDtmf(command=3, call="a", digits="5"), now=2.5)
give(alice, inputs.HangUp(command=4, call="a"), now=5.0)
recorder.finish()

transcript = read_transcript("".join(pieces))
print(ladder(transcript, width=96), end="")
result = replay(transcript)
assert result.equal
print(f"done again: {result.steps} inputs, {result.outputs} outputs, all equal")
