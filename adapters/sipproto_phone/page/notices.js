// What went wrong, in one line each, and what a screen reader is to say.

import { $, h, icon, say } from "./dom.js";
import { phone } from "./live.js";
import { t } from "./texts.js";

const MOST = 4;

function line(text, kind, dismissed) {
  const entry = h("div", { class: `notice ${kind}` }, h("span", {}, text));
  const dismiss = () => {
    entry.remove();
    dismissed();
  };
  entry.append(
    h("button", { type: "button", class: "quiet", "aria-label": t("dismiss"), title: t("dismiss"), onclick: dismiss }, icon("close")),
  );
  const area = $("notices");
  area.append(entry);
  while (area.children.length > MOST) area.firstElementChild.remove();
  return entry;
}

export function notice(text, kind = "bad") {
  const entry = line(text, kind, () => {});
  setTimeout(() => entry.remove(), kind === "bad" ? 12000 : 4000);
}

/** A command whose failure is told in a line. */
export async function act(command, fields = {}) {
  try {
    return await phone.do(command, fields);
  } catch (problem) {
    notice(problem.message);
    return null;
  }
}

let shown = null;

/** The notice of the phone itself stays until somebody dismisses it. */
export function showNotice(text) {
  if (shown?.dataset.text === text) return;
  shown?.remove();
  shown = null;
  if (!text) return;
  shown = line(text, "bad", () => act("dismiss_notice"));
  shown.dataset.text = text;
}

export function announce(text, now = false) {
  say($(now ? "announce-now" : "announce"), text);
}
