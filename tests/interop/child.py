"""Programs of others as child processes: each in a process group of its own, and none of it outlives the test."""

from __future__ import annotations

import abc
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

INSTALL_HINT = "run tests/interop/install-peers as root to install the peers of the interop tests"
# Seconds until a test believes no more that something is going to happen. That says nothing of how long it may take: a busy
# machine takes many times what an idle one does. Where time matters, a test measures it.
PATIENCE = 30.0
_UNTIL_ENDED = 5.0


def wait_until(good: Callable[[], object], told: Callable[[], str], timeout: float = PATIENCE) -> None:
    """Fails after so many seconds, with what is told then."""
    deadline = time.monotonic() + timeout
    while not good():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def launch(program: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """Starts a program; the options are those of Popen. Raises RuntimeError where it is not installed.

    When the thread that calls this is gone, the system sends it SIGTERM: also after the tests themselves were killed.
    That is not SIGKILL, because the system tells nobody but the child itself, which has to end what it has started.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/bin:/usr/sbin")
    if path is None:
        raise RuntimeError(f"there is no {program} program: {INSTALL_HINT}")
    command = ["setpriv", "--pdeathsig", "TERM", "--", path, *arguments]
    return subprocess.Popen(command, start_new_session=True, **{"stdin": subprocess.DEVNULL, **options})


def end(process: subprocess.Popen[Any], *, patience: float = 0) -> None:
    """Ends what `launch` has started, with its whole group, and returns when all of that is gone.

    patience: seconds that it has to end by itself before it is killed.
    """
    if patience:
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with suppress(ProcessLookupError):  # the whole group is gone already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    # The others are killed at the same time, but on a busy machine they live on for a while, and have their ports.
    wait_until(lambda: not living(process.pid), lambda: f"{process.args!r} survives SIGKILL")


def living(group: int) -> list[int]:
    """The processes of a group without the zombies, which have closed all that they had (proc_pid_stat(5))."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just gone
            state, _, its_group, *_ = file.read_text(errors="replace").rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                found.append(int(file.parent.name))
    return found


class Child(abc.ABC):
    """A program that runs as long as the block does, in a folder that is made for it. A context manager.

    It is ready when the block begins. What it prints is in the file `out` of the folder, and told when the block fails.
    """

    program: str
    environment: dict[str, str] | None = None
    """None: that of the tests."""
    input: int = subprocess.DEVNULL
    folder: Path
    process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = self._make_folder(stack)
            stack.callback(self.stop)
            self._configure()
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.told())
        self._stack.close()

    def start(self) -> None:
        """Also again, after `stop` or `kill`: with the same folder and the same ports."""
        with (self.folder / "out").open("ab") as out:
            self.process = launch(
                self.program,
                *self._arguments(),
                cwd=self.folder,
                env=self.environment,
                stdin=self.input,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready(self.process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ends it in good order, and with force when it does not end in time."""
        try:
            if self.process is not None and self.process.poll() is None:
                self._ask_to_end(self.process)
        finally:
            self._end(_UNTIL_ENDED)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._end(0)

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self) -> str:
        """All that it has printed."""
        file = self.folder / "out"
        return file.read_text(errors="replace") if file.exists() else ""

    def told(self) -> str:
        """For people who look for what was wrong."""
        status = None if self.process is None else self.process.poll()
        state = "not running" if self.process is None else "still running"
        return f"{self.program}, {state if status is None else f'ended with status {status}'}\n{self.log()[-6000:]}"

    # -- what is special about each ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _configure(self) -> None:
        """Writes its files into `folder`."""

    @abc.abstractmethod
    def _arguments(self) -> Sequence[str]: ...

    @abc.abstractmethod
    def _is_ready(self) -> bool:
        """Whether it answers. It is asked again and again, and may not wait long."""

    def _ask_to_end(self, process: subprocess.Popen[Any]) -> None:
        process.terminate()

    def _make_folder(self, stack: ExitStack) -> Path:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"rig-{self.program}-")))

    # ----------------------------------------------------------------------------------------------------------------

    def _wait_until_ready(self, process: subprocess.Popen[Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it does not answer; if a part of it is missing, {INSTALL_HINT}: {self.told()}")
            time.sleep(0.02)

    def _end(self, patience: float) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended by itself
                process.stdin.close()
        end(process, patience=patience)
