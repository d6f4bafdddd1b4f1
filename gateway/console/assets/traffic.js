// Traffic as it is now: readings of /metrics every two seconds, kept for five minutes.

import { gateway, metrics } from "./api.js";
import { chart } from "./chart.js";
import { h } from "./dom.js";
import { count, dollars, latency, rate, short } from "./format.js";
import { grown, quantile, reading, since } from "./metrics.js";
import { failed } from "./ui.js";

const EVERY = 2000;
const WINDOW = 300_000;
const SMOOTH = 10_000;

const readings = [];
const perSecond = (value) => (value === null ? "–" : `${rate(value)}/s`);

export function trafficPage(main) {
  return new Traffic(main);
}

class Traffic {
  constructor(main) {
    this.status = h("p", { class: "status", role: "status" });
    this.charts = [
      [chart("Requests", [{ name: "all", kind: "one" }, { name: "failed", kind: "bad" }], perSecond), (now, before, seconds) => [grown(now.requests, before.requests) / seconds, grown(now.errors, before.errors) / seconds]],
      [chart("Latency", [{ name: "p95", kind: "two" }, { name: "p50", kind: "one" }], latency, "from request to end of reply"), (now, before) => {
        const grew = since(now.buckets, before.buckets);
        return [quantile(grew, 0.95), quantile(grew, 0.5)];
      }],
      [chart("Tokens", [{ name: "in", kind: "one" }, { name: "out", kind: "two" }], perSecond), (now, before, seconds) => [grown(now.input, before.input) / seconds, grown(now.output, before.output) / seconds]],
      [chart("Turns of sessions", [{ name: "resumed", kind: "one" }, { name: "new", kind: "two" }], perSecond), (now, before, seconds) => [grown(now.remembered, before.remembered) / seconds, grown(now.begun, before.begun) / seconds]],
      [chart("In progress", [{ name: "requests", kind: "one" }], rate), (now) => [now.active]],
      [chart("Failures", [{ name: "of all requests", kind: "bad" }], (value) => (value === null ? "–" : `${(value * 100).toFixed(value && value < 0.1 ? 1 : 0)} %`)), (now, before) => {
        const all = grown(now.requests, before.requests);
        return [all ? grown(now.errors, before.errors) / all : null];
      }],
    ];
    this.sums = h("dl", { class: "sums" });
    this.table = h("tbody");
    this.problem = h("div");
    main.append(
      h("div", { class: "titled" }, h("h1", null, "Traffic"), this.status),
      this.problem, this.sums,
      h("div", { class: "charts" }, this.charts.map(([{ figure }]) => figure)),
      h("section", { class: "card", "aria-labelledby": "targets" }, h("h2", { id: "targets" }, "By model and provider"),
        h("div", { class: "wide-table", tabindex: "0", role: "group", "aria-labelledby": "targets" },
          h("table", null, h("thead", null, h("tr", null, ["Model", "Provider"].map((name) => h("th", { scope: "col" }, name)),
            ["Requests", "a second", "Failed", "p50", "p95", "Cost"].map((name) => h("th", { scope: "col", class: "number" }, name)))), this.table))));
    this.timer = setInterval(() => this.tick(), EVERY);
    this.tick();
  }

  show() {}

  close() {
    clearInterval(this.timer);
    this.busy?.abort();
    this.closed = true;
  }

  refresh() {
    this.tick();
  }

  async tick() {
    if (this.busy || document.visibilityState === "hidden") return;
    this.busy = new AbortController();
    try {
      const [text, stats] = await Promise.all([metrics(this.busy.signal), this.statistics()]);
      this.stats = stats;
      readings.push(reading(text, Date.now()));
      while (readings[0].at < Date.now() - WINDOW - SMOOTH) readings.shift();
      if (this.closed) return;
      this.problem.replaceChildren();
      this.draw();
    } catch (error) {
      if (error.name === "AbortError" || this.closed) return;
      if (!this.problem.childElementCount) this.problem.replaceChildren(failed(error));
      this.status.textContent = "";
    } finally {
      this.busy = null;
    }
  }

  /** Figures of the store, less often than the others: they are read from it. */
  async statistics() {
    if (this.asked > Date.now() - 10_000) return this.stats;
    this.asked = Date.now();
    return gateway.stats(this.busy.signal).catch(() => null);
  }

  draw() {
    const last = readings.at(-1);
    const span = Math.min(WINDOW, Math.max(60_000, last.at - readings[0].at));
    for (const [{ draw }, value] of this.charts) draw(points(value), span);
    this.status.textContent = readings.length < 2 ? "Waiting for a second reading…" : "Live, every 2 s";
    const active = this.stats?.sessions?.active;
    const cost = this.stats?.traffic?.total?.cost;
    const sums = [
      ["Sessions alive", active === null || active === undefined ? null : `about ${short(active)}`], ["Requests", short(last.requests)], ["Failed", short(last.errors)],
      ["Fail-overs", short(last.failovers)], ["Tokens in", short(last.input)], ["Tokens out", short(last.output)],
      ["Cost", cost === null || cost === undefined ? null : dollars(cost)], ["Without memory", last.stateless ? short(last.stateless) : null],
    ].filter(([, value]) => value !== null);
    this.sums.replaceChildren(...sums.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
    this.rows(last);
  }

  rows(last) {
    const before = readings.find(({ at }) => at >= last.at - 60_000) ?? last;
    const seconds = (last.at - before.at) / 1000;
    const rows = [...last.targets].map(([key, now]) => {
      const [model, provider] = JSON.parse(key);
      const then = before.targets.get(key);
      return { model, provider, now, speed: seconds ? grown(now.requests, then?.requests ?? 0) / seconds : null };
    }).sort((a, b) => b.now.requests - a.now.requests);
    const cells = rows.map(({ model, provider, now, speed }) => h("tr", null,
      h("th", { scope: "row" }, model || h("span", { class: "faint" }, "unknown")), h("td", null, provider || h("span", { class: "faint" }, "none served")),
      h("td", { class: "number" }, count(now.requests)), h("td", { class: "number" }, rate(speed)),
      h("td", { class: `number ${now.errors ? "bad" : ""}` }, now.errors ? `${count(now.errors)} (${((now.errors / now.requests) * 100).toFixed(1)} %)` : "0"),
      h("td", { class: "number" }, latency(quantile(now.buckets, 0.5))), h("td", { class: "number" }, latency(quantile(now.buckets, 0.95))),
      h("td", { class: "number" }, now.cost === null ? h("span", { class: "faint" }, provider ? "unknown" : "–") : dollars(now.cost))));
    this.table.replaceChildren(...(cells.length ? cells : [h("tr", null, h("td", { colspan: 8, class: "faint" }, "No requests yet."))]));
  }
}

/** Each reading against the one about ten seconds before: calmer curves, and enough for a quantile. */
function points(value) {
  const found = [];
  for (let index = 1; index < readings.length; index += 1) {
    const now = readings[index];
    const gap = now.at - readings[index - 1].at > 4 * EVERY;
    let from = index - 1;
    while (from > 0 && now.at - readings[from - 1].at <= SMOOTH) from -= 1;
    const before = readings[from];
    if (now.at - before.at > 6 * EVERY) found.push({ at: now.at, values: value(now, now, 1).map(() => null), gap });
    else found.push({ at: now.at, values: value(now, before, (now.at - before.at) / 1000), gap });
  }
  return found.filter(({ at }) => at >= readings.at(-1).at - WINDOW);
}
