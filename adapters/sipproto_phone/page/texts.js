// The texts in both languages, from one table: key -> [English, Russian].

const LANGUAGES = ["en", "ru"];
let table = {};
let place = navigator.language.toLowerCase().startsWith("ru") ? 1 : 0;

export async function loadTexts() {
  table = await (await fetch("texts.json")).json();
}

export function language() {
  return LANGUAGES[place];
}

/** Whether it is another one now. */
export function setLanguage(name) {
  const before = place;
  place = Math.max(0, LANGUAGES.indexOf(name));
  return place !== before;
}

export function has(key) {
  return key in table;
}

export function t(key, values = {}) {
  const text = table[key]?.[place] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Fills in what the HTML names: data-t is the content, data-t-label the accessible name, data-t-placeholder the placeholder. */
export function applyTexts() {
  document.documentElement.lang = language();
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
    if (element.tagName === "BUTTON") element.title = t(element.dataset.tLabel);
  }
  for (const element of document.querySelectorAll("[data-t-placeholder]")) {
    element.placeholder = t(element.dataset.tPlaceholder);
  }
}
