// What a page sends (a tone and a coloured picture that the other side can recognise) and what it measures of
// the media it receives.

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

    this.color = "blue";
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
    setInterval(draw, 1000 / 15);
    this.picture = canvas.captureStream(15);
  }

  stream({ audio, video }) {
    const tracks = [
      ...(audio ? this.output.stream.getAudioTracks() : []),
      ...(video ? this.picture.getVideoTracks() : []),
    ];
    return new MediaStream(tracks.map((track) => track.clone()));
  }
}

/** Plays and measures the received media of one call; the newest track of a kind counts. */
export class Sink {
  constructor(context) {
    this.context = context;
  }

  add(track) {
    const stream = new MediaStream([track]);
    // Chromium feeds a remote track to WebAudio only if a media element plays it too.
    const element = document.createElement(track.kind);
    element.autoplay = true;
    element.muted = true;
    element.srcObject = stream;
    document.body.append(element);
    if (track.kind === "audio") {
      this.audio?.element.remove();
      const analyser = new AnalyserNode(this.context, { fftSize: 16384, smoothingTimeConstant: 0 });
      const node = this.context.createMediaStreamSource(stream);
      node.connect(analyser);
      this.audio = { element, node, analyser };
    } else {
      this.video?.element.remove();
      this.video = { element };
    }
  }

  close() {
    this.audio?.node.disconnect();
    for (const media of [this.audio, this.video]) {
      if (media) {
        media.element.srcObject = null;
        media.element.remove();
      }
    }
  }

  sound() {
    if (!this.audio) return { level: 0, frequency: 0 };
    const { analyser } = this.audio;
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

  picture() {
    const element = this.video?.element;
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
      ...(kind === "audio" && { concealed: total(received, "concealedSamples") / 48000 }),
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
