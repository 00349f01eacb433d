// Forms out of tables of fields, and dialogs that leave the rest of the page in reach: a call may come in at any time.

import { $, h } from "./dom.js";
import { t } from "./texts.js";

/** A field: name, kind (text, password, number, lines, bool, choice), and what else it has. */
export function field(prefix, { name, kind = "text", label = `field_${name}`, hint = null, choices = [], ...more }) {
  const id = `${prefix}-${name}`;
  const described = hint === null ? {} : { "aria-describedby": `${id}-hint` };
  const common = { id, name, ...described, ...more };
  const text = h("label", { for: id }, t(label));
  const note = hint === null ? null : h("small", { id: `${id}-hint`, class: "hint" }, t(hint));
  if (kind === "bool") {
    return h("div", { class: "field check" }, h("input", { type: "checkbox", ...common }), text);
  }
  const input = {
    choice: () => h("select", common, ...choices.map(([value, key]) => h("option", { value }, key))),
    lines: () => h("textarea", { rows: "2", spellcheck: "false", ...common }),
    text: () => h("input", { type: "text", spellcheck: "false", autocomplete: "off", maxlength: "2000", ...common }),
    number: () => h("input", { type: "number", ...common }),
    password: () => h("input", { type: "password", autocomplete: "new-password", maxlength: "2000", ...common }),
  }[kind]();
  return h("div", { class: "field" }, text, input, note);
}

export function fill(form, fields, values) {
  for (const { name, kind } of fields) {
    const element = form.elements.namedItem(name);
    const value = values[name];
    if (kind === "bool") element.checked = Boolean(value);
    else if (kind === "lines") element.value = Array.isArray(value) ? value.join("\n") : (value ?? "");
    else element.value = value ?? "";
  }
}

export function collect(form, fields) {
  const values = {};
  for (const { name, kind, plain } of fields) {
    const element = form.elements.namedItem(name);
    if (kind === "bool") values[name] = element.checked;
    else if (kind === "number") values[name] = Number(element.value);
    else if (kind === "lines" && !plain) values[name] = element.value.split("\n").map((line) => line.trim()).filter(Boolean);
    else values[name] = element.value;
  }
  return values;
}

const before = new Map(); // the element that had the focus, by dialog

/** Wires the dialog `NAME-dialog` with its form `NAME-form`; `save` may reject, then its reason is shown in the dialog. */
export function setUpDialog(name, save) {
  const dialog = $(`${name}-dialog`);
  const form = $(`${name}-form`);
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeDialog(name);
  });
  form.querySelector(".close").addEventListener("click", () => closeDialog(name));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = form.querySelector(".problem");
    problem.hidden = true;
    try {
      await save(form);
      closeDialog(name);
    } catch (reason) {
      problem.textContent = reason.message;
      problem.hidden = false;
      problem.scrollIntoView({ block: "nearest" });
    }
  });
}

export function openDialog(name) {
  const dialog = $(`${name}-dialog`);
  $(`${name}-form`).querySelector(".problem").hidden = true;
  if (dialog.open) return;
  closeDialogs();
  before.set(name, document.activeElement);
  dialog.show();
  dialog.querySelector("input, select, textarea, button")?.focus();
}

/** Whether the user is at one. */
export function isDialogOpen() {
  return document.querySelector("dialog[open]") !== null;
}

export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) closeDialog(dialog.id.replace("-dialog", ""));
}

export function closeDialog(name) {
  const dialog = $(`${name}-dialog`);
  if (!dialog.open) return;
  const mine = dialog.contains(document.activeElement);
  dialog.close();
  if (mine) before.get(name)?.focus();
  before.delete(name);
}
