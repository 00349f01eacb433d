"""A WebRTC peer made of GStreamer's webrtcbin. It reads commands as JSON lines from standard input and writes replies to
standard output. The Python of the system runs it, which has the bindings, so it imports nothing of this repository.

open     `lines`, each with `kind`, `codec` and perhaps `direction`, `nack` and `fec` (rtx, red and ulpfec are offered), `plain`
         (Opus without its channels); `offer`: what is going to be answered
add      one more `line`
offer    replies with the `sdp`, all candidates in it
answer   the same for the offer `sdp`
accept   takes the answer `sdp`
stats    what is received, by the index of the line
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import gi

for _name in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(_name, "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

_HERTZ, _ARGB = 800, 0xFF1E1EC8  # what it sends
_RATE = 48000  # samples a second of what it hears
_GATHERING = 5.0  # seconds at most
_DIRECTIONS = GstWebRTC.WebRTCRTPTransceiverDirection
_AUDIO = f"audiotestsrc is-live=true freq={_HERTZ} ! audioconvert ! audioresample"
_VIDEO = (
    f"videotestsrc is-live=true pattern=solid-color foreground-color={_ARGB}"
    " ! video/x-raw,format=I420,width=320,height=240,framerate=15/1"
)
# Source, encoder and payloader; name, clock rate and, in its own offers, payload type.
_CODECS = {
    "opus": (f"{_AUDIO} ! opusenc ! rtpopuspay", "OPUS", 48000, 111),
    "PCMU": (f"{_AUDIO} ! audio/x-raw,rate=8000 ! mulawenc ! rtppcmupay", "PCMU", 8000, 0),
    "PCMA": (f"{_AUDIO} ! audio/x-raw,rate=8000 ! alawenc ! rtppcmapay", "PCMA", 8000, 8),
    "VP8": (f"{_VIDEO} ! vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay", "VP8", 90000, 96),
    "VP9": (f"{_VIDEO} ! vp9enc deadline=1 cpu-used=8 lag-in-frames=0 ! rtpvp9pay", "VP9", 90000, 98),
    "H264": (
        f"{_VIDEO} ! openh264enc ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1",
        "H264",
        90000,
        102,
    ),
}
_SINKS = {
    "audio": f"audioconvert ! audioresample ! audio/x-raw,format=S16LE,channels=1,rate={_RATE}",
    "video": "videoconvert ! video/x-raw,format=RGB",
}


class Received:
    """What came on a line: the frequency of the last 0.2 s, the colour in the middle of the last picture."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._wave: list[int] = []
        self.facts: dict[str, Any] = {"frames": 0, "frequency": 0.0, "color": None}

    def take(self, sink: Any) -> Any:
        sample = sink.emit("pull-sample")
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        if self._kind == "audio":
            self._hear(data)
        else:
            height = sample.get_caps().get_structure(0).get_int("height")[1]
            stride = len(data) // height
            middle = height // 2 * stride + stride // 6 * 3
            self.facts["color"] = list(data[middle : middle + 3])
        self.facts["frames"] += 1
        return Gst.FlowReturn.OK

    def _hear(self, data: bytes) -> None:
        wave = self._wave = [*self._wave, *memoryview(data).cast("h")][-_RATE // 5 :]
        upwards = [n for n in range(1, len(wave)) if wave[n - 1] < 0 <= wave[n]]
        if len(upwards) > 2:
            self.facts["frequency"] = _RATE * (len(upwards) - 1) / (upwards[-1] - upwards[0])


class Session:
    def __init__(self) -> None:
        self._received: dict[int, Received] = {}
        self._types: dict[tuple[str, int], int] = {}
        self._pipeline = Gst.Pipeline.new()
        self._bin = Gst.ElementFactory.make("webrtcbin")
        self._bin.set_property("bundle-policy", "max-bundle")
        self._bin.set_property("latency", 50)
        self._bin.connect("pad-added", self._pad_added)
        self._pipeline.add(self._bin)

    def open(self, lines: list[dict[str, Any]], offer: str | None = None) -> None:
        self._types = _payload_types(offer or "")
        for line in lines:
            self.add(line)
        self._pipeline.set_state(Gst.State.PLAYING)

    def add(self, line: dict[str, Any]) -> None:
        sending, name, clock, number = _CODECS[line["codec"]]
        number = self._types.get((name, clock), number)
        caps = f"application/x-rtp,media={line['kind']},encoding-name={name},clock-rate={clock},payload={number}"
        if name == "OPUS" and not line.get("plain"):
            caps += ",encoding-params=(string)2"
        direction = getattr(_DIRECTIONS, line.get("direction", "sendrecv").upper())
        if direction is _DIRECTIONS.RECVONLY:
            transceiver = self._bin.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        else:
            transceiver = self._send(f"{sending} pt={number} ! capsfilter name=filter", caps)
            transceiver.set_property("direction", direction)
        transceiver.set_property("do-nack", bool(line.get("nack")))
        if line.get("fec"):
            transceiver.set_property("fec-type", GstWebRTC.WebRTCFECType.ULP_RED)
            transceiver.set_property("fec-percentage", 50)

    def _send(self, elements: str, caps: str) -> Any:
        sender = Gst.parse_bin_from_description(elements, True)
        sender.get_by_name("filter").set_property("caps", Gst.Caps.from_string(caps))
        self._pipeline.add(sender)
        pad = self._bin.request_pad_simple("sink_%u")
        assert sender.get_static_pad("src").link(pad) == Gst.PadLinkReturn.OK
        sender.sync_state_with_parent()
        return pad.get_property("transceiver")

    def _pad_added(self, _: object, pad: Any) -> None:
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        caps = pad.get_current_caps() or pad.query_caps()
        kind = caps.get_structure(0).get_string("media")
        sink = Gst.parse_bin_from_description(
            f"decodebin name=decoder ! {_SINKS[kind]} ! appsink name=end sync=false emit-signals=true", False
        )
        ghost = Gst.GhostPad.new("sink", sink.get_by_name("decoder").get_static_pad("sink"))
        sink.add_pad(ghost)
        index = pad.get_property("transceiver").get_property("mlineindex")
        received = self._received.setdefault(index, Received(kind))
        sink.get_by_name("end").connect("new-sample", received.take)
        self._pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(ghost)

    # -- descriptions ------------------------------------------------------------------------------------------------

    def offer(self) -> dict[str, str]:
        self._wait("set-local-description", self._wait("create-offer", None, wanted="offer"))
        return self._described()

    def answer(self, sdp: str) -> dict[str, str]:
        self._wait("set-remote-description", _description(GstWebRTC.WebRTCSDPType.OFFER, sdp))
        self._wait("set-local-description", self._wait("create-answer", None, wanted="answer"))
        return self._described()

    def accept(self, sdp: str) -> None:
        self._wait("set-remote-description", _description(GstWebRTC.WebRTCSDPType.ANSWER, sdp))

    def _wait(self, signal: str, *arguments: object, wanted: str = "") -> Any:
        promise = Gst.Promise.new()
        self._bin.emit(signal, *arguments, promise)
        promise.wait()
        reply = promise.get_reply()  # it and what is in it are gone with the promise
        if reply is not None and reply.has_field("error"):
            raise RuntimeError(str(reply.get_value("error")))
        return reply.get_value(wanted).copy() if wanted else None

    def _described(self) -> dict[str, str]:
        deadline = time.monotonic() + _GATHERING
        while self._bin.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            if time.monotonic() > deadline:
                raise TimeoutError("the gathering does not end")
            time.sleep(0.02)
        return {"sdp": self._bin.get_property("local-description").sdp.as_text()}

    # -- the rest ----------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        wrong = self._pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        if wrong is not None:
            raise RuntimeError(str(wrong.parse_error()))
        return {"lines": {str(index): received.facts for index, received in self._received.items()}}

    def close(self) -> None:
        self._pipeline.set_state(Gst.State.NULL)


def _description(kind: Any, text: str) -> Any:
    result, message = GstSdp.SDPMessage.new_from_text(text)
    assert result == GstSdp.SDPResult.OK
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def _payload_types(sdp: str) -> dict[tuple[str, int], int]:
    """What an offer calls its codecs: the first of each name and clock rate."""
    out: dict[tuple[str, int], int] = {}
    for line in sdp.splitlines():
        if line.startswith("a=rtpmap:"):
            number, encoding = line.removeprefix("a=rtpmap:").split(" ", 1)
            name, clock, *_ = encoding.split("/")
            out.setdefault((name.upper(), int(clock)), int(number))
    return out


def main() -> None:
    Gst.init(None)
    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    session = Session()
    commands = {name: getattr(session, name) for name in ("open", "add", "offer", "answer", "accept", "stats")}
    for text in sys.stdin:
        message = json.loads(text)
        reply = {"reply": message.pop("id")}
        try:
            result = commands[message.pop("command")](**message)
            reply |= {"ok": True, **(result or {})}
        except Exception as error:
            reply |= {"ok": False, "error": {"code": type(error).__name__, "message": str(error)}}
        print(json.dumps(reply), flush=True)
    session.close()


main()
