// A small line chart: a few minutes of one or two series, drawn as SVG, with both axes named.

import { h, s } from "./dom.js";
import { hour } from "./format.js";

const HEIGHT = 136;
const TOP = 10;
const BOTTOM = 20;
const RIGHT = 52;

/**
 * `series`: `[{name, kind}]`; `format` makes a value text, its unit included. `draw(points, window)` takes
 * `{at, values}` with times in milliseconds and a null where nothing is known.
 */
export function chart(title, series, format, hint = "") {
  const values = series.map(() => h("b", null, "–"));
  const legend = h("ul", { class: "legend" }, series.map(({ name, kind }, index) => h("li", { class: kind }, h("span", null, name), values[index])));
  const plot = s("svg", { class: "plot", height: HEIGHT, role: "img" });
  const told = h("p", { class: "told", "aria-hidden": "true" });
  const figure = h("figure", { class: "chart" }, h("figcaption", null, h("h2", null, title), hint && h("small", null, hint)), legend, plot, told);
  let points = [];
  let span = 1;
  let width = 0;
  let at = null;

  new ResizeObserver(() => render()).observe(figure);
  plot.addEventListener("pointermove", (event) => {
    at = (event.clientX - plot.getBoundingClientRect().left) / Math.max(1, width - RIGHT);
    render();
  });
  plot.addEventListener("pointerleave", () => {
    at = null;
    render();
  });

  function draw(given, window) {
    points = given;
    span = window;
    render();
  }

  function render() {
    width = plot.clientWidth || figure.clientWidth - 28;
    if (!width) return;
    const last = points.at(-1);
    const end = last?.at ?? 0;
    const most = nice(Math.max(0, ...points.flatMap((point) => point.values.filter((value) => value !== null))));
    const x = (when) => (width - RIGHT) * (1 - (end - when) / span);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / most);
    const nodes = [...rows(most, y, format, width), ...columns(span, x, end)];
    series.forEach(({ kind }, index) => {
      for (const run of runs(points, index)) {
        const line = run.map(({ when, value }, n) => `${n ? "L" : "M"}${x(when).toFixed(1)} ${y(value).toFixed(1)}`).join("");
        if (index === 0) nodes.push(s("path", { class: `area ${kind}`, d: `${line}L${x(run.at(-1).when).toFixed(1)} ${y(0)}L${x(run[0].when).toFixed(1)} ${y(0)}Z` }));
        nodes.push(s("path", { class: `curve ${kind}`, d: run.length > 1 ? line : `${line}h0.1` }));
      }
    });
    const near = at === null || !points.length ? null : points.reduce((best, point) => (Math.abs(x(point.at) - at * (width - RIGHT)) < Math.abs(x(best.at) - at * (width - RIGHT)) ? point : best));
    if (near) nodes.push(s("line", { class: "cursor", x1: x(near.at), x2: x(near.at), y1: TOP, y2: HEIGHT - BOTTOM }));
    plot.replaceChildren(...nodes.filter(Boolean));
    told.textContent = near ? `${hour(near.at)}  ${say(near)}` : "";
    values.forEach((value, index) => (value.textContent = last ? format(last.values[index]) : "–"));
    plot.setAttribute("aria-label", last ? `${title}, the last ${Math.round(span / 60_000)} minutes; now ${say(last)}` : `${title}: no figures yet`);
  }

  function say(point) {
    return series.map(({ name }, index) => `${name} ${format(point.values[index])}`).join(", ");
  }

  return { figure, draw };
}

/** The lines across, each with its value. */
function rows(most, y, format, width) {
  return [0, 0.5, 1].flatMap((share) => [
    s("line", { class: share ? "grid" : "grid base", x1: 0, x2: width - RIGHT, y1: y(most * share), y2: y(most * share) }),
    s("text", { class: "tick", x: width - RIGHT + 6, y: y(most * share) + 4 }, share ? format(most * share) : "0"),
  ]);
}

/** The minutes below. */
function columns(span, x, end) {
  const minutes = Math.round(span / 60_000);
  return Array.from({ length: minutes + 1 }, (_, back) => {
    const when = end - back * 60_000;
    const anchor = back === 0 ? "end" : back === minutes ? "start" : "middle";
    return s("text", { class: "tick", x: x(when), y: HEIGHT - 5, "text-anchor": anchor }, back ? `−${back} min` : "now");
  });
}

/** Stretches of a series without gaps. */
function runs(points, index) {
  const found = [];
  let run = [];
  for (const { at, values, gap } of points) {
    if (gap || values[index] === null) {
      if (run.length) found.push(run);
      run = [];
    }
    if (values[index] !== null) run.push({ when: at, value: values[index] });
  }
  if (run.length) found.push(run);
  return found;
}

/** The next round number at or above. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((step) => step * power >= value * 0.999) * power;
}
