"""The engine in a plain `selectors` loop: registers with a server, asks for its options, ends. No framework.

usage: selectors_loop.py PORT USER PASSWORD DOMAIN
"""

import selectors
import socket
import sys
import time

from sipproto import AgentConfig, Secret, UserAgent
from sipproto.agent import inputs, outputs
from sipproto_wsproto import Closed, MessageReceived, Opened, Output, Transmit, WebSocketConnection


class Program:
    """One agent, one WebSocket, one socket."""

    def __init__(self, port: int, user: str, password: str, domain: str) -> None:
        secret = Secret(username=user, password=password)
        self.agent = UserAgent(AgentConfig(aor=f"sip:{user}@{domain}", secrets=(secret,)))
        self.address = ("127.0.0.1", port)
        self.domain = domain
        self.selector = selectors.DefaultSelector()
        self.socket = socket.socket()
        self.websocket = WebSocketConnection(client=True, host=f"127.0.0.1:{port}")
        self.outcomes: dict[int, outputs.Outcome] = {}

    def give(self, what: inputs.Input) -> None:
        for output in self.agent.handle(what, time.monotonic()):
            match output:
                case outputs.OpenFlow():
                    self.socket.connect(self.address)
                    self.selector.register(self.socket, selectors.EVENT_READ)
                    self.websocket_did(self.websocket.start(time.monotonic()))
                case outputs.SendData(data=data):
                    self.websocket_did(self.websocket.send(data))
                case outputs.CloseFlow():
                    self.websocket_did(self.websocket.close(time.monotonic()))
                case outputs.CommandSucceeded() | outputs.CommandFailed():
                    self.outcomes[output.command] = output
                case _:
                    print(output)

    def websocket_did(self, did: list[Output]) -> None:
        for output in did:
            match output:
                case Transmit(data=data):
                    self.socket.sendall(data)
                case Opened():
                    self.give(inputs.FlowOpened(flow=1, transport="WS"))
                case MessageReceived(data=data):
                    self.give(inputs.DataReceived(flow=1, data=data))
                case Closed(error=error):
                    self.give(inputs.FlowClosed(flow=1, error=error))

    def run(self, command: inputs.Command) -> outputs.Outcome:
        """Turns the loop until the command has its outcome."""
        self.give(command)
        while command.command not in self.outcomes:
            deadlines = [self.agent.next_timeout(), self.websocket.next_timeout()]
            due = min((d for d in deadlines if d is not None), default=time.monotonic() + 1)
            if self.selector.select(max(0.0, due - time.monotonic())):
                data = self.socket.recv(65536) or None
                self.websocket_did(self.websocket.receive(data, time.monotonic()))
            self.give(inputs.TimeoutElapsed())
            self.websocket_did(self.websocket.handle_timeout(time.monotonic()))
        return self.outcomes[command.command]


def main() -> None:
    program = Program(int(sys.argv[1]), *sys.argv[2:5])
    commands: list[inputs.Command] = [
        inputs.Connect(command=1, server=f"ws://127.0.0.1:{program.address[1]}/"),
        inputs.Register(command=2),
        inputs.SendOptions(command=3, target=f"sip:{program.domain}"),
        inputs.Unregister(command=4),
        inputs.Shutdown(command=5),
    ]
    with program.socket, program.selector:
        for command in commands:
            outcome = program.run(command)
            print(type(command).__name__, outcome)
            if isinstance(outcome, outputs.CommandFailed):
                raise SystemExit(1)


if __name__ == "__main__":
    main()
