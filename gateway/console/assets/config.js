// What is in force: the configuration without its secrets, and the models.

import { gateway } from "./api.js";
import { button, h } from "./dom.js";
import { short } from "./format.js";
import { failed } from "./ui.js";

export function configPage(main) {
  const body = h("div", { class: "sections" });
  const stop = new AbortController();
  main.append(h("div", { class: "titled" }, h("h1", null, "Config"), h("p", { class: "status" }, "In force now; secrets are left out"), button("Refresh", { icon: "refresh", quiet: true, key: "r" }, load)), body);

  async function load() {
    try {
      const [{ config }, { models }] = await Promise.all([gateway.config(stop.signal), gateway.models(stop.signal)]);
      body.replaceChildren(targets(models), ...Object.entries(config).map(([name, value]) => section(name, value)));
    } catch (error) {
      if (error.name !== "AbortError") body.replaceChildren(failed(error, load));
    }
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
    h("div", { class: "wide-table", tabindex: "0", role: "region", "aria-labelledby": "models" }, h("table", null, h("thead", null, h("tr", null,
      ["Model", "Provider", "Upstream model", "Credential"].map((name) => h("th", { scope: "col" }, name)), ["Priority", "Weight"].map((name) => h("th", { scope: "col", class: "number" }, name)), h("th", { scope: "col" }, "State"))),
    groups)));
}

function section(name, value) {
  return h("section", { class: "card", "aria-labelledby": `section-${name}` }, h("h2", { id: `section-${name}` }, name), tree(value));
}

function tree(value) {
  if (value === null || typeof value !== "object") return leaf(value);
  const entries = Array.isArray(value) ? value.map((item, index) => [String(item?.id || item?.provider || index + 1), item]) : Object.entries(value);
  if (!entries.length) return h("span", { class: "faint" }, "none");
  if (Array.isArray(value) && value.every((item) => item === null || typeof item !== "object")) return h("span", { class: "mono" }, value.map(String).join(", "));
  return h("dl", { class: "tree" }, entries.map(([key, inner]) => h("div", { class: inner !== null && typeof inner === "object" ? "deep" : "" }, h("dt", null, key), h("dd", null, tree(inner)))));
}

function leaf(value) {
  if (value === null || value === "") return h("span", { class: "faint" }, "not set");
  if (value === "***") return h("span", { class: "hidden-value", title: "A secret" }, "•••");
  return h("span", { class: `mono ${typeof value}` }, String(value));
}
