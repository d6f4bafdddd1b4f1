// Client keys: who may ask for what, how much, and what it has cost.

import { gateway, keys } from "./api.js";
import { button, h, icon, s } from "./dom.js";
import { count, dollars, many, moment, short } from "./format.js";
import { dialog, empty, failed, field, toast } from "./ui.js";

const MODES = { history: "remembered", affinity: "affinity only", off: "none" };
const LIMITS = [
  ["requests_per_minute", "Requests a minute", (value) => `${short(value)} requests/min`],
  ["tokens_per_minute", "Tokens a minute", (value) => `${short(value)} tokens/min`],
  ["concurrency", "At once", (value) => `${short(value)} at once`],
  ["dollars_per_day", "Dollars a day", (value) => `${dollars(value)} a day`],
  ["dollars_per_month", "Dollars a month", (value) => `${dollars(value)} a month`],
];

export function keysPage(main) {
  return new Keys(main);
}

class Keys {
  constructor(main) {
    this.closing = new AbortController();
    this.status = h("p", { class: "status", role: "status" });
    this.body = h("div", { class: "sections" }, h("p", { class: "status" }, "Looking…"));
    main.append(h("div", { class: "titled" }, h("h1", null, "Client keys"), this.status,
      button("New key", { icon: "keys", kind: "primary" }, () => this.make())), this.body);
    this.load();
  }

  show() {}

  close() {
    this.closing.abort();
  }

  refresh() {
    this.load();
  }

  async load() {
    try {
      const { signal } = this.closing;
      const [{ keys: every }, stats, { config }] = await Promise.all([keys.list(signal), gateway.stats(signal).catch(() => null), gateway.config(signal)]);
      this.draw(every, stats?.traffic?.owners ?? {}, config.auth?.mode === "none");
    } catch (error) {
      if (error.name === "AbortError") return;
      this.status.textContent = "";
      this.body.replaceChildren(failed(error, () => this.load()));
    }
  }

  draw(every, owners, open) {
    const valid = every.filter(({ revoked_at }) => !revoked_at);
    const gone = every.filter(({ revoked_at }) => revoked_at);
    this.status.textContent = every.length ? `${many(valid.length, "key")} in force` : "";
    this.body.replaceChildren(...[
      open && h("p", { class: "card notice-line" }, icon("warn"), h("span", null, "auth.mode is none: whoever reaches this gateway may use it, and no key is asked for.")),
      valid.length ? h("ul", { class: "keys-list", "aria-label": "Keys in force" }, valid.map((key) => this.row(key)))
        : empty("No client keys", open ? "None is needed, as auth.mode says." : "Whoever reaches this gateway may use it. The first key that is made closes it to everybody without one.",
          button("Make the first key", { icon: "keys", kind: "primary" }, () => this.make())),
      spending(owners),
      gone.length > 0 && h("details", { class: "card gone" }, h("summary", null, `Revoked (${gone.length})`),
        h("ul", { class: "keys-list", "aria-label": "Revoked keys" }, gone.map((key) => this.row(key)))),
    ].filter(Boolean));
  }

  row(key) {
    const limits = LIMITS.filter(([name]) => key.limits[name] && !(key.spent && name.startsWith("dollars"))).map(([name, , said]) => said(key.limits[name]));
    const made = key.source === "configuration" ? "in the configuration" : `made ${moment(key.created_at)}`;
    return h("li", { class: `card key ${key.revoked_at ? "revoked" : ""}`, "aria-label": key.id },
      h("div", { class: "named" }, h("h2", { class: "mono" }, key.id),
        h("p", { class: "dotted" }, h("span", null, "owner ", h("a", { href: `#/sessions?f.owner=${encodeURIComponent(key.owner)}` }, h("bdi", null, key.owner))), h("span", null, key.revoked_at ? `revoked ${moment(key.revoked_at)}` : made))),
      h("dl", { class: "sums" },
        pair("Models", key.models.length === 1 && key.models[0] === "*" ? "all" : key.models.join(", ")),
        pair("Sessions", MODES[key.sessions] ?? key.sessions),
        pair("Limits", limits.length ? limits.map((said) => h("span", null, said)) : "none"),
        key.spent && pair("Spent", [spent("today", key.spent.day, key.limits.dollars_per_day), spent("this month", key.spent.month, key.limits.dollars_per_month)])),
      !key.revoked_at && key.source !== "configuration" && h("div", { class: "actions" },
        button("Revoke", { kind: "danger", "aria-label": `Revoke ${key.id}` }, () => this.revoke(key))));
  }

  make() {
    const id = h("input", { type: "text", required: true, pattern: "[A-Za-z0-9_.\\-]{1,64}", autocomplete: "off", spellcheck: "false", autofocus: true });
    const owner = h("input", { type: "text", maxlength: 256, autocomplete: "off", spellcheck: "false", placeholder: "the name" });
    const models = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "all" });
    const mode = h("select", null, h("option", { value: "history" }, "Remembered"), h("option", { value: "affinity" }, "Affinity only: nothing is stored"), h("option", { value: "off" }, "None"));
    const limits = LIMITS.map(([name, label]) => [name, label, h("input", { type: "number", min: 0, step: name.startsWith("dollars") ? "any" : 1, placeholder: "no limit" })]);
    dialog("New client key", [
      h("div", { class: "two" }, field("Name", id, "Appears in logs, never the key itself."), field("Owner", owner, "Whose the sessions are.")),
      h("div", { class: "two" }, field("Models", models, "Patterns, such as gpt-*, claude-*."), field("Sessions", mode)),
      h("fieldset", null, h("legend", null, "Limits"), limits.map(([, label, input]) => field(label, input))),
    ], { action: "Make the key", wide: true, submit: async () => {
      const given = limits.filter(([, , input]) => input.valueAsNumber > 0).map(([name, , input]) => [name, input.valueAsNumber]);
      const patterns = models.value.split(/[\s,]+/).filter(Boolean);
      const made = await keys.make({
        id: id.value, owner: owner.value, sessions: mode.value, limits: Object.fromEntries(given), ...(patterns.length ? { models: patterns } : {}),
      });
      this.load();
      once(made);
    } });
  }

  revoke(key) {
    dialog(`Revoke ${key.id}?`, h("p", null, "Every worker refuses it within a second, for good. The sessions of ", h("bdi", null, key.owner), " stay."), {
      action: "Revoke", kind: "danger", submit: async () => {
        await keys.revoke(key.id);
        toast(`${key.id} is revoked.`);
        await this.load();
      },
    });
  }
}

const pair = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));

function spent(when, sum, budget) {
  return h("span", { class: "spent" }, h("span", null, budget > 0 ? `${dollars(sum, 2)} of ${dollars(budget, 2)} ${when}` : `${dollars(sum, 2)} ${when}`), budget > 0 && bar(sum / budget, true));
}

/** How much of a whole; what `warns` changes its colour near the end. The number stands beside it. */
function bar(share, warns = false) {
  const full = Math.min(1, share);
  const kind = warns && full >= 1 ? "full" : warns && full >= 0.8 ? "near" : "";
  return s("svg", { class: `share ${kind}`, "aria-hidden": "true" }, s("rect", { class: "whole", width: "100%", height: "100%", rx: 3 }), full > 0 && s("rect", { class: "part", width: `${Math.max(2, full * 100).toFixed(1)}%`, height: "100%", rx: 3 }));
}

/** The key itself, which is not to be had again. */
function once({ id, key }) {
  const shown = h("input", { type: "text", readonly: true, class: "mono", value: key, "aria-label": "The key", autofocus: true, on: { focus: () => shown.select() } });
  const copy = navigator.clipboard && button("Copy", { icon: "copy", kind: "primary" }, () => navigator.clipboard.writeText(key).then(() => (copy.lastElementChild.textContent = "Copied"), () => shown.select()));
  dialog(`The key of ${id}`, [
    h("div", { class: "once" }, shown, copy),
    h("p", { class: "notice-line" }, icon("warn"), h("span", null, "It is shown this once: the gateway keeps only its hash. Put it where it is needed before you close this.")),
  ], { wide: true });
}

/** What owners' requests have cost since the gateway started. */
function spending(owners) {
  const rows = Object.entries(owners).sort(([, a], [, b]) => (b.cost ?? 0) - (a.cost ?? 0));
  if (!rows.length) return null;
  const most = Math.max(...rows.map(([, { cost }]) => cost ?? 0));
  return h("section", { class: "card", "aria-labelledby": "spending" }, h("div", { class: "titled" }, h("h2", { id: "spending" }, "Spending by owner"), h("p", { class: "status" }, "since the gateway started")),
    h("div", { class: "wide-table", tabindex: "0", role: "group", "aria-labelledby": "spending" }, h("table", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Owner"), h("th", { scope: "col", class: "number" }, "Cost"), h("td", null), h("th", { scope: "col", class: "number" }, "Requests of unknown price"))),
      h("tbody", null, rows.map(([owner, { cost, unpriced }]) => h("tr", null,
        h("th", { scope: "row" }, h("a", { href: `#/sessions?f.owner=${encodeURIComponent(owner)}` }, h("bdi", null, owner))),
        h("td", { class: "number" }, cost === null ? h("span", { class: "faint" }, "unknown") : dollars(cost)),
        h("td", { class: "shared" }, cost > 0 && bar(cost / most)),
        h("td", { class: "number" }, unpriced ? count(unpriced) : h("span", { class: "faint" }, "0"))))))));
}
