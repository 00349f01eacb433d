// The status light, the connection panel, the certificate that nobody vouches for, waiting messages, and whether the phone is there.

import { $, h, options, say } from "./dom.js";
import { closeDialog, isDialogOpen, openDialog, setUpDialog } from "./forms.js";
import { phone } from "./live.js";
import { act } from "./notices.js";
import { t } from "./texts.js";

let told = ""; // the connection as it was told last
let deadline = null; // of performance.now(), when the phone tries again
let asked = ""; // the fingerprint that the user was shown

export function setUpStatus() {
  $("status").addEventListener("click", () => {
    const panel = $("connection");
    panel.hidden = !panel.hidden;
    $("status").setAttribute("aria-expanded", String(!panel.hidden));
  });
  $("connect").addEventListener("click", () => act("connect"));
  $("disconnect").addEventListener("click", () => act("disconnect"));
  $("use-account").addEventListener("change", (event) => act("use_account", { id: event.target.value }));
  $("certificate-show").addEventListener("click", showCertificate);
  setUpDialog("certificate", async () => {
    const { host, fingerprint } = phone.state.connection.certificate;
    await phone.do("trust_certificate", { host, fingerprint });
  });
  setInterval(tick, 500);
}

export function showStatus(state) {
  const { connection, accounts, mailbox } = state;
  const text = JSON.stringify(connection);
  if (text !== told) {
    told = text;
    deadline = connection.retry_in === null ? null : performance.now() + connection.retry_in * 1000;
  }
  $("status").dataset.online = connection.online;
  $("status").title = connection.detail;
  const active = accounts.find((account) => account.active);
  const detail = [active ? `${active.login}@${active.server}` : "", connection.detail].filter(Boolean).join(" · ");
  $("connection-detail").textContent = detail;
  const entries = accounts.map((account) => [account.id, accountName(account)]);
  options($("use-account"), active ? entries : [["", "–"], ...entries], active?.id ?? "");
  $("use-account").disabled = !accounts.length;
  $("connect").hidden = connection.online === "online";
  $("disconnect").hidden = connection.online === "offline";
  $("mailbox").hidden = !mailbox.new;
  say($("mailbox-text"), mailbox.new ? t("mailbox_new", { count: mailbox.new }) : "");
  showCertificateOf(connection.certificate);
  tick();
}

export function accountName(account) {
  return account.display_name || `${account.login}@${account.server}`;
}

function tick() {
  const connection = phone.state?.connection;
  if (!connection) return;
  const words = [t(`online_${connection.online}`)];
  if (connection.problem) words.push(t(`problem_${connection.problem}`));
  say($("status-text"), words.join(": "));
  const left = deadline === null ? null : Math.max(0, Math.ceil((deadline - performance.now()) / 1000));
  // Beside the live region: a countdown is not to be read out each second.
  let count = $("countdown");
  if (left === null) {
    count?.remove();
    return;
  }
  if (!count) {
    count = h("span", { id: "countdown" });
    $("status").append(count);
  }
  say(count, t("retry_in", { seconds: left }));
}

function showCertificateOf(certificate) {
  $("certificate-show").hidden = !certificate;
  if (!certificate) {
    asked = "";
    closeDialog("certificate");
  } else if (asked !== certificate.fingerprint && !isDialogOpen()) {
    asked = certificate.fingerprint;
    showCertificate();
  }
}

function showCertificate() {
  const certificate = phone.state.connection.certificate;
  const facts = ["host", "fingerprint", "subject", "issuer", "not_after"].flatMap((name) => [
    h("dt", {}, t(`certificate_${name}`)),
    h("dd", { class: name }, certificate[name]),
  ]);
  $("certificate-facts").replaceChildren(...facts);
  openDialog("certificate");
}

export function showThere(there) {
  const text = { gone: "gone", stranger: "stranger", ended: "ended_by_you" }[there];
  $("gone").hidden = !text;
  say($("gone"), text ? t(text) : "");
  document.body.classList.toggle("away", Boolean(text));
}
