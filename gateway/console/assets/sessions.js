// The list of sessions on one side, the open one on the other.

import { ApiError, keys, providers, sessions } from "./api.js";
import { button, h, icon } from "./dom.js";
import { deleteFound, exportFound } from "./bulk.js";
import { ago, count, dollars, many, moment } from "./format.js";
import { transcript } from "./transcript.js";
import { failed, shortcut } from "./ui.js";

const PAGE = 100;
const ENOUGH = 40;
const FURTHEST = 1000;
const EVERY = 10_000;
const DAY = 86_400;
const AGES = {
  "": ["Any time", {}],
  "1h": ["Last hour", { newer_than: 3600 }],
  "1d": ["Last 24 hours", { newer_than: DAY }],
  "7d": ["Last 7 days", { newer_than: 7 * DAY }],
  "-1d": ["Older than 24 hours", { older_than: DAY }],
  "-7d": ["Older than 7 days", { older_than: 7 * DAY }],
};
const FILTERS = ["q", "owner", "provider", "model", "age"];

let current = null;
const onList = () => current !== null;
shortcut("/", "Search sessions", () => current.search.focus(), onList);
shortcut("j", "Next session", () => current.step(1), onList);
shortcut("k", "Previous session", () => current.step(-1), onList);
shortcut("f", "Fork the open session", () => current.open.fork(), () => current?.open);
shortcut("p", "Pin or unpin the open session", () => current.open.pin(), () => current?.open);
shortcut("e", "Extend the open session's life", () => current.open.extend(), () => current?.open);
shortcut("w", "Replies as written, or formatted", () => current.open.toggleFormatted(), () => current?.open?.whole);
shortcut("Delete", "Delete the open session", () => current.open.remove(), () => current?.open);
shortcut("Escape", "Back to the list", () => current.back(), () => current?.open);

const ID = /^[\w-]{1,128}$/;
const keyOf = (session) => JSON.stringify([session.owner, session.user, session.id]);

export function sessionsPage(main) {
  const view = new SessionsView(main);
  current = view;
  return view;
}

class SessionsView {
  constructor(main) {
    this.main = main;
    this.found = new Map();
    this.rows = new Map();
    this.filters = {};
    this.cursor = null;
    this.looked = 0;
    this.open = null;
    this.openKey = "";
    this.build();
    this.timer = setInterval(() => document.visibilityState === "visible" && this.look(), EVERY);
  }

  close() {
    clearInterval(this.timer);
    this.loading?.abort();
    this.open?.close();
    current = null;
  }

  build() {
    this.search = h("input", { type: "search", placeholder: "Search id, owner, user, model…", "aria-label": "Search sessions",
      "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false", on: { input: () => this.changed(), keydown: (event) => this.inSearch(event) } });
    const known = (name, label) => h("input", { type: "text", placeholder: label, "aria-label": `${label}, exactly`, list: `known-${name}`,
      autocomplete: "off", spellcheck: "false", on: { input: () => this.changed(true) } });
    this.inputs = { q: this.search, owner: known("owner", "Owner"), provider: known("provider", "Provider"), model: known("model", "Model"),
      age: h("select", { "aria-label": "Last used", on: { change: () => this.changed(true) } },
        Object.entries(AGES).map(([value, [label]]) => h("option", { value }, label))) };
    this.lists = Object.fromEntries(["owner", "provider", "model"].map((name) => [name, h("datalist", { id: `known-${name}` })]));
    this.names = { owner: new Set(), provider: new Set(), model: new Set() };
    this.clear = button("Clear filters", { kind: "plain", hidden: true }, () => this.reset());
    this.bulk = h("div", { class: "bulk", hidden: true },
      button("Export these", { kind: "plain" }, () => exportFound(this.query())),
      button("Delete these…", { kind: "plain danger" }, () => deleteFound(this.query(), () => this.load())));
    const { owner, provider, model, age } = this.inputs;
    this.more = h("div", { class: "more" });
    this.list = h("ul", { class: "rows", "aria-label": "Sessions", on: { keydown: (event) => this.inList(event) } });
    this.status = h("p", { class: "status", role: "status", "aria-live": "polite" });
    this.side = h("section", { class: "side", "aria-labelledby": "list-title" },
      h("div", { class: "find" },
        h("div", { class: "titled" }, h("h1", { id: "list-title" }, "Sessions"), this.status, button("Refresh", { icon: "refresh", quiet: true, key: "r" }, () => this.refresh())),
        h("div", { class: "search" }, icon("search"), this.search),
        h("div", { class: "filters", role: "group", "aria-label": "Filters" }, owner, provider, model, age, h("div", { class: "found" }, this.clear, this.bulk)), Object.values(this.lists)),
      h("div", { class: "scroll" }, this.list, this.more));
    this.pane = h("section", { class: "pane", "aria-label": "Transcript" });
    this.main.append(this.side, this.pane);
    providers.list().then((told) => told.providers.forEach(({ name }) => this.know("provider", name)), () => {});
    keys.list().then((told) => told.keys.forEach(({ owner }) => this.know("owner", owner)), () => {});
  }

  // -------------------------------------------------------------- where one is

  show({ id, query }) {
    const wanted = Object.fromEntries(FILTERS.map((name) => [name, query.get(`f.${name}`) ?? ""]));
    if (!(wanted.age in AGES)) wanted.age = "";
    if (!this.started || FILTERS.some((name) => wanted[name] !== this.filters[name])) {
      this.filters = wanted;
      for (const name of FILTERS) this.inputs[name].value = wanted[name];
      this.load();
    }
    this.started = true;
    const session = id ? { id, owner: query.get("owner") ?? undefined, user: query.get("user") ?? undefined } : null;
    this.showSession(session);
  }

  address(session = null) {
    const query = new URLSearchParams();
    if (session?.owner !== undefined) query.set("owner", session.owner);
    if (session?.user !== undefined) query.set("user", session.user);
    for (const name of FILTERS) if (this.filters[name]) query.set(`f.${name}`, this.filters[name]);
    const text = query.toString();
    return `#/sessions${session ? `/${encodeURIComponent(session.id)}` : ""}${text && `?${text}`}`;
  }

  showSession(session) {
    const key = session ? keyOf(session) : "";
    if (key === this.openKey && this.pane.childElementCount) return;
    this.openKey = key;
    this.open?.close();
    this.open = null;
    this.main.classList.toggle("reading", session !== null);
    if (session === null) {
      this.pane.replaceChildren(h("div", { class: "empty" }, icon("sessions"), h("h2", null, "No session is open"),
        h("p", null, "Choose one to read what was said. ", h("kbd", null, "j"), " and ", h("kbd", null, "k"), " go through the list, ", h("kbd", null, "?"), " shows all keys.")));
    } else {
      this.open = transcript(this.pane, session, {
        known: this.found.get(key),
        providers: () => [...this.names.provider],
        back: () => this.back(),
        found: (whole) => this.sharpen(whole),
        changed: (whole) => { this.keep(whole); this.draw(); },
        made: (whole) => { this.keep(whole, true); this.draw(); location.hash = this.address(whole); },
        removed: (gone) => { this.found.delete(keyOf(gone)); this.draw(); this.back(); },
        restored: (one) => this.restored(one),
        address: (one) => this.address(one),
      });
    }
    this.mark();
  }

  /** An address may leave the owner out; once it is known, it says it. */
  sharpen(whole) {
    if (keyOf(whole) !== this.openKey) {
      this.openKey = keyOf(whole);
      history.replaceState(null, "", this.address(whole));
    }
    if (this.found.has(keyOf(whole))) this.keep(whole);
    this.draw();
  }

  /** A session is as it was: also if one has gone elsewhere meanwhile. */
  restored(session) {
    const shown = this.openKey === keyOf(session);
    location.hash = this.address(session);
    if (current !== this) return;
    if (shown) this.open?.begin();
    this.load();
  }

  back() {
    const key = this.openKey;
    location.hash = this.address();
    requestAnimationFrame(() => (this.rows.get(key) ?? this.list).querySelector("a")?.focus());
  }

  // -------------------------------------------------------------- finding

  changed(server = false) {
    for (const name of FILTERS) this.filters[name] = this.inputs[name].value.trim();
    history.replaceState(null, "", this.address(this.opened()));
    clearTimeout(this.typing);
    if (!server) this.draw();
    this.typing = setTimeout(() => (server ? this.load() : this.fill()), server ? 300 : 150);
  }

  reset() {
    for (const name of FILTERS) this.inputs[name].value = "";
    this.changed(true);
    this.search.focus();
  }

  opened() {
    if (!this.openKey) return null;
    const [owner, user, id] = JSON.parse(this.openKey);
    return { id, owner: owner ?? undefined, user: user ?? undefined };
  }

  query() {
    const { owner, provider, model, age } = this.filters;
    return { owner: owner || null, provider: provider || null, model: model || null, ...AGES[age][1] };
  }

  async load() {
    this.loading?.abort();
    this.loading = null;
    this.found.clear();
    this.cursor = null;
    this.looked = 0;
    this.first = true;
    await this.fill();
  }

  /** Pages, until enough sessions match what is searched for or enough were looked at. */
  async fill(further = false) {
    if (further) this.looked = 0;
    if (this.loading) return;
    const mine = (this.loading = new AbortController());
    this.draw();
    try {
      let wanted = further ? this.matching().length + ENOUGH : ENOUGH;
      while ((this.first || this.cursor) && this.matching().length < wanted && this.looked < FURTHEST) {
        const page = await sessions.list({ ...this.query(), limit: PAGE, cursor: this.first ? null : this.cursor }, mine.signal);
        for (const session of page.sessions) this.keep(session);
        this.first = false;
        this.cursor = page.next;
        this.looked += PAGE;
        this.draw();
      }
      this.problem = null;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.problem = error;
    }
    if (this.loading === mine) this.loading = null;
    this.draw();
  }

  /** The newest page again, while nothing else is under way: what was used since moves up. */
  async look() {
    if (this.loading || this.problem || this.first) return;
    const mine = (this.loading = new AbortController());
    try {
      const page = await sessions.list({ ...this.query(), limit: PAGE }, mine.signal);
      const oldest = page.sessions.at(-1)?.updated_at ?? "";
      const there = new Set(page.sessions.map(keyOf));
      for (const [key, session] of this.found) {
        const covered = page.next === null || session.updated_at > oldest;
        if (covered && !there.has(key)) this.found.delete(key);
      }
      for (const session of page.sessions) this.keep(session);
    } catch { /* the next look tells */ } finally {
      if (this.loading === mine) this.loading = null;
    }
    this.draw();
  }

  refresh() {
    this.open?.refresh();
    if (this.problem) this.load();
    else this.look();
  }

  keep(session, fresh = false) {
    const { id, owner, user, created_at, updated_at, expires_at, first_turn, last_turn, metadata } = session;
    this.found.set(keyOf(session), { id, owner, user, created_at, updated_at, expires_at, first_turn, last_turn, metadata, fresh });
    this.know("owner", owner);
    this.know("model", metadata.last_model);
    this.know("provider", metadata.last_provider);
    this.know("provider", metadata.preferred_provider);
  }

  know(kind, name) {
    if (!name || this.names[kind].has(name)) return;
    this.names[kind].add(name);
    this.lists[kind].append(h("option", { value: name }));
  }

  matching() {
    const words = (this.filters.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const every = [...this.found.values()].sort((a, b) => (a.updated_at < b.updated_at ? 1 : a.updated_at > b.updated_at ? -1 : 0));
    if (!words.length) return every;
    return every.filter(({ id, owner, user, metadata: { last_model, last_provider, preferred_provider } }) => {
      const text = [id, owner, user, last_model, last_provider, preferred_provider].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  // -------------------------------------------------------------- drawing

  draw() {
    const shown = this.matching();
    const focused = this.list.contains(document.activeElement) ? document.activeElement.closest("li") : null;
    const rows = shown.map((session) => this.row(session));
    const same = rows.length === this.list.childElementCount && rows.every((row, index) => this.list.children[index] === row);
    if (!same) this.list.replaceChildren(...rows);
    if (focused?.isConnected) focused.querySelector("a").focus({ preventScroll: true });
    for (const [key] of this.rows) if (!this.found.has(key)) this.rows.delete(key);
    this.clear.hidden = !FILTERS.some((name) => this.filters[name]);
    this.clear.parentElement.hidden = this.clear.hidden;
    this.bulk.hidden = Boolean(this.filters.q) || this.clear.hidden || !shown.length;
    this.tell(shown.length);
    this.mark();
  }

  tell(number) {
    const busy = this.loading !== null && this.loading !== undefined;
    this.side.setAttribute("aria-busy", String(busy && !number));
    const partial = Boolean(this.cursor || this.first);
    const text = this.problem ? "" : busy && !number ? "Looking…" : partial ? `${count(number)}+ sessions` : many(number, "session");
    if (this.status.textContent !== text) this.status.textContent = text;
    const more = [];
    if (this.problem && !(this.problem instanceof ApiError && this.problem.status === 401)) {
      more.push(failed(this.problem, () => this.load()));
    } else if (!busy && this.cursor) {
      if (this.filters.q) more.push(h("p", null, "Older sessions were not looked at yet."));
      more.push(button(this.filters.q ? "Look further" : "Show more", {}, () => this.fill(true)));
    } else if (!busy && !number) {
      more.push(h("div", { class: "empty small" }, h("h2", null, this.clear.hidden ? "No sessions yet" : "Nothing found"),
        h("p", null, this.clear.hidden ? "A request with an X-Session-ID header begins one." : "No session passes these filters."),
        ID.test(this.filters.q ?? "") && h("p", null, h("kbd", null, "Enter"), " opens the one with exactly this id.")));
    }
    this.more.replaceChildren(...more);
  }

  row(session) {
    const key = keyOf(session);
    let row = this.rows.get(key);
    if (!row) {
      row = h("li", null, h("a", { tabindex: "-1" }));
      this.rows.set(key, row);
    }
    const { metadata: about } = session;
    const link = row.firstElementChild;
    link.href = this.address(session);
    const version = [session.updated_at, session.expires_at, about.preferred_provider, ago(session.updated_at), session.last_turn].join();
    if (row.dataset.version === version) return row;
    row.dataset.version = version;
    link.replaceChildren(
      h("span", { class: "id" }, session.id),
      h("span", { class: "sums" }, many(about.total_turns, "turn"), about.cost >= 0.005 && h("span", { class: "cost" }, dollars(about.cost, 2)), h("time", { datetime: session.updated_at, title: moment(session.updated_at) }, ago(session.updated_at))),
      h("span", { class: "who" }, h("bdi", null, session.owner), session.user && [" / ", h("bdi", null, session.user)]),
      h("span", { class: "what" }, about.last_model ?? "", about.last_provider && h("span", { class: "faint" }, ` ${about.last_provider}`)));
    return row;
  }

  mark() {
    let stop = null;
    for (const [key, row] of this.rows) {
      const link = row.firstElementChild;
      if (key === this.openKey) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      link.tabIndex = -1;
      if (row.isConnected && (link === document.activeElement || (key === this.openKey && !stop))) stop = link;
    }
    stop ??= this.list.querySelector("a");
    if (stop) stop.tabIndex = 0;
  }

  // -------------------------------------------------------------- keys

  focusRow(link) {
    if (!link) return;
    link.focus();
    link.scrollIntoView({ block: "nearest" });
    this.mark();
  }

  inList(event) {
    const links = [...this.list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1, PageDown: at + 8, PageUp: at - 8 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 && event.key === "ArrowUp") this.search.focus();
    else this.focusRow(links[Math.max(0, Math.min(links.length - 1, to))]);
  }

  inSearch(event) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.focusRow(this.list.querySelector("a"));
    } else if (event.key === "Escape" && !this.search.value) {
      this.search.blur();
    } else if (event.key === "Enter") {
      const [only, ...others] = this.matching();
      const exact = this.search.value.trim();
      if (only && !others.length) location.hash = this.address(only);
      else if (ID.test(exact)) location.hash = this.address([...this.found.values()].find(({ id }) => id === exact) ?? { id: exact });
    }
  }

  step(by) {
    const links = [...this.list.querySelectorAll("a")];
    const at = links.findIndex((link) => link.getAttribute("aria-current"));
    const link = links[Math.max(0, Math.min(links.length - 1, at + by))];
    if (!link) return;
    this.focusRow(link);
    link.click();
  }
}
