"""Bob is asked to talk to Carol instead of Alice: an attended transfer between three agents, without any network.

Alice holds Bob, consults Carol, and has Bob take her place there. Run it: `python docs/examples/transfer.py`.
"""

from __future__ import annotations

from collections import deque

from sipproto import AgentConfig, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.tokens import SeededTokens

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
NAMES = ("alice", "bob", "carol")


class World:
    """Three agents; what one sends arrives at the one whose name is in the Request-URI, answers where they came from."""

    def __init__(self) -> None:
        self.agents = {
            name: UserAgent(AgentConfig(aor=f"sip:{name}@example.com", any_user=True, tokens=SeededTokens(seed)))
            for seed, name in enumerate(NAMES)
        }
        self.way: dict[bytes, str] = {}  # by Via branch: who sent the request
        self.home: dict[bytes, str] = {}  # by the user part of a Contact: whose it is
        self.inputs: deque[tuple[str, i.Input]] = deque()
        self.commands = 0
        for name in NAMES:
            self.do(name, i.Connect(command=0, server="ws://example.com"))
            self.give(name, i.FlowOpened(flow=1, transport="WS"))

    def do(self, name: str, command: i.Command) -> None:
        self.give(name, command)

    def give(self, name: str, what: i.Input) -> None:
        self.inputs.append((name, what))
        if len(self.inputs) > 1:
            return  # the loop below is running
        while self.inputs:
            name, what = self.inputs[0]
            for output in self.agents[name].handle(what, 0.0):
                self.carry_out(name, output)
            self.inputs.popleft()

    def carry_out(self, name: str, output: o.Output) -> None:
        match output:
            case o.SendData(data=data):
                self.give(self.receiver(name, data), i.DataReceived(flow=1, data=data))
            case o.IncomingCall(call=call, replaces=replaces):
                print(f"{name}: a call from {output.from_uri}" + (f" that replaces {replaces}" if replaces else ""))
                self.do(name, i.Answer(command=10, call=call, body=SDP))
            case o.TransferRequested(transfer=transfer, target=target):
                print(f"{name}: asked to call {target.partition(';')[0]}")
                self.do(name, i.AcceptTransfer(command=11, transfer=transfer, call="transferred", body=SDP))
            case o.TransferProgressed(status=status):
                print(f"{name}: hears that the transfer is at {status}")
            case o.CallEstablished(call=call):
                print(f"{name}: {call} is established")
            case o.CallEnded(call=call, detail=detail):
                print(f"{name}: {call} has ended {detail}".rstrip())
            case _:
                pass

    def receiver(self, name: str, data: bytes) -> str:
        """What a proxy does, in little: by Contact or name for requests, by branch for responses."""
        branch = data.partition(b"branch=")[2].partition(b";")[0].partition(b"\r")[0]
        contact = data.partition(b"\r\nContact: <sip:")[2].partition(b"@")[0]
        if contact:
            self.home[contact] = name
        if data.startswith(b"SIP/2.0"):
            return self.way[branch]
        self.way[branch] = name
        user = data.partition(b" sip:")[2].partition(b"@")[0]
        return self.home.get(user, user.decode())


def main() -> None:
    world = World()
    world.do("alice", i.Invite(command=1, call="first", target="sip:bob@example.com", body=SDP))
    world.do("alice", i.Invite(command=2, call="second", target="sip:carol@example.com", body=SDP))
    world.do("alice", i.Refer(command=3, call="first", other="second"))
    world.do("alice", i.HangUp(command=4, call="first"))
    print({name: agent.calls for name, agent in world.agents.items()})


if __name__ == "__main__":
    main()
