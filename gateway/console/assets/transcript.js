// One session as a conversation, its newest turns first in sight, older ones on demand.

import { sessions } from "./api.js";
import { button, h, icon } from "./dom.js";
import { ago, count, dollars, hour, latency, many, moment, short, until } from "./format.js";
import { contentOf } from "./parts.js";
import { dialog, failed, field, formatted, save, setFormatted, toast } from "./ui.js";

const PAGE = 40;
const WHO = { user: "User", assistant: "Model", system: "System", tool: "Tool" };
const LIVES = [["3600", "1 hour"], ["86400", "1 day"], ["604800", "7 days"], ["2592000", "30 days"], ["31536000", "1 year"]];

/** Shows `session` in `pane`. `host` is told what becomes of it, and knows the way back. */
export function transcript(pane, session, host) {
  const view = new Transcript(pane, session, host);
  view.begin();
  return view;
}

class Transcript {
  constructor(pane, session, host) {
    Object.assign(this, { pane, session, host });
    this.closing = new AbortController();
    this.lines = new Map();
    this.whole = null;
  }

  close() {
    this.closing.abort();
  }

  async begin() {
    this.pane.replaceChildren(h("p", { class: "status loading", role: "status" }, "Opening…"));
    try {
      const known = this.host.known;
      const turn = known && known.last_turn >= known.first_turn ? this.newest(known) : null;
      await this.read(turn, PAGE);
      if (turn === null && this.whole.last_turn - this.whole.first_turn >= PAGE) {
        this.lines.clear();
        await this.read(this.newest(this.whole), PAGE);
      }
    } catch (error) {
      this.sorry(error);
      return;
    }
    this.host.found(this.whole);
    this.draw();
    this.toEnd();
    this.title.focus({ preventScroll: true });
  }

  low() {
    return this.body.scrollHeight - this.body.scrollTop - this.body.clientHeight < 80;
  }

  toEnd() {
    this.body.scrollTop = this.body.scrollHeight;
  }

  newest({ first_turn, last_turn }) {
    return Math.max(1, first_turn, last_turn - PAGE + 1);
  }

  async read(turn, limit) {
    const told = await sessions.read(this.session, { turn, limit }, this.closing.signal);
    this.session = { id: told.id, owner: told.owner, user: told.user };
    for (const number of new Set(told.messages.map((line) => line.turn))) this.lines.set(number, []);
    for (const line of told.messages) this.lines.get(line.turn).push(line);
    const { messages, next, ...whole } = told;
    this.whole = whole;
    for (const number of this.lines.keys()) {
      if (number < whole.first_turn || number > whole.last_turn) this.lines.delete(number);
    }
  }

  sorry(error) {
    if (error.name === "AbortError") return;
    const back = button("Back", { icon: "back", class: "button back" }, () => this.host.back());
    if (error.code === "ambiguous_session") {
      const owners = error.more.owners ?? [];
      this.pane.replaceChildren(back, h("div", { class: "empty" }, h("h2", { tabindex: "-1" }, "Several owners have a session of this id"),
        h("ul", null, owners.map((one) => h("li", null, h("a", { href: this.host.address({ ...this.session, ...one }) }, h("bdi", null, one.owner), one.user && [" / ", h("bdi", null, one.user)]))))));
    } else if (error.status === 404) {
      this.pane.replaceChildren(back, h("div", { class: "empty", role: "alert" }, icon("sessions"), h("h2", null, "There is no such session"), h("p", null, "It has ended, or it was deleted.")));
    } else {
      this.pane.replaceChildren(back, failed(error, () => this.begin()));
    }
  }

  // -------------------------------------------------------------- drawing

  draw() {
    this.body = h("div", { class: "talk", tabindex: "0", role: "region", "aria-label": "Conversation" });
    // Images arrive late: who reads the end stays there.
    let atEnd = true;
    this.body.addEventListener("scroll", () => (atEnd = this.low()));
    this.body.addEventListener("load", () => atEnd && this.toEnd(), true);
    this.pane.replaceChildren(this.head(), this.body);
    this.fillBody();
  }

  redrawHead() {
    this.pane.firstElementChild.replaceWith(this.head());
  }

  head() {
    const { id, owner, user, metadata: about } = this.whole;
    const dotted = [
      about.last_model && `${about.last_model} at ${about.last_provider}`, many(about.total_turns, "turn"),
      about.total_tokens > 0 && `${short(about.total_tokens)} tokens`, typeof about.cost === "number" && about.cost > 0 && dollars(about.cost), `last used ${ago(this.whole.updated_at)}${ago(this.whole.updated_at) === "now" ? "" : " ago"}`, `ends in ${until(this.whole.expires_at)}`,
    ].filter(Boolean).map((text) => h("span", null, text));
    this.title = h("h2", { class: "id", tabindex: "-1" }, id);
    return h("header", { class: "opened" },
      h("div", { class: "line" },
        button("Back to the list", { icon: "back", quiet: true, class: "button quiet back" }, () => this.host.back()),
        this.title,
        navigator.clipboard && button("Copy the id", { icon: "copy", quiet: true }, () => navigator.clipboard.writeText(id).then(() => toast("Copied."), () => {})),
        h("div", { class: "actions", role: "group", "aria-label": "Session" },
          button("Fork", { icon: "fork", key: "f" }, () => this.fork()),
          button("Pin", { icon: "pin", key: "p" }, () => this.pin()),
          button("Extend", { icon: "clock", key: "e" }, () => this.extend()),
          button("Export", { icon: "save" }, () => this.export()),
          button("Delete", { icon: "trash", key: "Delete", kind: "danger" }, () => this.remove()))),
      h("p", { class: "dotted" }, h("span", null, h("bdi", null, owner), user && [" / ", h("bdi", null, user)]), dotted,
        about.preferred_provider && h("span", { class: "tag pin" }, icon("pin"), `prefers ${about.preferred_provider}`),
        this.replaced() > 0 && h("span", { class: "tag", title: "Turns that a later one took the place of: an edit, a regeneration, a retry" }, `${this.replaced()} replaced`),
        this.whole.first_turn > 1 && h("span", { class: "tag", title: "The oldest turns went for the session's limits" }, `${this.whole.first_turn - 1} trimmed`)),
      h("div", { class: "under" }, this.facts(), this.writtenSwitch()));
  }

  replaced() {
    return Math.max(0, this.whole.metadata.total_turns - this.whole.last_turn);
  }

  facts() {
    const { metadata: about, created_at, updated_at, expires_at, first_turn, last_turn } = this.whole;
    const { usage } = about;
    const context = Object.keys(about.user_context ?? {}).length ? JSON.stringify(about.user_context, null, 2) : null;
    const rows = [
      ["Created", moment(created_at)], ["Last used", moment(updated_at)], ["Ends", moment(expires_at)],
      ["Stored turns", last_turn < first_turn ? "none" : `${first_turn} to ${last_turn}`], ["Messages", count(about.total_messages)],
      ["Tokens in", `${count(usage.input)}, of these ${count(usage.cached)} cached`], ["Tokens out", `${count(usage.output)}, of these ${count(usage.reasoning)} reasoning`],
      typeof about.cost === "number" && ["Cost", `${dollars(about.cost)}${about.unpriced_turns ? `, without ${many(about.unpriced_turns, "turn")} of unknown price` : ""}`],
    ].filter(Boolean);
    return h("details", { class: "facts", open: this.factsOpen, on: { toggle: (event) => (this.factsOpen = event.currentTarget.open) } }, h("summary", null, "Details"),
      h("dl", null, rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      context && h("pre", { tabindex: "0", role: "group", "aria-label": "User context" }, context));
  }

  fillBody() {
    const numbers = [...this.lines.keys()].sort((a, b) => a - b);
    const { first_turn, last_turn, system, preamble } = this.whole;
    const nodes = [];
    if (numbers.length && numbers[0] > first_turn) {
      nodes.push(h("div", { class: "earlier" }, button(`Show earlier turns (${first_turn} to ${numbers[0] - 1})`, {}, () => this.earlier())));
    }
    if (system) nodes.push(h("details", { class: "folded system" }, h("summary", null, icon("text"), h("span", null, "System prompt")), h("div", { class: "inside" }, contentOf(system))));
    if (preamble?.length) {
      nodes.push(h("details", { class: "folded system" }, h("summary", null, icon("text"), h("span", null, `Examples in front, ${many(preamble.length, "message")}`)),
        h("div", { class: "inside" }, preamble.map((line) => this.said(line)))));
    }
    for (const number of numbers) nodes.push(this.turn(number, this.lines.get(number)));
    if (!numbers.length) nodes.push(h("div", { class: "empty" }, h("h2", null, "Nothing was said yet"), h("p", null, "The session has no stored turns.")));
    else if (numbers.at(-1) < last_turn) nodes.push(h("div", { class: "earlier" }, button("Show the newest turns", {}, () => this.refresh())));
    this.body.replaceChildren(...nodes);
  }

  turn(number, lines) {
    const reply = lines.findLast((line) => line.provider || line.role === "assistant");
    const last = lines.at(-1);
    const replaced = reply?.replaced ?? 0;
    const marks = [
      lines.some((line) => line.incomplete) && h("span", { class: "tag warn", title: "The reply was cut short; if the same is asked again, it is replaced" }, icon("warn"), "incomplete"),
      replaced > 0 && h("span", { class: "tag", title: "An edit, a regeneration or a retry: this turn took their place" }, `replaces ${many(replaced, "turn")}`),
    ];
    return h("article", { class: "turn", "aria-label": `Turn ${number}`, "data-turn": number },
      h("header", null, h("span", { class: "number" }, number), h("time", { datetime: lines[0]?.timestamp, title: lines[0] && moment(lines[0].timestamp) }, lines[0] ? hour(lines[0].timestamp) : ""), marks,
        h("span", { class: "acts" },
          button(`Fork after turn ${number}`, { icon: "fork", quiet: true }, () => this.fork(number)),
          button(`Drop turn ${number} and what follows`, { icon: "trash", quiet: true }, () => this.drop(number)))),
      lines.map((line) => this.said(line)),
      h("footer", null, this.meta(reply, last)));
  }

  meta(reply, last) {
    const usage = last?.usage;
    const tokens = usage ? `${short(usage.input)} in${usage.cached ? ` (${short(usage.cached)} cached)` : ""}, ${short(usage.output)} out${usage.reasoning ? ` (${short(usage.reasoning)} reasoning)` : ""}`
      : last?.tokens_used ? `${short(last.tokens_used)} tokens` : "";
    const items = [reply?.model && h("span", null, h("b", null, reply.model), ` ${reply.provider ?? ""}`), tokens && h("span", { title: "Tokens" }, tokens),
      last?.elapsed_ms > 0 && h("span", { title: "From question to end of reply" }, latency(last.elapsed_ms / 1000)),
      typeof last?.cost === "number" && h("span", { title: "Cost" }, dollars(last.cost))];
    return items.filter(Boolean);
  }

  said(line) {
    const nodes = contentOf(line.content, formatted() && line.role === "assistant");
    const onlyTools = Array.isArray(line.content) && line.content.length > 0 && line.content.every(({ type }) => type === "tool_result");
    const who = onlyTools ? "Tools" : WHO[line.role] ?? line.role;
    return h("div", { class: `said ${onlyTools ? "tools" : line.role}` }, h("span", { class: "role" }, who), h("div", { class: "content" }, nodes.length ? nodes : h("p", { class: "none" }, "Nothing")));
  }

  // -------------------------------------------------------------- more of it

  async earlier() {
    const lowest = Math.min(...this.lines.keys());
    const from = Math.max(1, this.whole.first_turn, lowest - PAGE);
    try {
      await this.read(from, lowest - from);
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message, { error: true });
      return;
    }
    const before = this.body.scrollHeight - this.body.scrollTop;
    this.fillBody();
    this.body.scrollTop = this.body.scrollHeight - before;
    this.body.querySelector(".earlier button, .turn .acts button")?.focus({ preventScroll: true });
  }

  async refresh() {
    if (!this.whole) return this.begin();
    const low = this.low();
    try {
      const known = Math.max(...this.lines.keys(), 0);
      await this.read(Math.max(this.whole.first_turn, known - PAGE + 1, 1), 2 * PAGE);
      if (Math.max(...this.lines.keys(), 0) < this.whole.last_turn) {
        this.lines.clear();
        await this.read(this.newest(this.whole), PAGE);
      }
    } catch (error) {
      this.sorry(error);
      return;
    }
    this.redrawHead();
    this.fillBody();
    if (low) this.toEnd();
    this.host.found(this.whole);
  }

  writtenSwitch() {
    return h("button", { class: "switch", type: "button", "aria-pressed": String(!formatted()), "aria-keyshortcuts": "w",
      title: "Replies as they were written, or formatted (w)", on: { click: () => this.toggleFormatted() } }, "As written");
  }

  toggleFormatted() {
    setFormatted(!formatted());
    const low = this.low();
    this.redrawHead();
    this.fillBody();
    if (low) this.toEnd();
  }

  // -------------------------------------------------------------- what an operator does

  /** The session as it is, for as long as it can be taken back; null if it cannot be had. */
  kept() {
    return sessions.export(this.session).catch(() => null);
  }

  /** How to take it back, unless the session has gone on meanwhile: then there is more to lose than to win. */
  undoing(before, left = null) {
    if (before === null) return {};
    const { session, host } = this;
    return { undo: async () => {
      if (left !== null && (await sessions.read(session, { limit: 1 })).last_turn !== left) throw new Error("The session has gone on meanwhile; nothing was changed.");
      await sessions.restore(before, left === null ? "refuse" : "replace");
      host.restored(session);
    } };
  }

  async export() {
    if (!this.whole) return;
    try {
      save(await sessions.export(this.session), `${this.session.id}.jsonl`);
    } catch (error) {
      toast(error.message, { error: true });
    }
  }

  fork(number = this.whole?.last_turn) {
    if (!this.whole) return;
    const { first_turn, last_turn } = this.whole;
    const at = h("input", { type: "number", min: first_turn, max: last_turn, value: number, required: true, autofocus: true });
    const id = h("input", { type: "text", pattern: "[A-Za-z0-9_\\-]{1,128}", autocomplete: "off", spellcheck: "false", placeholder: "made for you" });
    const none = last_turn < first_turn;
    dialog("Fork this session", [
      h("p", null, "A session of its own is made of the turns up to one. This one goes on as it was."),
      !none && field("Up to turn", at, `Turns ${first_turn} to ${last_turn} are stored.`), field("New id", id, "Letters, digits, dashes and underscores."),
    ], { action: "Fork", submit: async () => {
      const made = await sessions.fork(this.session, { ...(none ? {} : { at: at.valueAsNumber }), ...(id.value ? { id: id.value } : {}) });
      toast(`Forked as ${made.id}.`);
      this.host.made(made);
    } });
  }

  pin() {
    if (!this.whole) return;
    const now = this.whole.metadata.preferred_provider;
    const names = [...new Set([...this.host.providers(), now].filter(Boolean))].sort();
    const choice = h("select", { autofocus: true }, h("option", { value: "" }, "None: unpin"), names.map((name) => h("option", { value: name }, name)));
    choice.value = now ?? this.whole.metadata.last_provider ?? names[0] ?? "";
    dialog("Pin this session", [
      h("p", null, "Its next turns prefer this provider while it is well. Prompt caches at another one start cold."), field("Provider", choice),
    ], { action: "Save", submit: () => this.change({ pin: choice.value || null }, choice.value ? `Pinned to ${choice.value}.` : "Unpinned.") });
  }

  extend() {
    if (!this.whole) return;
    const life = h("select", { autofocus: true }, LIVES.map(([value, name]) => h("option", { value }, name)));
    life.value = "604800";
    dialog("Extend this session's life", [
      h("p", null, `It ends in ${until(this.whole.expires_at)}, on ${moment(this.whole.expires_at)}, unless it is used before.`), field("Let it live, from now, for", life),
    ], { action: "Extend", submit: () => this.change({ ttl: Number(life.value) }, "Its life is extended.") });
  }

  async change(body, done) {
    const whole = await sessions.change(this.session, body);
    this.whole = { ...this.whole, ...whole };
    this.redrawHead();
    this.host.changed(whole);
    toast(done);
  }

  drop(number) {
    const { last_turn } = this.whole;
    const dropped = last_turn - number + 1;
    dialog(`Drop ${many(dropped, "turn")}?`, h("p", null, dropped === 1 ? `Turn ${number} is forgotten.` : `Turns ${number} to ${last_turn} are forgotten.`),
      { action: "Drop", kind: "danger", submit: async () => {
        const before = await this.kept();
        const whole = await sessions.dropTurns(this.session, dropped);
        this.whole = { ...this.whole, ...whole };
        for (const one of this.lines.keys()) if (one >= number) this.lines.delete(one);
        this.redrawHead();
        this.fillBody();
        this.host.changed(whole);
        toast(`${many(dropped, "turn")} dropped.`, this.undoing(before, whole.last_turn));
      } });
  }

  remove() {
    if (!this.whole) return;
    const { id, owner, user, metadata: about } = this.whole;
    dialog("Delete this session?", [
      h("p", null, h("code", null, id), " of ", h("bdi", null, owner), user && [" / ", h("bdi", null, user)], ` with ${many(about.total_turns, "turn")} is forgotten at once, on every worker.`),
    ], { action: "Delete", kind: "danger", submit: async () => {
      const before = await this.kept();
      await sessions.remove(this.session);
      toast(`${id} is deleted.`, this.undoing(before));
      this.host.removed(this.session);
    } });
  }
}
