"""The media engine: one thread with one asyncio loop that carries the calls of a process on aiortc."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sipproto.agent.media import CloseMedia, MediaFailed, MediaInput, MediaOperation, OpenMedia
from sipproto.negotiation import TRANSPORT_CC, MediaCapabilities
from sipproto.sdp import Codec
from sipproto_aiortc._call import Call, CallOptions, Request, safe_report
from sipproto_aiortc._opus import library
from sipproto_aiortc._rtp import RECEIVE_ONLY, SEND_TIME
from sipproto_aiortc._servers import GatherPolicy, IceOptions, IceServer, IceTransportPolicy
from sipproto_aiortc._transport import Certificate
from sipproto_devices import AudioFrames, MediaSetup, VideoFrames

_log = logging.getLogger("sipproto.media")
_CLOSE_TIMEOUT = 8.0  # seconds for closing: a recording may take up to five to be written out

_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
_AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
_TRANSPORT_FEEDBACK = "transport-cc"


def _video(payload_type: int, name: str, parameters: str = "") -> tuple[Codec, Codec]:
    """A video codec and the rtx that repeats it, one payload type above."""
    return (
        Codec(
            payload_type=payload_type,
            name=name,
            clock_rate=90000,
            parameters=parameters,
            feedback=("nack", "nack pli", "goog-remb", _TRANSPORT_FEEDBACK),
        ),
        Codec(payload_type=payload_type + 1, name="rtx", clock_rate=90000, parameters=f"apt={payload_type}"),
    )


def _h264(payload_type: int, profile_level_id: str, mode: int = 1) -> tuple[Codec, Codec]:
    return _video(
        payload_type,
        "H264",
        f"level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile_level_id}",
    )


# RFC 7587 6.1: what is asked of the peer. Without libopus itself in-band FEC is not decoded, and would only cost bits.
_OPUS_PARAMETERS = "useinbandfec=1" if library() is not None else ""

CAPABILITIES = MediaCapabilities(
    audio=(
        Codec(
            payload_type=111,
            name="opus",
            clock_rate=48000,
            channels=2,
            parameters=_OPUS_PARAMETERS,
            feedback=(_TRANSPORT_FEEDBACK,),
        ),
        Codec(payload_type=9, name="G722", clock_rate=8000, feedback=(_TRANSPORT_FEEDBACK,)),
        Codec(payload_type=0, name="PCMU", clock_rate=8000, feedback=(_TRANSPORT_FEEDBACK,)),
        Codec(payload_type=8, name="PCMA", clock_rate=8000, feedback=(_TRANSPORT_FEEDBACK,)),
        Codec(payload_type=101, name="telephone-event", clock_rate=48000, parameters="0-16"),
        Codec(payload_type=126, name="telephone-event", clock_rate=8000, parameters="0-16"),
    ),
    # VP8 costs the least time to encode, and every peer with WebRTC has it; VP9 needs fewer bits and more than twice the time.
    # Each profile and packetization mode of H.264 is a codec of its own in an offer (RFC 6184 8.2.2).
    video=(
        *_video(96, "VP8"),
        *_video(98, "VP9", "profile-id=0"),
        *_h264(114, "42e01f"),
        *_h264(102, "42001f"),
        *_h264(104, "42e01f", mode=0),
        *_h264(106, "42001f", mode=0),
        *_h264(108, "64001f"),
        *_h264(112, "640c1f"),
        *_video(116, "AV1", "level-idx=5;profile=0;tier=0"),
    ),
    receive_only=RECEIVE_ONLY,
    audio_extensions=(_MID, _AUDIO_LEVEL, TRANSPORT_CC),
    video_extensions=(_MID, SEND_TIME, TRANSPORT_CC),
)


class AiortcEngine:
    """`sipproto.agent.media.MediaEngine` on aiortc. Every method may be called from any thread.

    `ice_servers`: none is asked unless given. With the `ice_transport_policy` "relay" the peer learns no address but that
    of a TURN server. `include_loopback` adds 127.0.0.1 to the candidates; it is added anyway where there is no other
    address. Gathering ends when every server has answered, with the `gather_policy` "first" as soon as one has given a
    candidate. Times in seconds: `gather_timeout` bounds the gathering, `connect_timeout` ICE and DTLS together. A call is
    DISCONNECTED after `silence_timeout` without any packet or when no path to the peer is left, and FAILED when that
    lasts for `connect_timeout`. `default_setup` serves the calls that nobody prepared. `loop_factory` makes the event
    loop of the media thread, such as `uvloop.new_event_loop`. Raises ValueError for ICE servers
    that cannot be used as given, and for times that are not above 0.
    """

    def __init__(
        self,
        *,
        ice_servers: tuple[IceServer, ...] = (),
        ice_transport_policy: IceTransportPolicy = "all",
        include_loopback: bool = False,
        gather_timeout: float = 2.0,
        gather_policy: GatherPolicy = "complete",
        default_setup: MediaSetup | None = None,
        connect_timeout: float = 15.0,
        silence_timeout: float = 5.0,
        capabilities: MediaCapabilities = CAPABILITIES,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        ice = IceOptions(
            servers=ice_servers,
            policy=ice_transport_policy,
            include_loopback=include_loopback,
            gather_timeout=gather_timeout,
            gather_policy=gather_policy,
        )
        self._options = CallOptions(
            ice=ice,
            certificate=self._current_certificate,
            connect_timeout=connect_timeout,
            silence_timeout=silence_timeout,
        )
        self._capabilities = capabilities
        self._loop_factory = loop_factory
        self._default_setup = default_setup or MediaSetup()
        self._certificate = Certificate.generateCertificate()
        self._lock = threading.Lock()  # guards the setups, the thread and `_closed`
        self._setups: dict[str, MediaSetup] = {}
        self._ports: dict[str, list[AudioFrames | VideoFrames]] = {}
        self._calls: dict[str, Call] = {}  # media thread only
        self._closing: set[asyncio.Task[None]] = set()  # media thread only
        self._finishing: asyncio.Task[None] | None = None  # kept, or it might be collected half-way
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def capabilities(self) -> MediaCapabilities:
        return self._capabilities

    def prepare(self, call_id: str, setup: MediaSetup) -> None:
        """Says what a call sends and what it does with what it receives. Forgotten with CloseMedia.

        Before OpenMedia, whose reply tells of what cannot be used. Given later, sources and sinks change at once, without
        a new negotiation, and what cannot be used is told to `setup.on_trouble`. Sources and sinks that are equal to those
        before go on undisturbed.
        """
        with self._lock:
            if not self._closed:
                self._setups[call_id] = setup
                self._use_soon(call_id)

    def open_audio(
        self,
        call_id: str,
        *,
        rate: int = 16000,
        latency: float = 0.2,
        threshold: float = -45.0,
        hangover: float = 0.3,
        wake: Callable[[], None] = lambda: None,
    ) -> AudioFrames:
        """The first audio line of a call as PCM, before or during the call, in the place of its source; see AudioFrames.

        wake: called on any thread when something came, was taken, or the call is over. To be closed by the caller.
        Raises ValueError for bad figures.
        """
        port = AudioFrames(
            rate=rate,
            latency=latency,
            threshold=threshold,
            hangover=hangover,
            wake=wake,
            closed=lambda: self._remove_port(call_id, port),
        )
        self._add_port(call_id, port)
        return port

    def open_video(self, call_id: str, *, wake: Callable[[], None] = lambda: None) -> VideoFrames:
        """The first video line of a call as pixels; otherwise like `open_audio`."""
        port = VideoFrames(wake=wake, closed=lambda: self._remove_port(call_id, port))
        self._add_port(call_id, port)
        return port

    def _add_port(self, call_id: str, port: AudioFrames | VideoFrames) -> None:
        with self._lock:
            if not self._closed:
                self._ports.setdefault(call_id, []).append(port)
                self._use_soon(call_id)
                return
        port.end()

    def _remove_port(self, call_id: str, port: AudioFrames | VideoFrames) -> None:
        with self._lock:
            ports = self._ports.get(call_id, [])
            if port in ports:
                ports.remove(port)
                if not ports:
                    del self._ports[call_id]
                self._use_soon(call_id)

    def _use_soon(self, call_id: str) -> None:
        """With the lock held: has a call take over what was changed."""
        if self._loop is not None and not self._closed:
            self._loop.call_soon_threadsafe(self._use_setup, call_id)

    def perform(self, operation: MediaOperation, report: Callable[[MediaInput], None]) -> None:
        """Queues an operation and returns; the reply comes through `report` on the media thread.

        Only after `close` it comes at once, on the caller's thread: the other one is gone.
        """
        with self._lock:
            ending: list[AudioFrames | VideoFrames] = []
            if isinstance(operation, CloseMedia):
                self._setups.pop(operation.call, None)
                ending = self._ports.pop(operation.call, [])
            closed = self._closed
            if not closed and not (self._loop is None and isinstance(operation, CloseMedia)):
                self._running_loop().call_soon_threadsafe(self._dispatch, operation, report)
        for port in ending:
            port.end()
        if closed and not isinstance(operation, CloseMedia):
            safe_report(report, MediaFailed(request=operation.request, error="the media engine is closed"))

    def close(self) -> None:
        """Releases every call and the threads; waits at most a few seconds. Later calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._setups.clear()
            ending = [port for ports in self._ports.values() for port in ports]
            self._ports.clear()
            loop, thread = self._loop, self._thread
        for port in ending:
            port.end()
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(self._begin_shutdown)
        if thread is not threading.current_thread():  # a report may well close the engine
            thread.join(_CLOSE_TIMEOUT)

    # -- on the media thread -----------------------------------------------------------------------------------------

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started with the first operation. Called with the lock held."""
        if self._loop is None:
            self._loop = self._loop_factory()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name="sipproto-media", daemon=True)
            self._thread.start()
        return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        workers = min(8, (os.cpu_count() or 2) + 2)
        executor = ThreadPoolExecutor(workers, thread_name_prefix="sipproto-media-worker")
        loop.set_default_executor(executor)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            asyncio.set_event_loop(None)
            loop.close()

    def _setup_of(self, call: str) -> MediaSetup:
        with self._lock:
            setup = self._setups.get(call, self._default_setup)
            for port in self._ports.get(call, ()):
                setup = port.over(setup)
            return setup

    def _use_setup(self, name: str) -> None:
        call = self._calls.get(name)
        if call is not None:
            call.use(self._setup_of(name))

    def _dispatch(self, operation: MediaOperation, report: Callable[[MediaInput], None]) -> None:
        if isinstance(operation, CloseMedia):
            call = self._calls.pop(operation.call, None)
            if call is not None:
                self._close_later(call)
            return
        try:
            self._call_of(operation).submit(operation, report)
        except Exception as error:
            safe_report(report, MediaFailed(request=operation.request, error=str(error)))

    def _call_of(self, operation: Request) -> Call:
        call = self._calls.get(operation.call)
        if call is None:
            if not isinstance(operation, OpenMedia):
                raise LookupError(f"no media is open for the call {operation.call!r}")
            call = self._calls[operation.call] = Call(operation.call, self._options, self._setup_of(operation.call))
        return call

    def _close_later(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(call.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _begin_shutdown(self) -> None:
        for call in self._calls.values():
            self._close_later(call)
        self._calls.clear()
        loop = asyncio.get_running_loop()
        self._finishing = loop.create_task(self._finish_shutdown(loop))

    async def _finish_shutdown(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=_CLOSE_TIMEOUT - 1)
        loop.stop()

    def _current_certificate(self) -> Certificate:
        """The one certificate of all calls; renewed a day before it expires (it is made for 30)."""
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        if self._certificate.expires < soon:
            self._certificate = Certificate.generateCertificate()
        return self._certificate
