// Runs in the browser: one JsSIP user agent per page, driven by the commands that peer.mjs passes on.
// Everything the page says goes through window.report, replies too, so that the order is kept.

import JsSIP from "jssip";
import { beforeDescriptions, connectionConfig, measureLines, shapeLines } from "./lines.js";
import { measure, Sink, Source } from "./media.js";

export const source = new Source();
const calls = new Map();
let agent;

export class CommandError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The error for a JsSIP failure event: its cause "Authentication Error" becomes the code "authentication_error". */
function failure({ cause, message, response }) {
  const answer = response ?? message;
  const status = answer?.status_code;
  const text = status ? `${cause}: ${status} ${answer.reason_phrase}` : cause;
  return new CommandError(cause.toLowerCase().replaceAll(" ", "_"), text, status);
}

/** JsSIP's socket, with the messages written down. */
class TracedSocket extends JsSIP.WebSocketInterface {
  send(message) {
    this.trace("sent", message);
    return super.send(message);
  }

  _onMessage(event) {
    // Kamailio uses binary frames.
    this.trace("received", typeof event.data === "string" ? event.data : new TextDecoder().decode(event.data));
    super._onMessage(event);
  }

  trace(direction, text) {
    window.report({ trace: `${direction}\n${text}` });
  }
}

/** The header fields of a received request: their values by name, in small letters. */
export function headersOf({ headers }) {
  return Object.fromEntries(
    Object.entries(headers).map(([name, fields]) => [name.toLowerCase(), fields.map(({ raw }) => raw)]),
  );
}

/** The named call, or the newest one, if possible one that has not ended. */
export function findCall({ call }) {
  const all = [...calls.values()];
  const newest = all.findLast(({ session }) => !session.isEnded()) ?? all.at(-1);
  const found = call === undefined ? newest : calls.get(String(call));
  if (!found) throw new CommandError("no_call", `there is no call ${call ?? ""}`);
  return found;
}

let lastCall = 0;

function newCall({ originator, session, request }) {
  const id = String(++lastCall);
  const call = { id, session, sink: new Sink(source.context), shape: {}, refusals: [], edits: {} };
  calls.set(id, call);
  const tell = (state, event, more) => {
    window.report({ event: "call", call: id, state, originator: event.originator, ...more });
  };
  const end = (event) => {
    const error = failure(event);
    session.connection?.getSenders().forEach(({ track }) => track?.stop());
    call.stream?.getTracks().forEach((track) => track.stop());
    call.sink.close();
    if ([...calls.values()].every((other) => other.session.isEnded())) source.forget();
    tell("ended", event, { cause: error.code, status: error.status });
  };
  const watch = (connection) => {
    connection.addEventListener("track", ({ track }) => call.sink.add(track));
    beforeDescriptions(connection, async () => {
      const { shape } = call;
      call.shape = {};
      await shapeLines(connection, source, shape);
    });
  };

  if (originator === "local") {
    watch(session.connection);
    tell("calling", { originator });
  } else {
    session.on("peerconnection", ({ peerconnection }) => watch(peerconnection));
    const body = request.body ?? "";
    call.offered = { audio: !body || /^m=audio/m.test(body), video: /^m=video/m.test(body) };
    tell("incoming", { originator }, {
      from: request.from.uri.toString(),
      to: request.to.uri.toString(),
      ...call.offered,
    });
  }
  session.on("progress", (event) => {
    if (event.originator === "remote") tell("ringing", event, { status: event.response.status_code });
  });
  session.on("confirmed", (event) => tell("established", event));
  session.on("hold", (event) => tell("held", event));
  session.on("unhold", (event) => tell("resumed", event));
  session.on("ended", end);
  session.on("failed", end);
  for (const name of ["reinvite", "update"]) {
    session.on(name, ({ request, reject }) => {
      if (typeof call.refusals[0] === "number" && request.body) reject({ status_code: call.refusals.shift() });
    });
  }
  session.on("sdp", (description) => {
    const { originator, type } = description;
    const edits = call.edits[originator] ?? [];
    if (originator === "remote" && type === "offer" && call.refusals[0] === "browser") {
      call.refusals.shift();
      edits.push(["^a=fingerprint:.*$", "a=fingerprint:nonsense"]);
    }
    for (const [pattern, text] of edits) description.sdp = description.sdp.replace(new RegExp(pattern, "gm"), text);
    delete call.edits[originator];
  });
  session.on("refer", async ({ accept }) => {
    // The new call is told of like any that the page makes.
    accept(null, { mediaStream: source.stream({ audio: true }), pcConfig: await connectionConfig() });
  });
  session.on("replaces", ({ accept }) => {
    // JsSIP ends this call when the new one is confirmed, and fails there when the peer was faster.
    const terminate = session.terminate.bind(session);
    session.terminate = (options) => session.isEnded() || terminate(options);
    accept();
  });
  session.on("newInfo", ({ originator, info, request }) => {
    if (originator !== "remote") return;
    const { contentType: content_type, body } = info;
    window.report({ event: "info", call: id, content_type, body: body ?? "", headers: headersOf(request) });
  });
  session.on("newDTMF", ({ originator, dtmf }) => {
    if (originator !== "remote") return;
    window.report({ event: "dtmf", call: id, digit: dtmf.tone, duration: dtmf.duration, transport: "INFO" });
  });
  return call;
}

/** Waits until `start` has called its first argument; fails with its second, or with the end of the call. */
export async function duringCall({ session }, start) {
  let end;
  try {
    return await new Promise((resolve, reject) => {
      end = (event) => reject(failure(event));
      session.on("ended", end);
      session.on("failed", end);
      if (start(resolve, reject) === false) {
        reject(new CommandError("invalid_state", "the call cannot do this now"));
      }
    });
  } finally {
    session.off("ended", end);
    session.off("failed", end);
  }
}

/** JsSIP's handlers for the answer to a request outside of a call or within it. */
function handlers(resolve, reject) {
  return {
    succeeded: ({ response }) => resolve({ status: response?.status_code ?? 200 }),
    failed: ({ response, cause = JsSIP.C.causes.SIP_FAILURE_CODE }) => reject(failure({ response, cause })),
  };
}

function registered() {
  return new Promise((resolve, reject) => {
    agent.once("registered", () => resolve({}));
    agent.once("registrationFailed", (event) => reject(failure(event)));
    agent.register();
  });
}

export const commands = {
  async open({ url, user, password, domain, register = false, headers = [], options = {} }) {
    if (agent) throw new CommandError("invalid_state", "this page is open already");
    agent = new JsSIP.UA({
      sockets: [new TracedSocket(url)],
      uri: `sip:${user}@${domain}`,
      password,
      register: false,
      ...options,
    });
    agent.registrator().setExtraHeaders(headers);
    agent.on("connected", () => window.report({ event: "connected" }));
    agent.on("disconnected", () => window.report({ event: "disconnected" }));
    agent.on("registered", () => window.report({ event: "registered" }));
    agent.on("unregistered", () => window.report({ event: "unregistered" }));
    agent.on("registrationFailed", (event) => {
      const { code, status } = failure(event);
      window.report({ event: "registration_failed", code, status });
    });
    agent.on("newMessage", ({ originator, request }) => {
      if (originator !== "remote") return;
      window.report({
        event: "message",
        from: request.from.uri.toString(),
        content_type: request.getHeader("Content-Type"),
        body: request.body,
      });
    });
    agent.on("sipEvent", ({ request }) => {
      window.report({ event: "notify", body: request.body ?? "", headers: headersOf(request) });
    });
    agent.on("newRTCSession", newCall);
    const connected = await new Promise((resolve) => {
      agent.once("connected", () => resolve(true));
      agent.once("disconnected", () => resolve(false));
      agent.start();
    });
    if (!connected) {
      agent.stop();
      agent = undefined;
      throw new CommandError("connection_error", `no WebSocket connection to ${url}`);
    }
    return register ? registered() : {};
  },

  register: registered,

  unregister() {
    return new Promise((resolve, reject) => {
      agent.once("unregistered", ({ response, cause }) => (cause ? reject(failure({ response, cause })) : resolve({})));
      agent.unregister();
    });
  },

  async call({ target, audio = true, video = false, connection, headers = [], shape = {}, edits = {} }) {
    const pcConfig = await connectionConfig(connection);
    const stream = source.stream({ audio, video });
    const session = agent.call(target, {
      mediaStream: stream,
      mediaConstraints: { audio, video },
      pcConfig,
      extraHeaders: headers,
    });
    // JsSIP has told about the new session while call() ran.
    const call = [...calls.values()].find((known) => known.session === session);
    Object.assign(call, { stream, shape, edits });
    await duringCall(call, (done) => session.on("confirmed", done));
    return { call: call.id };
  },

  async answer({ call: id, audio, video, connection, shape = {}, edits = {} }) {
    const call = findCall({ call: id });
    const pcConfig = await connectionConfig(connection);
    const constraints = { audio: audio ?? call.offered.audio, video: video ?? call.offered.video };
    Object.assign(call, { stream: source.stream(constraints), shape, edits });
    await duringCall(call, (done) => {
      call.session.on("confirmed", done);
      call.session.answer({
        mediaStream: call.stream,
        mediaConstraints: constraints,
        pcConfig,
      });
    });
    return { call: call.id };
  },

  reject({ call, status = 486 }) {
    findCall({ call }).session.terminate({ status_code: status });
    return {};
  },

  hangup({ call }) {
    findCall({ call }).session.terminate();
    return {};
  },

  async hold({ call: id, use_update: useUpdate = false }) {
    const call = findCall({ call: id });
    await duringCall(call, (done) => call.session.hold({ useUpdate }, done));
    return {};
  },

  async resume({ call: id, use_update: useUpdate = false }) {
    const call = findCall({ call: id });
    await duringCall(call, (done) => call.session.unhold({ useUpdate }, done));
    return {};
  },

  async renegotiate({ call: id, ice_restart = false, use_update: useUpdate = false }) {
    const call = findCall({ call: id });
    const options = { useUpdate, rtcOfferConstraints: ice_restart ? { iceRestart: true } : {} };
    await duringCall(call, (done) => call.session.renegotiate(options, done));
    return {};
  },

  /** Adds a line to the next offer. */
  add_line({ call: id, kind = "video", direction = "sendrecv", color }) {
    const { connection } = findCall({ call: id }).session;
    const sends = direction.startsWith("send");
    connection.addTransceiver(sends ? source.track(kind, color) : kind, { direction, streams: [new MediaStream()] });
    return {};
  },

  /** Changes lines now, for the next offer; see shapeLines. */
  async change_lines({ call: id, ...shape }) {
    await shapeLines(findCall({ call: id }).session.connection, source, shape);
    return {};
  },

  /** Changes lines right before the next description, that is after an offer has brought new ones. */
  shape({ call: id, ...shape }) {
    findCall({ call: id }).shape = shape;
    return {};
  },

  /** Edits (pattern, text) of the next description that the page gives ("local") or gets ("remote"). */
  edit({ call: id, ...edits }) {
    findCall({ call: id }).edits = edits;
    return {};
  },

  /** What becomes of the next offers of the peer: a status that the page says, or "browser", which cannot use it then. */
  refuse({ call: id, offers }) {
    findCall({ call: id }).refusals = offers;
    return {};
  },

  async lines({ call: id }) {
    const { session, sink } = findCall({ call: id });
    return { lines: await measureLines(session.connection, sink) };
  },

  async dtmf({ call: id, digits, transport = "INFO" }) {
    const call = findCall({ call: id });
    const { session } = call;
    await duringCall(call, (done, failed) => {
      if (transport === "RFC2833") {
        const { dtmf } = session.connection.getSenders().find(({ track }) => track?.kind === "audio");
        // An empty tone says that everything has been played.
        dtmf.ontonechange = ({ tone }) => tone === "" && done();
      } else {
        let waiting = digits.length;
        const follow = ({ originator, dtmf }) => {
          if (originator !== "local") return;
          if (--waiting === 0) session.off("newDTMF", follow);
          const { succeeded, failed: onFailure } = handlers(waiting === 0 ? done : () => {}, failed);
          dtmf.on("succeeded", succeeded);
          dtmf.on("failed", onFailure);
        };
        session.on("newDTMF", follow);
      }
      session.sendDTMF(digits, { duration: 100, interToneGap: 70, transportType: transport });
    });
    return {};
  },

  info({ call: id, content_type, body, headers = [] }) {
    const call = findCall({ call: id });
    return duringCall(call, (done, failed) => {
      call.session.once("newInfo", ({ info }) => {
        for (const [name, handler] of Object.entries(handlers(done, failed))) info.on(name, handler);
      });
      // The forks give a promise for the same that the handlers are told.
      Promise.resolve(call.session.sendInfo(content_type, body, { extraHeaders: headers })).catch(() => {});
    });
  },

  message({ target, body, content_type = "text/plain" }) {
    return new Promise((resolve, reject) => {
      agent.sendMessage(target, body, { contentType: content_type, eventHandlers: handlers(resolve, reject) });
    });
  },

  options({ target }) {
    return new Promise((resolve, reject) => {
      agent.sendOptions(target, null, { eventHandlers: handlers(resolve, reject) });
    });
  },

  stats({ call: id }) {
    const { session, sink } = findCall({ call: id });
    return measure(session.connection, sink);
  },

  sdp({ call: id }) {
    const { connection } = findCall({ call: id }).session;
    return { local: connection.localDescription?.sdp ?? null, remote: connection.remoteDescription?.sdp ?? null };
  },

  tone({ frequency }) {
    source.oscillator.frequency.value = frequency;
    return {};
  },

  color({ color }) {
    source.color = color;
    return {};
  },
};

/**
 * Ends the calls and the registration. JsSIP's own stop() always takes two seconds more than the answers need;
 * the answer to the un-REGISTER, the last request, tells the same sooner.
 */
window.leave = () =>
  new Promise((resolve) => {
    if (!agent?.isConnected()) return resolve();
    agent.terminateSessions();
    if (!agent.isRegistered()) return setTimeout(resolve, 50);
    agent.once("unregistered", resolve);
    agent.unregister();
  });

// For expressions of the command "evaluate".
window.rig = {
  JsSIP,
  calls,
  source,
  get agent() {
    return agent;
  },
};

window.run = async ({ id, command, page, ...fields }) => {
  try {
    const perform = commands[command];
    if (!perform) throw new CommandError("unknown_command", `there is no command ${command}`);
    if (!agent && !["open", "tone", "color"].includes(command)) {
      throw new CommandError("invalid_state", "this page is not open yet");
    }
    window.report({ reply: id, ok: true, ...(await perform(fields)) });
  } catch (error) {
    const { name, message, status } = error;
    const fallback = name === "INVALID_STATE_ERROR" ? "invalid_state" : "exception";
    const code = error instanceof CommandError ? error.code : fallback;
    window.report({ reply: id, ok: false, error: { code, message, status } });
  }
};
