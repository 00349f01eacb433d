// A small client of WebDriver BiDi (https://www.w3.org/TR/webdriver-bidi/): commands with their results, and events.

import { EventEmitter } from "node:events";
import WebSocket from "ws";

/** Emits each event of the browser by its name ("log.entryAdded"), and "close" when the connection is over. */
export class Bidi extends EventEmitter {
  static async connect(url) {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return new Bidi(socket);
  }

  constructor(socket) {
    super();
    this.socket = socket;
    this.waiting = new Map();
    this.last = 0;
    socket.on("message", (data) => this.take(JSON.parse(data)));
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => {
      this.waiting.forEach(({ reject }) => reject(new Error("the browser has closed the connection")));
      this.waiting.clear();
      this.emit("close");
    });
  }

  take({ type, id, method, params, result, error, message }) {
    if (type === "event") return this.emit(method, params);
    const { resolve, reject } = this.waiting.get(id) ?? {};
    this.waiting.delete(id);
    if (type === "success") resolve?.(result);
    else reject?.(new Error(`${error}: ${message}`));
  }

  send(method, params = {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.last;
      this.waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ id, method, params }), (error) => error && reject(error));
    });
  }
}
