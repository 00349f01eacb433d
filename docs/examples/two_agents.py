"""Two engines and no I/O: a call in a few lines, at a time of our own making."""

from collections import deque

from sipproto import AgentConfig, UserAgent
from sipproto.agent import inputs, outputs
from sipproto.tokens import SeededTokens

alice = UserAgent(AgentConfig(aor="sip:alice@example.com", tokens=SeededTokens(1)))
bob = UserAgent(AgentConfig(aor="sip:bob@example.com", tokens=SeededTokens(2)))
FLOW = {alice: 1, bob: 7}
heard: list[object] = []


def give(agent: UserAgent, what: inputs.Input, now: float) -> None:
    """Gives an input to one agent; what it sends is received by the other at once."""
    todo = deque([(agent, what)])
    while todo:
        at, item = todo.popleft()
        for output in at.handle(item, now):
            if isinstance(output, outputs.SendData):
                other = bob if at is alice else alice
                todo.append((other, inputs.DataReceived(flow=FLOW[other], data=output.data)))
                print("alice" if at is alice else "bob  ", output.data.split(b"\r\n")[0].decode())
            else:
                heard.append(output)


give(alice, inputs.Connect(command=1, server="ws://in.memory"), now=0.0)
give(alice, inputs.FlowOpened(flow=1, transport="WS"), now=0.0)
give(bob, inputs.FlowOpened(flow=7, transport="WS"), now=0.0)
give(alice, inputs.Invite(command=2, call="a", target="sip:bob@example.com", body=b"v=0\r\n"), now=0.1)
incoming = next(event for event in heard if isinstance(event, outputs.IncomingCall))
give(bob, inputs.Answer(command=1, call=incoming.call, body=b"v=0\r\n"), now=0.2)
assert any(isinstance(event, outputs.CallEstablished) and event.call == "a" for event in heard)
give(alice, inputs.HangUp(command=3, call="a"), now=5.0)
assert any(isinstance(event, outputs.CallEnded) and event.call == incoming.call for event in heard)

# What is left are transactions that absorb late repetitions; 32 seconds later nothing is.
for agent in (alice, bob):
    give(agent, inputs.TimeoutElapsed(), now=60.0)
    assert agent.next_timeout() is None and not any(agent.retained.values())
