// What a page sends (a tone and a coloured picture that the other side can recognise) and what it measures of
// the media it receives.

/** A canvas of one colour, as a source of video tracks. */
class Picture {
  constructor(color) {
    this.color = color;
    const canvas = document.createElement("canvas");
    canvas.width = 320;
    canvas.height = 240;
    const pen = canvas.getContext("2d");
    const draw = () => {
      pen.fillStyle = this.color;
      pen.fillRect(0, 0, canvas.width, canvas.height);
    };
    draw();
    // A canvas gives a frame only when something has been drawn, even if it looks the same.
    this.timer = setInterval(draw, 1000 / 15);
    this.stream = canvas.captureStream(15);
  }

  track() {
    return this.stream.getVideoTracks()[0].clone();
  }

  close() {
    clearInterval(this.timer);
    this.stream.getTracks().forEach((track) => track.stop());
  }
}

/** The tone and the picture of a page. Every call gets its own tracks of them, because hold switches tracks off. */
export class Source {
  constructor() {
    this.context = new AudioContext();
    this.oscillator = this.context.createOscillator();
    this.oscillator.frequency.value = 660;
    const gain = this.context.createGain();
    gain.gain.value = 0.5;
    this.output = this.context.createMediaStreamDestination();
    this.oscillator.connect(gain).connect(this.output);
    this.oscillator.start();
    this.picture = new Picture("blue");
    this.pictures = new Map();
  }

  set color(color) {
    this.picture.color = color;
  }

  /** A track to be sent; a picture of `color`, or that of the page. */
  track(kind, color) {
    if (kind === "audio") return this.output.stream.getAudioTracks()[0].clone();
    if (!color) return this.picture.track();
    if (!this.pictures.has(color)) this.pictures.set(color, new Picture(color));
    return this.pictures.get(color).track();
  }

  stream({ audio, video }) {
    return new MediaStream([...(audio ? [this.track("audio")] : []), ...(video ? [this.track("video")] : [])]);
  }

  /** The pictures of further lines are over with the last call. */
  forget() {
    this.pictures.forEach((picture) => picture.close());
    this.pictures.clear();
  }
}

/** Plays and measures the received media of one call. Of two tracks of a kind the newest is the one that `stats` tells of. */
export class Sink {
  constructor(context) {
    this.context = context;
    this.media = new Map();
    this.newest = {};
  }

  add(track) {
    this.remove(track.id);
    const stream = new MediaStream([track]);
    // Chromium feeds a remote track to WebAudio only if a media element plays it too.
    const element = document.createElement(track.kind);
    element.autoplay = true;
    element.muted = true;
    element.srcObject = stream;
    document.body.append(element);
    const media = { element };
    if (track.kind === "audio") {
      media.analyser = new AnalyserNode(this.context, { fftSize: 16384, smoothingTimeConstant: 0 });
      media.node = this.context.createMediaStreamSource(stream);
      media.node.connect(media.analyser);
    }
    this.media.set(track.id, media);
    this.newest[track.kind] = track.id;
  }

  remove(id) {
    const media = this.media.get(id);
    if (!media) return;
    this.media.delete(id);
    media.node?.disconnect();
    media.element.srcObject = null;
    media.element.remove();
  }

  close() {
    [...this.media.keys()].forEach((id) => this.remove(id));
  }

  sound(id = this.newest.audio) {
    const analyser = this.media.get(id)?.analyser;
    if (!analyser) return { level: 0, frequency: 0 };
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    const level = Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
    const spectrum = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(spectrum);
    let peak = 1;
    for (let bin = 1; bin < spectrum.length - 1; bin++) if (spectrum[bin] > spectrum[peak]) peak = bin;
    const binWidth = this.context.sampleRate / analyser.fftSize;
    return { level, frequency: level > 0.001 ? peak * binWidth : 0 };
  }

  picture(id = this.newest.video) {
    const element = this.media.get(id)?.element;
    if (!element?.videoWidth) return { width: 0, height: 0, color: null };
    const canvas = new OffscreenCanvas(element.videoWidth, element.videoHeight);
    const pen = canvas.getContext("2d");
    pen.drawImage(element, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    const color = [0, 0, 0];
    for (let at = 0; at < data.length; at++) if (at % 4 < 3) color[at % 4] += data[at];
    return {
      width: canvas.width,
      height: canvas.height,
      color: color.map((sum) => Math.round(sum / (data.length / 4))),
    };
  }
}

/** The answer to the command "stats". */
export async function measure(connection, sink) {
  const reports = await connection.getStats();
  const entries = [...reports.values()];
  const medium = (kind) => {
    const of = (type) => entries.filter((entry) => entry.type === type && entry.kind === kind);
    const total = (list, field) => list.reduce((sum, entry) => sum + (entry[field] ?? 0), 0);
    const sent = of("outbound-rtp");
    const received = of("inbound-rtp");
    const codec = reports.get([...sent, ...received].find((entry) => entry.codecId)?.codecId);
    const transceiver = connection.getTransceivers().find(({ receiver }) => receiver.track.kind === kind);
    return {
      sent: { packets: total(sent, "packetsSent"), bytes: total(sent, "bytesSent") },
      received: { packets: total(received, "packetsReceived"), bytes: total(received, "bytesReceived") },
      // Seconds that were made up, because nothing had arrived in time.
      ...(kind === "audio" && {
        concealed: total(received, "concealedSamples") / 48000,
        fec_packets: total(received, "fecPacketsReceived"),
      }),
      codec: codec?.mimeType.split("/")[1] ?? null,
      direction: transceiver?.currentDirection ?? null,
      ...(kind === "video" && { frames_decoded: total(received, "framesDecoded") }),
    };
  };
  const transport = entries.find((entry) => entry.type === "transport");
  const pair = reports.get(transport?.selectedCandidatePairId);
  const candidate = (id) => {
    const { address, port, protocol, candidateType } = reports.get(id) ?? {};
    return { address, port, protocol, type: candidateType };
  };
  return {
    audio: { ...medium("audio"), ...sink.sound() },
    video: { ...medium("video"), ...sink.picture() },
    ice_state: connection.iceConnectionState,
    dtls_state: transport?.dtlsState ?? null,
    candidate_pair: pair
      ? { local: candidate(pair.localCandidateId), remote: candidate(pair.remoteCandidateId) }
      : null,
  };
}
