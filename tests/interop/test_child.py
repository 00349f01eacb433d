"""Child programs of the tests end with their block, and with the tests themselves, however those end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from .child import Child, end, launch, living, wait_until
from .kamailio import Kamailio
from .ports import is_bound

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]
# Starts a Kamailio, says which process group it is, and is ended.
_TESTS = """
import threading
from tests.interop.kamailio import Kamailio
with Kamailio() as server:
    print(server.process.pid, server.folder, flush=True)
    threading.Event().wait()
"""


class Shell(Child):
    """A shell and a child of it that both do not care for SIGTERM."""

    program = "sh"

    def __init__(self, ready: bool) -> None:
        self._ready = ready

    def _configure(self) -> None:
        (self.folder / "script").write_text("trap '' TERM; sleep 600 & echo started; wait; wait")

    def _arguments(self) -> Sequence[str]:
        return ["script"]

    def _is_ready(self) -> bool:
        if self._ready:
            return "started" in self.log()
        assert self.process is not None
        return self.process.poll() is not None


def test_nothing_is_left_of_a_block_that_fails() -> None:
    with pytest.raises(ZeroDivisionError) as failed, Shell(ready=True) as shell:  # noqa: PT012
        assert shell.process is not None
        group, folder = shell.process.pid, shell.folder
        assert len(living(group)) == 2
        raise ZeroDivisionError
    assert failed.value.__notes__ == ["sh, still running\nstarted\n"]
    assert not living(group) and not folder.exists()


def test_nothing_is_left_of_a_start_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.interop.child.PATIENCE", 0.5)
    shell = Shell(ready=False)
    with pytest.raises(RuntimeError, match="sh, still running\nstarted"), shell:
        pass
    assert shell.process is None and not shell.folder.exists()
    with pytest.raises(RuntimeError, match="there is no no-such-program program: run "):
        launch("no-such-program")


def test_a_program_that_has_ended_by_itself() -> None:
    process = launch("sh", "-c", "exit 3", stdout=subprocess.DEVNULL)
    end(process, patience=10)
    end(process)
    assert process.returncode == 3


@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGKILL])
def test_tests_that_are_killed_leave_no_server(death: signal.Signals) -> None:
    """One that has worker processes, which the system does not end by itself."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "runtimes", "adapters"))
    tests = subprocess.Popen(
        [sys.executable, "-c", _TESTS], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )
    assert tests.stdout is not None
    with tests.stdout as told:
        match = re.fullmatch(r"(\d+) (.*)\n", told.readline())
    assert match
    group = int(match[1])
    assert len(living(group)) > 3
    tests.send_signal(death)
    tests.wait(10)
    wait_until(lambda: not living(group), lambda: f"{living(group)} are left")


def test_ports_are_free_when_a_server_was_killed() -> None:
    with Kamailio() as server:
        for _ in range(3):
            server.kill()
            assert not is_bound("udp", server.udp_port) and not is_bound("tcp", server.tcp_port)
            server.start()
