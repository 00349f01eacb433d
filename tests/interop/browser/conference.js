// Runs in the browser: a page that does with the SIP stack of a conference SDK what that SDK does with it, as far as it
// can be seen on the wire. The stacks are forks of JsSIP; what the SDK says in INFO comes with the commands.

import { CommandError, commands, duringCall, findCall, headersOf, source } from "./page.js";

const RESTART = "application/vinteo.webrtc.restart";

/** Tells of the offers of the peer; `restarts`: whether a wish of the server to restart ICE is granted at once. */
function follow(session, restarts) {
  for (const name of ["reinvite", "update"]) {
    session.on(name, ({ request }) => window.report({ event: name, body: request.body ?? "", headers: headersOf(request) }));
  }
  session.on("newInfo", ({ originator, info }) => {
    if (!restarts || originator !== "remote" || info.contentType !== RESTART) return;
    session.restartIce().then(
      (done) => window.report({ event: "restarted", done }),
      () => window.report({ event: "restarted", done: null }),
    );
  });
}

const { open } = commands;

commands.open = async ({ restarts = false, ...rest }) => {
  const result = await open(rest);
  window.rig.agent.on("newRTCSession", ({ session }) => follow(session, restarts));
  return result;
};

/** The newer stack leaves the second stream to the SDK: whichever line is there for it, else a new one; then an offer. */
async function startPresentation(call, track) {
  const { session } = call;
  const { connection } = session;
  const unused = connection.getTransceivers().some(({ currentDirection }) => currentDirection === "recvonly");
  if (call.presenting) await call.presenting.replaceTrack(track);
  else if (unused) call.presenting = connection.addTrack(track);
  else call.presenting = connection.addTransceiver(track, { direction: "sendrecv", streams: [] }).sender;
  return session.renegotiate();
}

/** Sends a second stream, once the server has agreed. */
commands.present = async ({ call: id, color }) => {
  const call = findCall({ call: id });
  const { session } = call;
  if (call.presentation) throw new CommandError("invalid_state", "a presentation has begun already");
  const track = source.track("video", color);
  track.contentHint = "detail";
  const stream = new MediaStream([track]);
  call.presentation = stream;
  await duringCall(call, (done, failed) => {
    // The older stack resolves with the stream, and both with false when an offer could not be made now.
    const started = session.startPresentation ? session.startPresentation(stream) : startPresentation(call, track);
    started.then(
      (result) => (result ? done() : failed(new CommandError("busy", "no offer can be made now"))),
      (error) => failed(error ?? new CommandError("refused", "the offer came to nothing")),
    );
  });
  return {};
};

/** Ends it without an offer: the line stays, for the next one. */
commands.stop_presenting = async ({ call: id }) => {
  const call = findCall({ call: id });
  const { presentation, session } = call;
  if (!presentation) throw new CommandError("invalid_state", "there is no presentation");
  delete call.presentation;
  if (session.stopPresentation) await session.stopPresentation(presentation);
  else presentation.getTracks().forEach((track) => track.stop());
  return {};
};

commands.restart_ice = async ({ call: id }) => {
  const call = findCall({ call: id });
  return duringCall(call, (done, failed) => {
    call.session.restartIce().then((result) => done({ restarted: result }), () => failed(new CommandError("refused", "the offer came to nothing")));
  });
};
