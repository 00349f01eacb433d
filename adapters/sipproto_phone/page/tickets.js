// Tickets: what a caller wanted.

import { $, button, h, moment, twice } from "./dom.js";
import { closeDialog, collect, field, fill, openDialog, setUpDialog } from "./forms.js";
import { phone } from "./live.js";
import { act } from "./notices.js";
import { t } from "./texts.js";

const PART = 50;
let asked = 0;
let entries = [];
let edited = null; // the ticket in the dialog

const fields = () => [
  { name: "customer", label: "ticket_customer" },
  { name: "contact", label: "ticket_contact" },
  { name: "number", label: "ticket_number", inputmode: "tel" },
  { name: "text", label: "ticket_text", kind: "lines", plain: true, rows: "5", maxlength: "20000", spellcheck: "true" },
  { name: "status", label: "ticket_status", kind: "choice", choices: [["open", t("status_open")], ["closed", t("status_closed")]] },
];

export function setUpTickets() {
  $("tickets-search").addEventListener("submit", (event) => event.preventDefault());
  $("tickets-text").addEventListener("input", () => loadTickets());
  $("tickets-status").addEventListener("change", () => loadTickets());
  $("tickets-more").addEventListener("click", () => loadTickets(entries.at(-1).id));
  $("ticket-new").addEventListener("click", () => edit({}));
  setUpDialog("ticket", async (form) => {
    const values = Object.fromEntries(Object.entries(collect(form, fields())));
    await phone.do("save_ticket", { ...values, id: edited.id ?? null, call: edited.call ?? null });
    loadTickets();
  });
  twice($("ticket-remove"), "remove", async () => {
    await act("remove_ticket", { id: edited.id });
    closeDialog("ticket");
    loadTickets();
  });
}

export async function loadTickets(before = null) {
  const question = ++asked;
  const found = await act("list_tickets", {
    search: $("tickets-text").value.trim(),
    status: $("tickets-status").value,
    before,
    limit: PART,
  });
  if (found === null || question !== asked) return;
  entries = before === null ? found : [...entries, ...found];
  $("tickets-more").hidden = found.length < PART;
  showTickets();
}

export function showTickets() {
  $("tickets-list").replaceChildren(...entries.map(row));
  $("tickets-empty").hidden = entries.length > 0;
}

function row(ticket) {
  const name = ticket.customer || ticket.contact || ticket.number || t("ticket_edit", { id: ticket.id });
  const open = button("ticket", t("edit"), () => edit(ticket));
  open.setAttribute("aria-label", t("edit_named", { name }));
  const facts = [moment(ticket.created), ticket.number, ticket.contact].filter(Boolean).join(" · ");
  return h(
    "li",
    { class: `entry ticket ${ticket.status}` },
    h("div", { class: "grow" }, h("strong", {}, name), h("span", { class: "badge" }, t(`status_${ticket.status}`)),
      h("span", { class: "text" }, ticket.text), h("span", { class: "facts" }, facts)),
    open,
  );
}

function edit(ticket) {
  edited = ticket;
  $("ticket-title").textContent = ticket.id ? t("ticket_edit", { id: ticket.id }) : t("ticket_new");
  $("ticket-fields").replaceChildren(...fields().map((one) => field("ticket", one)));
  fill($("ticket-form"), fields(), { status: "open", ...ticket });
  $("ticket-remove").hidden = !ticket.id;
  openDialog("ticket");
}

/** A new ticket from a call: its journal entry, name and number are filled in. */
export function ticketOf(call) {
  edit({ customer: call.name, number: call.shown_number || call.number, call: call.entry ?? null });
}
