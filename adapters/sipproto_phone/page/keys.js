// The keyboard: single keys outside of text fields, the same with Alt everywhere. By their place, so that they are the same in any
// layout.

import { actions, current, incoming } from "./calls.js";
import { press } from "./dialer.js";
import { $ } from "./dom.js";

const DIGITS = "0123456789*#+";
const TEXTS = ["text", "search", "password", "number", "tel", "url"];

export const KEYS = [
  ["A", "accept"],
  ["E", "hang_up"],
  ["H", "hold"],
  ["M", "mute"],
  ["S", "swap"],
  ["T", "transfer"],
  ["N", "key_number"],
  ["0–9 * #", "key_digits"],
  ["Esc", "key_escape"],
];

const ringing = (action) => () => incoming() && action(incoming());
const running = (action) => () => current() && action(current());

const HANDLERS = {
  KeyA: ringing(actions.answer),
  KeyE: () => {
    const call = incoming() ?? current();
    if (call) actions.hangUp(call);
  },
  KeyH: running(actions.hold),
  KeyM: running(actions.mute),
  KeyS: () => actions.swap(),
  KeyT: running(actions.transfer),
  KeyN: () => {
    document.body.dataset.view = "phone";
    $("number").focus();
  },
};

function isTyping(element) {
  if (element.tagName === "INPUT") return TEXTS.includes(element.type);
  return ["TEXTAREA", "SELECT"].includes(element.tagName);
}

export function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.repeat) return;
    if (isTyping(event.target) && !event.altKey) return;
    const handler = HANDLERS[event.code];
    if (handler) {
      event.preventDefault();
      handler();
    } else if (!event.altKey && event.key.length === 1 && DIGITS.includes(event.key)) {
      event.preventDefault();
      press(event.key);
    }
  });
}
