// Providers: whether they are well, how they do, and what an operator can do about it.

import { providers } from "./api.js";
import { button, h, icon } from "./dom.js";
import { count, latency, span } from "./format.js";
import { dialog, empty, failed, toast } from "./ui.js";

const EVERY = 3000;
const STATES = { ready: "Ready", degraded: "Degraded", cooling: "Cooling down", disabled: "Disabled" };

const share = (part) => `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;

export function providersPage(main) {
  return new Providers(main);
}

class Providers {
  constructor(main) {
    this.status = h("p", { class: "status", role: "status" });
    this.cards = h("div", { class: "cards" });
    this.drawn = new Map();
    main.append(h("div", { class: "titled" }, h("h1", null, "Providers"), this.status), this.cards);
    this.timer = setInterval(() => document.visibilityState === "visible" && this.load(), EVERY);
    this.load();
  }

  show() {}

  close() {
    clearInterval(this.timer);
    this.closed = true;
  }

  refresh() {
    this.load();
  }

  async load() {
    if (this.loading) return;
    this.loading = true;
    try {
      const told = await providers.list();
      if (!this.closed) this.draw(told.providers);
    } catch (error) {
      if (!this.closed) this.cards.replaceChildren(failed(error, () => this.load()));
      this.drawn.clear();
    } finally {
      this.loading = false;
    }
  }

  draw(every) {
    const unwell = every.filter(({ state }) => state !== "ready").length;
    const text = `${every.length - unwell} of ${every.length} ready`;
    if (this.status.textContent !== text) this.status.textContent = text;
    if (!every.length) {
      this.cards.replaceChildren(empty("No providers", "The configuration names none."));
      return;
    }
    const focused = document.activeElement?.closest?.(".provider")?.dataset.name;
    const act = document.activeElement?.dataset?.act;
    // A card that did not change stays as it is, with the focus in it.
    const cards = every.map((one) => {
      const version = JSON.stringify(one);
      const before = this.drawn.get(one.name);
      if (before?.version === version) return before.card;
      const card = this.card(one);
      this.drawn.set(one.name, { version, card });
      return card;
    });
    if (cards.length !== this.cards.childElementCount || cards.some((card, index) => this.cards.children[index] !== card)) this.cards.replaceChildren(...cards);
    if (focused && act) this.drawn.get(focused)?.card.querySelector(`[data-act="${act}"]`)?.focus({ preventScroll: true });
  }

  card(one) {
    const cooling = one.credentials.flatMap((credential) => credential.cool_downs.map((cool) => ({ ...cool, credential: credential.id })));
    const off = one.state === "disabled";
    const failures = Object.entries(one.outcomes ?? {}).filter(([name]) => name !== "served");
    const facts = [
      ["In flight", count(one.in_flight)], ["Attempts", count(one.attempts)],
      ["Failed", one.errors ? [count(one.errors), h("small", null, ` ${share(one.errors / one.attempts)}`)] : "0"],
      ["p50", latency(one.latency.p50)], ["p95", latency(one.latency.p95)],
    ];
    return h("article", { class: `card provider ${one.state}`, "data-name": one.name, "aria-label": one.name },
      h("header", null,
        h("div", { class: "named" }, h("h2", null, one.name), h("span", { class: `state ${one.state}` }, STATES[one.state] ?? one.state)),
        h("div", { class: "actions" },
          button("Reset", { icon: "refresh", "data-act": "reset", disabled: !cooling.length, "aria-label": `Reset the cool-downs of ${one.name}`, title: "Forget its cool-downs, on every worker" }, () => this.act("reset", one)),
          off ? button("Enable", { "data-act": "turn", "aria-label": `Enable ${one.name}` }, () => this.act("enable", one))
            : button("Disable", { "data-act": "turn", "aria-label": `Disable ${one.name}` }, () => this.disable(one)))),
      h("p", { class: "dotted" }, h("span", null, one.kind), h("span", { class: "mono" }, one.base_url), one.models.length > 0 && h("span", null, one.models.join(", "))),
      h("dl", { class: "sums" }, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      cooling.length > 0 && h("ul", { class: "cool-downs", "aria-label": "Cool-downs" }, cooling.map((cool) => h("li", null, icon("clock"),
        h("span", null, h("b", null, cool.credential), ` ${cool.model ?? "all models"}`), h("span", { class: "tag warn" }, cool.reason.replaceAll("_", " ")),
        h("span", { class: "faint" }, cool.seconds > 0 ? `for ${span(cool.seconds)} more` : cool.probing ? "being tried" : "tried by the next request", cool.level > 0 && `, ${cool.level + 1} in a row`)))),
      failures.length > 0 && h("p", { class: "faint small" }, "Failures: ", failures.map(([name, number]) => `${name.replaceAll("_", " ")} ${count(number)}`).join(", ")),
      one.credentials.length > 1 && h("p", { class: "faint small" }, "Credentials: ", one.credentials.map(({ id, in_flight }) => `${id} (${in_flight} in flight)`).join(", ")));
  }

  async act(verb, one) {
    const done = { reset: "Cool-downs reset", enable: "Enabled", disable: "Disabled" }[verb];
    try {
      await providers[verb](one.name);
      toast(`${done}: ${one.name}.`);
    } catch (error) {
      toast(error.message, { error: true });
    }
    await this.load();
  }

  disable(one) {
    dialog(`Disable ${one.name}?`, h("p", null, "No more requests go there, from any worker, until it is enabled. Those under way go on."), {
      action: "Disable", kind: "danger", submit: async () => {
        await providers.disable(one.name);
        toast(`Disabled: ${one.name}.`);
        await this.load();
      },
    });
  }
}
