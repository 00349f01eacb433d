"""A TCP relay between a client and a server whose connections a test can cut, as a lost network would."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class TcpRelay:
    """Listens on a loopback port of its own and passes octets on to `target`, to be used as a context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._refusing = False
        self._open = threading.Event()
        self._open.set()
        self._held = b""
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes up `accept`
        self._thread.join()
        self._listener.close()
        self._open.set()
        self.cut()

    def cut(self, *, refuse: bool = False) -> None:
        """Resets every connection; with `refuse` new ones, too, until `restore`."""
        with self._lock:
            self._refusing = refuse
            for one in self._sockets:
                # Zero seconds of lingering: a reset and no orderly end, and no wait for what was not sent.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was first

    def restore(self) -> None:
        with self._lock:
            self._refusing = False

    def pause(self) -> None:
        """Keeps all octets back, as a slow network would, until `resume`."""
        self._held = b""
        self._open.clear()

    def holds(self, octets: bytes) -> bool:
        """Whether these are among what is kept back since `pause`."""
        with self._lock:
            held = [self._held]
            for one in self._sockets:
                with suppress(OSError):  # nothing is there
                    held.append(one.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return any(octets in data for data in held)

    def resume(self) -> None:
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._lock:
                    if self._refusing:
                        raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            both = (client, server)
            done = threading.Semaphore(0)
            for source, sink in (both, both[::-1]):
                threading.Thread(target=self._pass_on, args=(source, sink, done), daemon=True).start()
            threading.Thread(target=self._close, args=(both, done), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, done: threading.Semaphore) -> None:
        try:
            while data := source.recv(65536):
                if not self._open.is_set():
                    with self._lock:
                        self._held += data
                    self._open.wait()
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        done.release()

    def _close(self, both: tuple[socket.socket, socket.socket], done: threading.Semaphore) -> None:
        done.acquire()
        done.acquire()
        with self._lock:
            self._sockets -= set(both)
            for one in both:
                one.close()
