"""A WebRTC peer made of GStreamer's webrtcbin. It reads commands as JSON lines from standard input and writes replies to
standard output. It is run by the system's Python, which has the bindings, and imports nothing of this repository.

open     lines: a list of {"kind", "codec", "direction"}, in order, and what to do for a loss: "nack", "fec"; "bundle"
offer    {"sdp"} with all candidates
answer   to "sdp": {"sdp"} with all candidates
accept   the answer "sdp" to our offer
direct   another "direction" for the line "index"
stats    {"lines": [...]} of what is received, and the states
close    ends the session
"""

import json
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, GObject, Gst, GstSdp, GstWebRTC  # noqa: E402

TIMEOUT = 5 * Gst.SECOND
RATE = 48000
# Encoder and payloader, name in SDP, clock rate, payload type of our own offers
CODECS = {
    "opus": ("opusenc ! rtpopuspay", "OPUS", 48000, 111),
    "PCMU": ("audio/x-raw,rate=8000 ! mulawenc ! rtppcmupay", "PCMU", 8000, 0),
    "PCMA": ("audio/x-raw,rate=8000 ! alawenc ! rtppcmapay", "PCMA", 8000, 8),
    "VP8": ("vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay picture-id-mode=15-bit", "VP8", 90000, 96),
    "VP9": ("vp9enc deadline=1 cpu-used=8 lag-in-frames=0 keyframe-max-dist=60 ! rtpvp9pay", "VP9", 90000, 98),
    "H264": ("openh264enc ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 aggregate-mode=zero-latency", "H264", 90000, 102),
}
SOURCES = {
    "audio": "audiotestsrc is-live=true freq={hertz} ! audioconvert ! audioresample",
    "video": "videotestsrc is-live=true pattern=solid-color foreground-color={argb} ! video/x-raw,format=I420,width=320,height=240,framerate=15/1",
}
DIRECTIONS = GstWebRTC.WebRTCRTPTransceiverDirection


class Received:
    """What came on one pad."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.frames = 0
        self.frequency = 0.0
        self.color = None
        self.size = None
        self._wave = []

    def take(self, sample) -> None:
        buffer = sample.get_buffer()
        ok, info = buffer.map(Gst.MapFlags.READ)
        if not ok:
            return
        data = bytes(info.data)
        buffer.unmap(info)
        self.frames += 1
        if self.kind == "video":
            caps = sample.get_caps().get_structure(0)
            width, height = caps.get_int("width")[1], caps.get_int("height")[1]
            middle = (height // 2) * (len(data) // height) + 3 * (width // 2)
            self.color, self.size = list(data[middle : middle + 3]), [width, height]
        else:
            self._wave = (self._wave + list(memoryview(data).cast("h")))[-RATE // 5 :]
            ups = [n for n in range(1, len(self._wave)) if self._wave[n - 1] < 0 <= self._wave[n]]
            if len(ups) > 2:
                self.frequency = RATE * (len(ups) - 1) / (ups[-1] - ups[0])

    def facts(self) -> dict:
        return {"kind": self.kind, "frames": self.frames, "frequency": self.frequency, "color": self.color, "size": self.size}


class Session:
    def __init__(self, lines, bundle="max-bundle", hertz=800, argb=0xFF1E1EC8, offer=None) -> None:
        self.received = {}
        self.pipeline = Gst.Pipeline.new()
        self.bin = Gst.ElementFactory.make("webrtcbin")
        self.bin.set_property("bundle-policy", bundle)
        self.bin.set_property("latency", 50)
        self.pipeline.add(self.bin)
        self.bin.connect("pad-added", self._pad_added)
        self._types = payload_types(offer) if offer else {}
        self._hertz, self._argb = hertz, argb
        for line in lines:
            self.add(line)
        self.pipeline.set_state(Gst.State.PLAYING)

    def add(self, line) -> None:
        encoder, name, clock, number = CODECS[line["codec"]]
        number = self._types.get((name.upper(), clock), number)
        # Programs often leave it out; then an offer says "OPUS/48000", without the "/2" of RFC 7587 7.
        channels = ",encoding-params=(string)2" if name == "OPUS" and not line.get("plain") else ""
        caps = f"application/x-rtp,media={line['kind']},encoding-name={name},clock-rate={clock},payload={number}{channels}"
        direction = getattr(DIRECTIONS, line.get("direction", "sendrecv").upper())
        if direction in (DIRECTIONS.RECVONLY, DIRECTIONS.INACTIVE):
            transceiver = self.bin.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        else:
            source = SOURCES[line["kind"]].format(hertz=self._hertz, argb=self._argb)
            sender = Gst.parse_bin_from_description(f"{source} ! {encoder} pt={number} ! capsfilter name=filter", True)
            self.pipeline.add(sender)
            sender.get_by_name("filter").set_property("caps", Gst.Caps.from_string(caps))
            pad = self.bin.request_pad_simple("sink_%u")
            assert sender.get_static_pad("src").link(pad) == Gst.PadLinkReturn.OK
            sender.sync_state_with_parent()
            transceiver = pad.get_property("transceiver")
            transceiver.set_property("direction", direction)
        transceiver.set_property("do-nack", bool(line.get("nack")))
        if line.get("fec"):
            transceiver.set_property("fec-type", GstWebRTC.WebRTCFECType.ULP_RED)
            transceiver.set_property("fec-percentage", 50)

    def _pad_added(self, _, pad) -> None:
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        caps = (pad.get_current_caps() or pad.query_caps()).get_structure(0)
        kind = caps.get_string("media")
        convert = (
            f"audioconvert ! audioresample ! audio/x-raw,format=S16LE,channels=1,rate={RATE}"
            if kind == "audio"
            else "videoconvert ! video/x-raw,format=RGB"
        )
        sink = Gst.parse_bin_from_description(
            f"decodebin name=decoder decodebin. ! {convert} ! appsink name=end sync=false emit-signals=true max-buffers=5 drop=true".replace("decodebin.", "decoder."), False
        )
        decoder, end = sink.get_by_name("decoder"), sink.get_by_name("end")
        ghost = Gst.GhostPad.new("sink", decoder.get_static_pad("sink"))
        sink.add_pad(ghost)
        index = pad.get_property("transceiver").get_property("mlineindex")
        received = self.received.setdefault(index, Received(kind))

        def arrived(appsink):
            sample = appsink.emit("pull-sample")
            if sample is not None:
                received.take(sample)
            return Gst.FlowReturn.OK

        end.connect("new-sample", arrived)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(ghost)

    # -- descriptions ------------------------------------------------------------------------------------------------

    def _wait(self, signal, *arguments):
        promise = Gst.Promise.new()
        self.bin.emit(signal, *arguments, promise)
        promise.wait()
        reply = promise.get_reply()
        if reply is not None and reply.has_field("error"):
            raise RuntimeError(str(reply.get_value("error")))
        return reply

    def _told(self) -> str:
        deadline = time.monotonic() + 5
        while self.bin.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            if time.monotonic() > deadline:
                raise TimeoutError("the gathering does not end")
            time.sleep(0.02)
        return self.bin.get_property("local-description").sdp.as_text()

    def offer(self) -> str:
        reply = self._wait("create-offer", None)
        self._wait("set-local-description", reply.get_value("offer"))
        return self._told()

    def answer(self, sdp: str) -> str:
        self._wait("set-remote-description", description(GstWebRTC.WebRTCSDPType.OFFER, sdp))
        reply = self._wait("create-answer", None)
        self._wait("set-local-description", reply.get_value("answer"))
        return self._told()

    def accept(self, sdp: str) -> None:
        self._wait("set-remote-description", description(GstWebRTC.WebRTCSDPType.ANSWER, sdp))

    def direct(self, index: int, direction: str) -> None:
        self.bin.emit("get-transceiver", index).set_property("direction", getattr(DIRECTIONS, direction.upper()))

    def stats(self) -> dict:
        states = {name: self.bin.get_property(name).value_nick for name in ("connection-state", "ice-connection-state")}
        wrong = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        if wrong is not None:
            raise RuntimeError(str(wrong.parse_error()))
        return {"lines": {str(index): one.facts() for index, one in self.received.items()}, **states}

    def close(self) -> None:
        self.pipeline.set_state(Gst.State.NULL)


def description(kind, text: str):
    result, message = GstSdp.SDPMessage.new_from_text(text)
    assert result == GstSdp.SDPResult.OK
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def payload_types(sdp: str) -> dict:
    """What an offer calls its codecs: the first of each name and clock rate."""
    out = {("PCMU", 8000): 0, ("PCMA", 8000): 8}
    for line in sdp.splitlines():
        if line.startswith("a=rtpmap:"):
            number, name = line[len("a=rtpmap:") :].split(" ", 1)
            parts = name.split("/")
            out.setdefault((parts[0].upper(), int(parts[1])), int(number))
    return out


def main() -> None:
    Gst.init(None)
    loop = GLib.MainLoop()
    threading.Thread(target=loop.run, daemon=True).start()
    session = None
    for text in sys.stdin:
        message = json.loads(text)
        number, command = message.pop("id"), message.pop("command")
        try:
            result = {}
            if command == "open":
                session = Session(**message)
            elif command == "offer":
                result = {"sdp": session.offer()}
            elif command == "answer":
                result = {"sdp": session.answer(message["sdp"])}
            elif command == "accept":
                session.accept(message["sdp"])
            elif command == "add":
                session.add(message["line"])
            elif command == "direct":
                session.direct(message["index"], message["direction"])
            elif command == "stats":
                result = session.stats()
            elif command == "close":
                session.close()
            reply = {"reply": number, "ok": True, **result}
        except Exception as error:
            reply = {"reply": number, "ok": False, "error": {"code": type(error).__name__, "message": str(error)}}
        print(json.dumps(reply), flush=True)
    if session is not None:
        session.close()


main()
