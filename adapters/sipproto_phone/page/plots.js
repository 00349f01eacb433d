// What was measured of a call in the last two minutes, drawn small.

import { h, number, say, svg } from "./dom.js";
import { t } from "./texts.js";

const MOST = 120; // samples, one a second
const WIDTH = 120;
const HEIGHT = 32;

// What is drawn: the figures of one plot, the unit they are told in, and the least that fills the height.
const PLOTS = [
  { name: "loss", figures: ["loss"], unit: "unit_percent", scale: 100, digits: 1, least: 0.05 },
  { name: "jitter", figures: ["jitter"], unit: "unit_ms", scale: 1000, digits: 0, least: 0.03 },
  { name: "round_trip", figures: ["round_trip"], unit: "unit_ms", scale: 1000, digits: 0, least: 0.2 },
  { name: "bitrate", figures: ["bitrate_in", "bitrate_out"], unit: "unit_kbit", scale: 0.001, digits: 0, least: 64000 },
];

function points(values, top) {
  const first = MOST - values.length;
  return values
    .map((value, place) => (value === null ? null : `${first + place},${(HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1)}`))
    .filter((point) => point !== null)
    .join(" ");
}

class Plot {
  constructor(kind) {
    const { name, figures } = kind;
    this._kind = kind;
    this._histories = figures.map(() => []);
    this._lines = figures.map((_, place) => svg("polyline", { class: `line-${place}`, "vector-effect": "non-scaling-stroke" }));
    this._value = h("b");
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...this._lines);
    this.element = h("figure", { "data-plot": name }, h("figcaption", {}, `${t(name)} `, this._value), picture);
  }

  add(figures) {
    const { unit, scale, digits, least } = this._kind;
    const now = this._kind.figures.map((name) => figures[name]);
    now.forEach((value, place) => {
      const history = this._histories[place];
      history.push(value);
      if (history.length > MOST) history.shift();
    });
    const top = Math.max(least, ...this._histories.flat().filter((value) => value !== null));
    this._histories.forEach((history, place) => this._lines[place].setAttribute("points", points(history, top)));
    const told = now.map((value) => (value === null ? t("not_known") : number(value * scale, digits)));
    say(this._value, t(unit, { value: told.join(" / ") }));
  }
}

/** The plots of one call. `add` takes its figures, once a second. */
export class Plots {
  constructor() {
    this._plots = PLOTS.map((entry) => new Plot(entry));
    this._codec = h("b");
    this._level = h("meter", { min: "0", max: "1", "aria-label": t("level") });
    this.element = h(
      "div",
      { class: "plots" },
      ...this._plots.map((plot) => plot.element),
      h("p", { class: "codec" }, `${t("codec")} `, this._codec),
      h("p", { class: "level" }, `${t("level")} `, this._level),
    );
  }

  add(figures) {
    for (const plot of this._plots) plot.add(figures);
    say(this._codec, figures.codec || t("not_known"));
    this._level.value = figures.level_in ?? 0;
  }
}
