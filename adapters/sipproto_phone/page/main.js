// The page of the phone: a view of its state, and nothing more.

import { redrawCalls, setUpCalls, showCalls } from "./calls.js";
import { setUpDialer, showDialer } from "./dialer.js";
import { closeDialogs } from "./forms.js";
import { loadJournal, setUpJournal, showJournal } from "./journal.js";
import { setUpKeys } from "./keys.js";
import { enter, phone } from "./live.js";
import { showNotice } from "./notices.js";
import { loadSettings, setUpSettings, showSettings } from "./settings.js";
import { setUpStatus, showStatus, showThere } from "./status.js";
import { applyTexts, loadTexts, setLanguage } from "./texts.js";
import { loadTickets, setUpTickets, showTickets } from "./tickets.js";

const LOADERS = { phone: () => {}, journal: loadJournal, tickets: loadTickets, settings: loadSettings };
let calls = ""; // which there are and which are over: with it the journal changes

function show(view) {
  closeDialogs();
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll("#views button")) {
    if (button.dataset.view === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (phone.state) LOADERS[view]();
}

function showState(state) {
  if (setLanguage(state.language)) {
    applyTexts();
    redrawCalls(state);
    showJournal();
    showTickets();
    loadSettings();
  }
  showCalls(state);
  showStatus(state);
  showDialer(state);
  showSettings(state);
  showNotice(state.notice);
  const now = state.calls.map((call) => `${call.id}${call.phase === "ended"}`).join();
  if (now !== calls) loadJournal();
  calls = now;
}

async function start() {
  await Promise.all([loadTexts(), enter()]);
  applyTexts();
  for (const setUp of [setUpStatus, setUpCalls, setUpDialer, setUpJournal, setUpTickets, setUpSettings, setUpKeys]) setUp();
  for (const button of document.querySelectorAll("#views button")) {
    button.addEventListener("click", () => show(button.dataset.view));
  }
  phone.onState = showState;
  phone.onThere = (there) => {
    showThere(there);
    // What was loaded before may be of a phone that is gone.
    if (there === "yes") {
      loadJournal();
      if (document.body.dataset.view !== "phone") LOADERS[document.body.dataset.view]();
    }
  };
  show(matchMedia("(min-width: 60rem)").matches ? "journal" : "phone");
  phone.open();
}

start();
