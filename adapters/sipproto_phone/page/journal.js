// The journal of calls.

import { dial } from "./dialer.js";
import { $, button, duration, h, icon, moment, twice } from "./dom.js";
import { act, notice } from "./notices.js";
import { phone } from "./live.js";
import { t } from "./texts.js";
import { ticketOf } from "./tickets.js";

const PART = 50; // entries at once
const BIGGEST = 6 * 1024 * 1024; // octets of a file to import
let asked = 0; // the last question: an answer that is late is not shown
let entries = [];

export function setUpJournal() {
  $("journal-search").addEventListener("submit", (event) => event.preventDefault());
  $("journal-text").addEventListener("input", () => loadJournal());
  $("journal-missed").addEventListener("change", () => loadJournal());
  $("journal-more").addEventListener("click", () => loadJournal(entries.at(-1).id));
  $("journal-export").addEventListener("click", exportCalls);
  $("journal-import").addEventListener("click", () => $("journal-file").click());
  $("journal-file").addEventListener("change", importCalls);
  twice($("journal-clear"), "journal_clear", async () => {
    await act("clear_calls");
    loadJournal();
  });
}

export async function loadJournal(before = null) {
  const question = ++asked;
  const found = await act("list_calls", {
    search: $("journal-text").value.trim(),
    missed: $("journal-missed").checked,
    before,
    limit: PART,
  });
  if (found === null || question !== asked) return;
  entries = before === null ? found : [...entries, ...found];
  $("journal-more").hidden = found.length < PART;
  showJournal();
}

export function showJournal() {
  $("journal-list").replaceChildren(...entries.map(row));
  $("journal-empty").hidden = entries.length > 0;
}

function row(entry) {
  const name = entry.name || entry.number || t("unknown_caller");
  const goesOn = phone.state.calls.some((call) => call.entry === entry.id && call.phase !== "ended");
  const facts = [moment(entry.started), t(goesOn ? "in_progress" : `outcome_${entry.outcome}`), entry.duration ? duration(entry.duration) : ""];
  const back = button("call", t("call"), () => dial(entry.number));
  back.setAttribute("aria-label", t("call_back", { name }));
  back.hidden = !entry.number;
  const ticket = button("ticket", t("ticket"), () => ticketOf({ ...entry, entry: entry.id }), "quiet");
  ticket.setAttribute("aria-label", t("ticket_of_call", { name }));
  return h(
    "li",
    { class: `entry ${goesOn ? "" : entry.outcome}` },
    h("span", { class: "direction" }, icon(entry.incoming ? "in" : "out"), h("span", { class: "unseen" }, t(entry.incoming ? "direction_in" : "direction_out"))),
    h("div", { class: "grow" }, h("strong", {}, name), entry.name ? h("span", { class: "hint" }, entry.number) : null,
      h("span", { class: "facts" }, facts.filter(Boolean).join(" · "))),
    h("div", { class: "row" }, ticket, back),
  );
}

async function exportCalls() {
  const csv = await act("export_calls");
  if (csv === null) return;
  const url = URL.createObjectURL(new Blob([csv], { type: "text/csv;charset=utf-8" }));
  h("a", { href: url, download: "calls.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function importCalls(event) {
  const [file] = event.target.files;
  if (!file) return;
  if (file.size > BIGGEST) {
    notice(t("too_big"));
  } else {
    try {
      const count = await phone.do("import_calls", { csv: await file.text() });
      notice(t("imported", { count }), "good");
      loadJournal();
    } catch (problem) {
      notice(problem.message);
    }
  }
  event.target.value = "";
}
