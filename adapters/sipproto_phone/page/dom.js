// Elements, never out of HTML text: whatever comes from outside is text, and stays text.

import { language, t } from "./texts.js";

export const $ = (id) => document.getElementById(id);

/** An element. Properties that begin with "on" are listeners, booleans are attributes that are there or not. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function icon(name) {
  return svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** A button with a symbol and a text. */
export function button(symbol, text, onclick, kind = "") {
  return h("button", { type: "button", class: kind, onclick }, icon(symbol), h("span", {}, text));
}

/** Sets text only when it is another: a live region is not to speak twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A click that has to be made twice within some seconds. */
export function twice(element, key, action) {
  const label = element.getAttribute("aria-label");
  let timer = 0;
  const calm = () => {
    timer = 0;
    element.textContent = t(key);
    if (label) element.setAttribute("aria-label", label);
  };
  element.addEventListener("click", () => {
    if (timer) {
      clearTimeout(timer);
      calm();
      action();
    } else {
      element.textContent = t("really");
      element.removeAttribute("aria-label");
      timer = setTimeout(calm, 4000);
    }
  });
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return (hours ? `${hours}:` : "") + `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const format = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(language(), format).format(date);
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
}

/** The options of a select, without losing what is chosen. */
export function options(select, entries, chosen) {
  const same =
    select.options.length === entries.length &&
    entries.every(([value, text], place) => select.options[place].value === value && select.options[place].text === text);
  if (!same) select.replaceChildren(...entries.map(([value, text]) => h("option", { value }, text)));
  if (select.value !== chosen && document.activeElement !== select) select.value = chosen;
}
