"""Server addresses and host mapping on the command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio
import trustme

from sipproto_cli import main
from sipproto_client import run_endpoint
from sipproto_trio import TrioRuntime
from tests.client.rig import RUNTIMES, config
from tests.stream.rig import server_context


@pytest.fixture(scope="module")
def ports(authority: trustme.CA) -> Iterator[dict[str, int]]:
    """A user agent that listens on all transports, in a thread of its own."""
    found: dict[str, int] = {}
    ready = threading.Event()
    tokens: list[trio.lowlevel.TrioToken] = []
    over: list[trio.Event] = []

    async def live() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        over.append(trio.Event())
        async with run_endpoint(TrioRuntime(), config("bob")) as bob:
            tls = server_context(authority, "sip.test")
            for kind in ("udp", "tcp", "tls"):
                listener = await bob.listen(f"{kind}:127.0.0.1:0", tls=tls if kind == "tls" else None)
                found[kind] = listener.port
            ready.set()
            await over[0].wait()

    thread = threading.Thread(target=trio.run, args=(live,))
    thread.start()
    assert ready.wait(10)
    yield found
    tokens[0].run_sync_soon(over[0].set)
    thread.join(10)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    monkeypatch.setattr("sys.argv", ["sipproto", "options", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr()
    return ended.value.code, out.out + out.err


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_kind_of_server(
    name: str,
    ports: dict[str, int],
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for server in (
        f"udp://sip.test:{ports['udp']}",
        f"sip:sip.test:{ports['tcp']};transport=tcp",
        f"sips:sip.test:{ports['tls']}",
        "tls://sip.test",
    ):
        mapped = f"sip.test=127.0.0.1:{ports['tls']}" if server == "tls://sip.test" else "sip.test=127.0.0.1"
        code, said = run(
            monkeypatch, capsys, "--server", server, "--map", mapped, "--ca-file", ca_file, "--runtime", name
        )
        assert (code, said.partition(" after")[0]) == (0, "sip:sip.test answered 200"), (server, said)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ws", "sip:127.0.0.1:1;transport=tcp"], "nothing listens at 127.0.0.1:1: connection refused"),
        (["--ws", "tcp://a.test:1", "--map", "a.test=127.0.0.1"], "nothing listens at 127.0.0.1:1"),
        (["--ws", "sips:h;transport=udp", "--map", "h=127.0.0.1"], "UDP cannot be used for a sips address here"),
        (["--ws", "sip:127.0.0.1:1;transport=sctp"], "SCTP cannot be used for a sip address here"),
        (["--ws", "tcp:a.test:1"], "a.test:1 is no server address; it looks like sip:example.com"),
        (["--ws", "wss://a.test", "--map", "a.test"], "a.test is no host mapping; it looks like"),
        (["--ws", "wss://a.test", "--map", "a.test=b.test"], "a name is mapped to an IP address"),
        (["--ws", "sip:user:secret@h"], "h is no server address"),
    ],
)
def test_what_cannot_work(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(monkeypatch, capsys, *arguments)
    assert code == 1 and says in said and said.count("\n") == 1 and "secret" not in said
