// The calls: one card each, which is changed in place so that the focus stays where it is.

import { $, button, duration, h, icon, say, svg } from "./dom.js";
import { phone } from "./live.js";
import { act, announce } from "./notices.js";
import { Plots } from "./plots.js";
import { t } from "./texts.js";
import { ticketOf } from "./tickets.js";

const UP = ["talking", "held", "reconnecting"];
const cards = new Map();

export const isUp = (call) => UP.includes(call.phase);
export const title = (call) => call.name || call.shown_number || call.number || t("unknown_caller");

const running = () => phone.state?.calls ?? [];

/** The call that a command without a choice means: who rings, else who is talked to, else any. */
export function incoming() {
  return running().find((call) => call.phase === "incoming") ?? null;
}

export function current() {
  const calls = running().filter((call) => call.phase !== "incoming" && call.phase !== "ended");
  return calls.find((call) => call.phase === "talking") ?? calls.find((call) => call.phase !== "held") ?? calls[0] ?? null;
}

export const actions = {
  answer: (call) => act("answer", { call: call.id }),
  hangUp: (call) => act("hang_up", { call: call.id }),
  hold: (call) => act(call.phase === "held" ? "resume" : "hold", { call: call.id }),
  mute: (call) => act("mute", { call: call.id, muted: !call.muted }),
  transfer: (call) => cards.get(call.id)?.openTransfer(),
  /** Talk to the one that is held; the phone holds the other. */
  swap: () => {
    const held = running().find((call) => call.phase === "held");
    return held ? act("resume", { call: held.id }) : null;
  },
};

class CallCard {
  constructor(call) {
    this.call = call;
    this._announced = "";
    this._plots = new Plots();
    const act_ = (name) => () => actions[name](this.call);
    this._parts = {
      name: h("h2"),
      number: h("p", { class: "number-line" }),
      phase: h("p", { class: "phase" }),
      timer: h("span", { class: "timer" }),
      more: h("p", { class: "hint" }),
    };
    this._buttons = {
      answer: button("call", t("accept"), act_("answer"), "main big"),
      reject: button("end", t("reject"), act_("hangUp"), "stop big"),
      hold: button("hold", "", act_("hold")),
      mute: button("mic", "", act_("mute")),
      transfer: button("transfer", t("transfer"), () => this.openTransfer()),
      ticket: button("ticket", t("ticket_create"), () => ticketOf(this.call)),
      end: button("end", t("hang_up"), act_("hangUp"), "stop"),
    };
    this._quality = h("button", { type: "button", class: "quality quiet", "aria-expanded": "false", onclick: () => this._toggle() });
    this._bars = svg("svg", { viewBox: "0 0 20 16", "aria-hidden": "true" },
      ...[0, 1, 2, 3].map((place) => svg("rect", { x: place * 5, y: 12 - place * 4, width: 3.5, height: 4 + place * 4, rx: 1 })));
    this._quality.append(this._bars);
    this._details = h("div", { class: "details", hidden: true }, this._plots.element);
    this._transfer = this._transferForm();
    this.element = h(
      "article",
      { class: "call card", "data-call": call.id },
      h("div", { class: "who" }, h("span", { class: "direction" }, icon(call.incoming ? "in" : "out")),
        h("div", { class: "grow" }, this._parts.name, this._parts.number), this._quality),
      h("div", { class: "row phase-line" }, this._parts.phase, this._parts.timer),
      this._parts.more,
      h("div", { class: "actions" }, ...Object.values(this._buttons)),
      this._transfer,
      this._details,
    );
    this.update(call);
  }

  _transferForm() {
    const id = `transfer-${this.call.id}`;
    const field = h("input", { id, type: "text", inputmode: "tel", required: true, maxlength: "200", autocomplete: "off" });
    const submit = (event) => {
      event.preventDefault();
      act("transfer", { call: this.call.id, number: field.value.trim() });
      this._transfer.hidden = true;
    };
    return h("form", { class: "transfer", hidden: true, onsubmit: submit },
      h("label", { for: id }, t("transfer_to")),
      h("div", { class: "row" }, field, h("button", { type: "submit", class: "main" }, t("transfer"))));
  }

  openTransfer() {
    if (!isUp(this.call)) return;
    this._transfer.hidden = !this._transfer.hidden;
    if (!this._transfer.hidden) this._transfer.querySelector("input").focus();
  }

  _toggle() {
    this._details.hidden = !this._details.hidden;
    this._quality.setAttribute("aria-expanded", String(!this._details.hidden));
  }

  update(call) {
    this.call = call;
    const { name, number, phase, more } = this._parts;
    this.element.dataset.phase = call.phase;
    say(name, title(call));
    const shown = call.shown_number || call.number;
    say(number, shown === title(call) ? "" : shown);
    const ended = call.phase === "ended" && call.outcome && call.outcome !== "answered";
    const text = ended ? t(`outcome_${call.outcome}`) : t(`phase_${call.phase}`);
    say(phase, text);
    say(more, this._more(call).join(" · "));
    this._showButtons(call);
    this._showQuality(call.figures.quality, isUp(call));
    this.tick();
    this._tell(text);
  }

  _more(call) {
    return [
      call.held_by_peer ? t("held_by_peer") : "",
      call.muted ? t("muted") : "",
      call.digits ? t("digits_sent", { digits: call.digits }) : "",
      call.transfer === null ? "" : t("transfer_status", { status: call.transfer }),
      call.phase === "ended" ? call.detail : "",
    ].filter(Boolean);
  }

  _showButtons(call) {
    const up = isUp(call);
    const rings = call.phase === "incoming";
    const { answer, reject, hold, mute, transfer, ticket, end } = this._buttons;
    answer.hidden = reject.hidden = !rings;
    hold.hidden = mute.hidden = transfer.hidden = !up;
    ticket.hidden = !(up || rings || call.phase === "ended");
    end.hidden = rings || call.phase === "ended";
    relabel(hold, call.phase === "held" ? "resume" : "hold", t(call.phase === "held" ? "resume" : "hold"));
    relabel(mute, call.muted ? "mute" : "mic", t(call.muted ? "unmute" : "mute"));
    mute.setAttribute("aria-pressed", String(call.muted));
    if (!up) this._transfer.hidden = true;
  }

  _showQuality(quality, up) {
    this._quality.hidden = !up;
    if (!up) this._details.hidden = true;
    const text = t("quality", { value: quality === null ? t("quality_none") : t(`quality_${quality}`) });
    this._quality.setAttribute("aria-label", text);
    this._quality.title = text;
    [...this._bars.children].forEach((bar, place) => bar.classList.toggle("on", quality !== null && place < Math.max(1, quality)));
  }

  /** Once a second: the timer. */
  tick() {
    const from = this.call.answered_at;
    if (this.call.phase !== "ended") say(this._parts.timer, from === null ? "" : duration(phone.now() - from));
  }

  measure() {
    if (isUp(this.call)) this._plots.add(this.call.figures);
  }

  _tell(text) {
    if (this._announced === text) return;
    this._announced = text;
    const name = title(this.call);
    if (this.call.phase === "incoming") {
      announce(t("says_incoming", { name }), true);
      notify(this.call);
    } else {
      announce(t("says_phase", { name, phase: text }));
    }
  }
}

function relabel(element, symbol, text) {
  element.querySelector("use").setAttribute("href", `#i-${symbol}`);
  say(element.querySelector("span"), text);
}

function notify(call) {
  if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
  const note = new Notification(t("phase_incoming"), { body: title(call), tag: call.id, requireInteraction: true });
  note.addEventListener("click", () => {
    window.focus();
    note.close();
  });
  const close = setInterval(() => {
    if (running().some((one) => one.id === call.id && one.phase === "incoming")) return;
    clearInterval(close);
    note.close();
  }, 500);
}

const pair = h("div", { class: "pair row" });

export function setUpCalls() {
  setInterval(() => {
    for (const card of cards.values()) {
      card.tick();
      card.measure();
    }
  }, 1000);
}

export function showCalls(state) {
  const area = $("calls");
  const ids = new Set(state.calls.map((call) => call.id));
  for (const [id, card] of cards) {
    if (ids.has(id)) continue;
    if (card.element.contains(document.activeElement)) $("number").focus();
    card.element.remove();
    cards.delete(id);
  }
  // Who rings comes first.
  for (const call of state.calls) {
    const card = cards.get(call.id);
    if (card) {
      card.update(call);
    } else {
      const made = new CallCard(call);
      cards.set(call.id, made);
      if (call.phase === "incoming") area.prepend(made.element);
      else area.append(made.element);
    }
  }
  showPair(state.calls.filter(isUp), area);
  area.hidden = !state.calls.length;
  document.title = state.calls.length ? `${title(state.calls[0])}: ${t(`phase_${state.calls[0].phase}`)}` : "sipproto";
}

function showPair(up, area) {
  if (up.length !== 2) {
    pair.remove();
    return;
  }
  if (!pair.isConnected) {
    const join = () => {
      const [first, second] = running().filter(isUp);
      act("transfer", { call: first.id, other: second.id });
    };
    pair.replaceChildren(button("swap", t("swap"), actions.swap), button("join", t("join"), join));
    area.append(pair);
  }
}

/** In another language. */
export function redrawCalls(state) {
  for (const card of cards.values()) card.element.remove();
  cards.clear();
  pair.remove();
  showCalls(state);
}
