// The number, the pad, and the sound.

import { current, isUp, title } from "./calls.js";
import { $, h, number, options, say } from "./dom.js";
import { phone } from "./live.js";
import { act } from "./notices.js";
import { t } from "./texts.js";

const PAD = [
  ["1", ""], ["2", "ABC"], ["3", "DEF"], ["4", "GHI"], ["5", "JKL"], ["6", "MNO"],
  ["7", "PQRS"], ["8", "TUV"], ["9", "WXYZ"], ["*", ""], ["0", "+"], ["#", ""],
];
const DEVICES = [["microphone", "microphones"], ["speaker", "speakers"], ["ringer", "speakers"]];
let sliding = -Infinity; // when the user last moved the slider

export function setUpDialer() {
  const field = $("number");
  $("pad").append(...PAD.map(([key, letters]) =>
    h("button", { type: "button", "data-key": key, onclick: () => press(key) }, h("b", {}, key), h("small", { "aria-hidden": "true" }, letters))));
  $("dial").addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) dial(field.value.trim());
    else field.focus();
  });
  $("erase").addEventListener("click", () => {
    field.value = field.value.slice(0, -1);
    field.focus();
  });
  $("redial").addEventListener("click", () => act("redial"));
  for (const element of document.querySelectorAll("[data-dial]")) {
    element.addEventListener("click", () => dial(element.dataset.dial));
  }
  for (const [name] of DEVICES) {
    $(name).addEventListener("change", (event) => act("choose_devices", { [name]: event.target.value }));
  }
  $("devices-refresh").addEventListener("click", () => act("refresh_devices"));
  $("volume").addEventListener("input", (event) => {
    sliding = performance.now();
    showVolume(Number(event.target.value));
    act("set_volume", { volume: Number(event.target.value) / 100 });
  });
}

export async function dial(text) {
  const made = await act("dial", { number: text });
  if (made !== null && $("number").value.trim() === text) $("number").value = "";
}

/** A key of the pad: a tone in a call, else part of a number. */
export function press(key) {
  const call = current();
  if (call && isUp(call)) {
    act("send_digits", { call: call.id, digits: key });
  } else {
    $("number").value += key;
    $("number").focus();
  }
}

export function showDialer(state) {
  $("welcome").hidden = state.accounts.length > 0;
  $("demo").hidden = !state.demo;
  const call = current();
  say($("pad-hint"), call && isUp(call) ? t("pad_digits", { name: title(call) }) : "");
  const redial = $("redial");
  redial.hidden = !state.last_number;
  const text = t("redial_number", { number: state.last_number });
  redial.setAttribute("aria-label", text);
  redial.title = text;
  const { devices } = state;
  for (const [name, list] of DEVICES) {
    const entries = devices[list].map((device) => [device.name, device.name ? device.label : t("device_default")]);
    if (!entries.some(([value]) => value === "")) entries.unshift(["", t("device_default")]);
    const chosen = devices[name];
    if (!entries.some(([value]) => value === chosen)) entries.push([chosen, t("device_gone", { name: chosen })]);
    options($(name), entries, chosen);
  }
  say($("sound-problem"), devices.problem);
  $("sound-problem").hidden = !devices.problem;
  // While the user slides, echoes of what was set a moment ago are not to move the slider back.
  if (performance.now() - sliding > 1000) showVolume(Math.round(phone.state.volume * 100));
}

function showVolume(value) {
  $("volume").value = value;
  say($("volume-text"), t("unit_percent", { value: number(value) }));
}
