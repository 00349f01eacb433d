// Accounts and what belongs to none.

import { $, h, twice } from "./dom.js";
import { collect, field, fill, openDialog, setUpDialog } from "./forms.js";
import { KEYS } from "./keys.js";
import { phone } from "./live.js";
import { act, notice } from "./notices.js";
import { accountName } from "./status.js";
import { t } from "./texts.js";

const TRANSPORTS = ["wss", "ws", "tls", "tcp", "udp"];
let edited = ""; // the id of the account in the dialog; "" for a new one

const plain = () => [
  { name: "server", required: true },
  { name: "login", required: true },
  { name: "password", kind: "password" },
  { name: "display_name" },
  { name: "transport", kind: "choice", choices: TRANSPORTS.map((name) => [name, name.toUpperCase()]) },
];

const advanced = () => [
  { name: "port", kind: "number", hint: "hint_port", min: "0", max: "65535" },
  { name: "path" },
  { name: "proxy", hint: "hint_proxy" },
  { name: "hosts", kind: "lines", hint: "hint_hosts" },
  { name: "ca_file" },
  { name: "pins", kind: "lines", hint: "hint_pins" },
  { name: "ice_servers", kind: "lines", hint: "hint_ice_servers" },
  { name: "turn_user" },
  { name: "turn_password", kind: "password", hint: "hint_turn_password" },
  { name: "expires", kind: "number", min: "30", max: "86400" },
];

const NEW = { transport: "wss", port: 0, path: "/ws", expires: 300 };

const general = () => [
  { name: "language", kind: "choice", choices: [["", t("language_system")], ["en", t("language_en")], ["ru", t("language_ru")]] },
  { name: "region", hint: "hint_region", minlength: "2", maxlength: "2" },
  { name: "ring_seconds", kind: "number", min: "1", max: "600" },
  { name: "webhook", inputmode: "url" },
  { name: "call_waiting", kind: "bool" },
  { name: "echo_cancellation", kind: "bool" },
];

export function setUpSettings() {
  for (const id of ["account-new", "welcome-button"]) $(id).addEventListener("click", () => editAccount(null));
  setUpDialog("account", saveAccount);
  $("general").addEventListener("submit", async (event) => {
    event.preventDefault();
    const settings = collect($("general"), general());
    try {
      await phone.do("save_settings", { settings });
      notice(t("saved"), "good");
    } catch (problem) {
      notice(problem.message);
    }
  });
  $("notifications-allow").addEventListener("click", async () => {
    await Notification.requestPermission();
    showNotifications();
  });
  twice($("quit"), "quit", async () => {
    phone.ended();
    await phone.do("quit").catch(() => null);
  });
}

export async function loadSettings() {
  const settings = await act("get_settings");
  if (settings === null) return;
  $("general-fields").replaceChildren(...general().map((one) => field("general", one)));
  fill($("general"), general(), settings);
  showNotifications();
  $("keys").replaceChildren(...KEYS.flatMap(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, t(text))]));
}

function showNotifications() {
  const permission = "Notification" in window ? Notification.permission : "denied";
  $("notifications-text").textContent = t(`notifications_${permission}`);
  $("notifications-allow").hidden = permission !== "default";
}

let drawn = "";

export function showSettings(state) {
  $("version").textContent = t("version", { version: state.version });
  $("keyring").hidden = state.keyring;
  $("keyring").textContent = state.keyring ? "" : t("keyring_none", { detail: state.keyring_detail });
  // Not anew with each figure of a call: the focus would be lost.
  const text = JSON.stringify([state.accounts, state.language]);
  if (text === drawn) return;
  drawn = text;
  $("accounts").replaceChildren(...state.accounts.map(row));
}

function row(account) {
  const name = accountName(account);
  const address = `${account.login}@${account.server} · ${account.transport.toUpperCase()}`;
  const marks = [account.active ? t("account_active") : "", account.has_password ? "" : t("account_no_password")];
  const act_ = (key, label, onclick) =>
    h("button", { type: "button", "aria-label": t(label, { name }), onclick }, t(key));
  const remove = h("button", { type: "button", class: "quiet danger", "aria-label": t("remove_named", { name }) }, t("remove"));
  twice(remove, "remove", () => act("remove_account", { id: account.id }));
  return h(
    "li",
    { class: `entry ${account.active ? "active" : ""}` },
    h("div", { class: "grow" }, h("strong", {}, name), h("span", { class: "hint" }, address),
      h("span", { class: "facts" }, marks.filter(Boolean).join(" · "))),
    isOfDemo(account) ? null : h("div", { class: "row" },
      account.active ? null : act_("account_use", "account_use_named", () => act("use_account", { id: account.id })),
      act_("edit", "edit_named", () => editAccount(account)),
      remove),
  );
}

/** It is made anew at each start, and cannot be changed. */
const isOfDemo = (account) => phone.state.demo && account.id === "demo";

async function editAccount(view) {
  const values = view === null ? NEW : await act("get_account", { id: view.id });
  if (values === null) return;
  edited = view?.id ?? "";
  const stored = view?.has_password ? { hint: "hint_password_stored" } : {};
  $("account-title").textContent = t(view === null ? "account_new" : "account_edit");
  $("account-fields").replaceChildren(
    ...plain().map((one) => field("account", one.name === "password" ? { ...one, ...stored } : one)),
  );
  $("account-advanced").replaceChildren(...advanced().map((one) => field("account", one)));
  // Passwords go to the phone and never come back from it.
  fill($("account-form"), [...plain(), ...advanced()], { ...values, password: "", turn_password: "" });
  openDialog("account");
}

async function saveAccount(form) {
  const { password, turn_password: turn, ...account } = collect(form, [...plain(), ...advanced()]);
  if (turn) account.turn_password = turn;
  await phone.do("save_account", { account: { ...account, id: edited }, password: password || null });
  form.reset();
}
