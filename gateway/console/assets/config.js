// What is in force: the configuration without its secrets, and the models.

import { gateway } from "./api.js";
import { button, h } from "./dom.js";
import { bytes, short, span } from "./format.js";
import { failed, toast } from "./ui.js";

// The configuration says seconds and bytes; which of its numbers are which, their names tell.
const SECONDS = /(^|_)(ttl|age|timeout|grace|delay|deadline|keepalive|refresh|idle|connect|first_event|reply|retry_after|half_life|period|life|interval)$/;
const BYTES = /(^|_)(bytes|body)$/;
const OUTCOMES = { applied: "The configuration was read again and is in force.", unchanged: "Nothing has changed." };

export function configPage(main) {
  const body = h("div", { class: "sections" });
  const stop = new AbortController();
  main.append(h("div", { class: "titled" }, h("h1", null, "Config"), h("p", { class: "status" }, "In force now; secrets are left out"),
    button("Read it again", { icon: "refresh", title: "Read the file again, on this worker now and on the others by themselves" }, reload)), body);

  async function load() {
    try {
      const [{ config }, { models }] = await Promise.all([gateway.config(stop.signal), gateway.models(stop.signal)]);
      const sections = Object.entries(config).filter(([name]) => name !== "models").map(([name, value]) => section(name, value));
      body.replaceChildren(targets(models), h("div", { class: "columns" }, sections), "models" in config && section("models", config.models));
    } catch (error) {
      if (error.name !== "AbortError") body.replaceChildren(failed(error, load));
    }
  }

  async function reload() {
    try {
      const { outcome, message } = await gateway.reload();
      toast(OUTCOMES[outcome] ?? message, { error: !(outcome in OUTCOMES) });
    } catch (error) {
      toast(error.message, { error: true });
    }
    await load();
  }

  load();
  return { show() {}, refresh: load, close: () => stop.abort() };
}

function targets(models) {
  const groups = models.map(({ name, context_tokens, targets: ways }) => h("tbody", null, ways.map((way, index) => h("tr", null,
    index === 0 && h("th", { scope: "rowgroup", rowspan: ways.length }, name, context_tokens > 0 && h("span", { class: "faint" }, ` ${short(context_tokens)} tokens`)),
    h("td", null, way.provider), h("td", { class: "mono" }, way.model), h("td", { class: "mono" }, way.credential),
    h("td", { class: "number" }, way.priority), h("td", { class: "number" }, way.weight),
    h("td", null, h("span", { class: `state ${way.ready ? "ready" : "cooling"}` }, way.ready ? "Ready" : "Not ready"))))));
  return h("section", { class: "card", "aria-labelledby": "models" }, h("h2", { id: "models" }, "Models"),
    h("div", { class: "wide-table", tabindex: "0", role: "group", "aria-labelledby": "models" }, h("table", null, h("thead", null, h("tr", null,
      ["Model", "Provider", "Upstream model", "Credential"].map((name) => h("th", { scope: "col" }, name)), ["Priority", "Weight"].map((name) => h("th", { scope: "col", class: "number" }, name)), h("th", { scope: "col" }, "State"))),
    groups)));
}

function section(name, value) {
  return h("section", { class: "card", "aria-labelledby": `section-${name}` }, h("h2", { id: `section-${name}` }, name), tree(value));
}

/** Whether a value takes lines of its own. */
function isDeep(value) {
  if (value === null || typeof value !== "object") return false;
  const inner = Object.values(value);
  return inner.length > 0 && !(Array.isArray(value) && inner.every((item) => item === null || typeof item !== "object"));
}

function tree(value, name = "") {
  if (value === null || typeof value !== "object") return leaf(value, name);
  const entries = Array.isArray(value) ? value.map((item, index) => [String(item?.id || item?.provider || index + 1), item]) : Object.entries(value);
  if (!entries.length) return h("span", { class: "faint" }, "none");
  if (Array.isArray(value) && value.every((item) => item === null || typeof item !== "object")) return h("span", { class: "mono" }, value.map(String).join(", "));
  return h("dl", { class: "tree" }, entries.map(([key, inner]) => h("div", { class: isDeep(inner) ? "deep" : "" }, h("dt", null, key), h("dd", null, tree(inner, key)))));
}

function leaf(value, name) {
  if (value === null || value === "") return h("span", { class: "faint" }, "not set");
  if (value === "***") return h("span", { class: "hidden-value", title: "A secret" }, "•••");
  if (typeof value === "number" && SECONDS.test(name)) return h("span", { class: "mono number", title: `${value} seconds` }, value < 1 && value > 0 ? `${value * 1000} ms` : value < 120 ? `${value} s` : span(value));
  if (typeof value === "number" && BYTES.test(name) && value >= 1024) return h("span", { class: "mono number", title: `${value} bytes` }, bytes(value));
  return h("span", { class: `mono ${typeof value}` }, String(value));
}
