// The lines of a call one by one (W3C transceivers), and what a page makes of its descriptions before they are created.

/** The answer to the command "lines": what each line does and what was counted on it. */
export async function measureLines(connection, sink) {
  const reports = await connection.getStats();
  const entries = [...reports.values()];
  return connection.getTransceivers().map(({ mid, direction, currentDirection, receiver }) => {
    const of = (type) => entries.filter((entry) => entry.type === type && entry.mid === mid && mid !== null);
    const total = (list, field) => list.reduce((sum, entry) => sum + (entry[field] ?? 0), 0);
    const codec = (list) => {
      const newest = list.findLast((entry) => entry.codecId);
      return reports.get(newest?.codecId)?.mimeType ?? null;
    };
    const sent = of("outbound-rtp");
    const received = of("inbound-rtp");
    const { kind, id } = receiver.track;
    return {
      mid,
      kind,
      direction,
      current: currentDirection,
      codec_sent: codec(sent),
      codec_received: codec(received),
      layers_sent: sent.at(-1)?.scalabilityMode ?? null,
      packets_sent: total(sent, "packetsSent"),
      packets_received: total(received, "packetsReceived"),
      key_frames_decoded: total(received, "keyFramesDecoded"),
      frames_decoded: total(received, "framesDecoded"),
      // Seconds that were made up, because nothing had arrived in time.
      concealed: total(received, "concealedSamples") / 48000,
      ...(kind === "audio" ? sink.sound(id) : sink.picture(id)),
    };
  });
}

/** The codecs of these MIME types in this order, and what goes with them. */
function codecsOf(kind, names) {
  const all = RTCRtpReceiver.getCapabilities(kind).codecs;
  const chosen = names.flatMap((name) =>
    all.filter(({ mimeType }) => mimeType.toLowerCase() === name.toLowerCase()),
  );
  return [...chosen, ...all.filter(({ mimeType }) => /\/(rtx|telephone-event)$/i.test(mimeType))];
}

/**
 * Changes the lines of a connection.
 * stop: kinds whose lines end (port 0). directions, codecs: by kind; send: kinds that get a track if they have none.
 * layers: the scalability mode by kind. With mid only that line is meant.
 */
export async function shapeLines(
  connection,
  source,
  { mid, stop = [], directions = {}, codecs = {}, send = [], layers = {} },
) {
  for (const transceiver of connection.getTransceivers()) {
    const { kind } = transceiver.receiver.track;
    if ((mid !== undefined && transceiver.mid !== mid) || transceiver.currentDirection === "stopped") continue;
    if (stop.includes(kind)) {
      transceiver.stop();
      continue;
    }
    if (send.includes(kind) && !transceiver.sender.track) {
      await transceiver.sender.replaceTrack(source.track(kind));
      transceiver.direction = "sendrecv";
    }
    if (kind in directions) transceiver.direction = directions[kind];
    if (kind in codecs) transceiver.setCodecPreferences(codecsOf(kind, codecs[kind]));
    if (kind in layers) {
      const parameters = transceiver.sender.getParameters();
      parameters.encodings[0].scalabilityMode = layers[kind];
      await transceiver.sender.setParameters(parameters);
    }
  }
}

/** Has `change` run each time before the page creates a description. */
export function beforeDescriptions(connection, change) {
  for (const name of ["createOffer", "createAnswer"]) {
    const create = connection[name].bind(connection);
    connection[name] = async (...rest) => {
      await change();
      return create(...rest);
    };
  }
}

const ALGORITHMS = {
  RSA: {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
  },
  ECDSA: { name: "ECDSA", namedCurve: "P-256" },
};

/** What JsSIP gets for the connection; `certificate` names the algorithm of the DTLS certificate. */
export async function connectionConfig({ certificate, ...config } = {}) {
  const certificates = certificate
    ? { certificates: [await RTCPeerConnection.generateCertificate(ALGORITHMS[certificate])] }
    : {};
  return { iceServers: [], ...certificates, ...config };
}
