// The one connection to the phone: its state comes in, commands go out. It comes back by itself.

import { t, has } from "./texts.js";

const SOONEST = 500; // milliseconds until the first try to come back
const LATEST = 5000;
const PATIENCE = 60000; // for the answer to a command

export class Problem extends Error {
  constructor(code, text) {
    super(has(`error_${code}`) ? t(`error_${code}`) : text);
    this.code = code;
  }
}

class Live {
  constructor() {
    this.state = null;
    this.there = null; // null: not known yet; "yes", "gone", "stranger" (the phone that runs is another one), "ended"
    this.onState = () => {};
    this.onThere = () => {};
    this._waiting = new Map();
    this._next = 1;
    this._delay = SOONEST;
    this._socket = null;
    this._ahead = 0; // seconds, of the phone's clock before performance.now()
  }

  /** The phone's clock, in seconds: nobody sets it, as they do with Date. */
  now() {
    return this._ahead + performance.now() / 1000;
  }

  open() {
    const socket = new WebSocket(`ws://${location.host}/live`, ["sipproto-phone", session() || "none"]);
    this._socket = socket;
    socket.addEventListener("message", (event) => this._heard(JSON.parse(event.data)));
    socket.addEventListener("close", () => this._lost());
  }

  /** The answer of a command. Rejects with a Problem. */
  do(command, fields = {}) {
    if (this._socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Problem("gone", t("error_gone")));
    const id = this._next++;
    this._socket.send(JSON.stringify({ id, command, fields }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this._settle(id, () => reject(new Problem("gone", t("error_gone")))), PATIENCE);
      this._waiting.set(id, { resolve, reject, timer });
    });
  }

  _settle(id, settle) {
    const waiting = this._waiting.get(id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this._waiting.delete(id);
    settle(waiting);
  }

  _heard(message) {
    if (message.state) {
      this._delay = SOONEST;
      this.state = message.state;
      this._ahead = message.now - performance.now() / 1000;
      this._set("yes");
      this.onState(message.state);
    } else if (message.error) {
      this._settle(message.id, ({ reject }) => reject(new Problem(message.error.code, message.error.text)));
    } else {
      this._settle(message.id, ({ resolve }) => resolve(message.result));
    }
  }

  async _lost() {
    for (const id of [...this._waiting.keys()]) {
      this._settle(id, ({ reject }) => reject(new Problem("gone", t("error_gone"))));
    }
    if (this.there === "ended") return;
    // Who answers, but does not let us in, is a phone that was started later.
    const answers = await fetch("/", { method: "HEAD", cache: "no-store" }).then((answer) => answer.ok, () => false);
    this._set(answers && this._delay > SOONEST ? "stranger" : "gone");
    setTimeout(() => this.open(), this._delay);
    this._delay = Math.min(LATEST, this._delay * 2);
  }

  /** The user has ended the phone: nothing is to come back. */
  ended() {
    this._set("ended");
  }

  _set(there) {
    if (this.there === there) return;
    this.there = there;
    this.onThere(there);
  }
}

export const phone = new Live();

const SESSION = "session"; // kept for this tab, and for this port alone

function session() {
  return sessionStorage.getItem(SESSION);
}

/** Hands over the start token of the address, which then is seen nowhere any more. */
export async function enter() {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/enter", { method: "POST", body: token }).catch(() => null);
  if (answer?.ok) sessionStorage.setItem(SESSION, await answer.text());
}
