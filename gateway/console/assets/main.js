// The frame: signing in, the pages, where one is.

import { signedIn, signIn, signOut, whenReached, whenSignedOut } from "./api.js";
import { configPage } from "./config.js";
import { button, h, icon } from "./dom.js";
import { keysPage } from "./keys.js";
import { providersPage } from "./providers.js";
import { sessionsPage } from "./sessions.js";
import { trafficPage } from "./traffic.js";
import { help, nextTheme, shortcut, showTheme } from "./ui.js";

const PAGES = {
  sessions: { title: "Sessions", make: sessionsPage },
  providers: { title: "Providers", make: providersPage },
  traffic: { title: "Traffic", make: trafficPage },
  keys: { title: "Keys", make: keysPage },
  config: { title: "Config", make: configPage },
};

const app = document.getElementById("app");
let page = null;
let shown = "";
let main = null;

/** `#/sessions/<id>?owner=..` as its page, its id and its parameters. */
function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  let id = rest.join("/");
  try {
    id = decodeURIComponent(id);
  } catch { /* not ours, and no session has such an id */ }
  return { page: Object.hasOwn(PAGES, name) ? name : "sessions", id, query: new URLSearchParams(query) };
}

function route() {
  if (!signedIn()) return;
  const place = here();
  const known = PAGES[place.page];
  if (shown !== place.page) {
    page?.close();
    main.replaceChildren();
    main.className = `page ${place.page}`;
    page = known.make(main);
    shown = place.page;
    if (document.activeElement === document.body || document.activeElement?.closest?.("nav")) main.focus({ preventScroll: true });
  }
  document.title = `${place.id || known.title} · Gateway`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === place.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  page.show(place);
}

function frame() {
  const links = Object.entries(PAGES).map(([name, { title }]) =>
    h("a", { href: `#/${name}`, "data-page": name }, icon(name), h("span", null, title)));
  main = h("main", { id: "main", tabindex: "-1" });
  app.replaceChildren(
    h("header", { class: "bar" },
      h("a", { class: "brand", href: "#/sessions", "aria-label": "Gateway, sessions" }, h("img", { src: "icon.svg", alt: "", width: 22, height: 22 }), h("span", null, "Gateway")),
      h("nav", { "aria-label": "Pages" }, links),
      h("div", { class: "tools" },
        button("Appearance", { icon: "theme", quiet: true, key: "t" }, nextTheme),
        button("Keyboard shortcuts", { icon: "help", quiet: true, key: "?" }, help),
        button("Sign out", { icon: "out", quiet: true }, () => signOut()))),
    main);
  shown = "";
  route();
}

function welcome(why = "") {
  page?.close();
  page = null;
  shown = "";
  document.title = "Sign in · Gateway";
  // The field has no name: should the scripts fail, no browser would put it into an address.
  const key = h("input", { type: "password", id: "key", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "key-hint" });
  const problem = h("p", { class: "problem", role: "alert", hidden: !why }, why);
  const go = h("button", { class: "button primary", type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.hidden = true;
    try {
      await signIn(key.value.trim());
      frame();
    } catch (error) {
      problem.textContent = sorry(error);
      problem.hidden = false;
      key.select();
    } finally {
      go.disabled = false;
    }
  };
  app.replaceChildren(h("main", { id: "main", class: "welcome", tabindex: "-1" },
    h("form", { method: "post", on: { submit } },
      h("img", { src: "icon.svg", alt: "", width: 40, height: 40 }),
      h("h1", null, "Gateway console"),
      h("label", { for: "key" }, "Management key"), key, problem, go,
      h("small", { id: "key-hint" }, "The key stays in this tab and is forgotten when the tab is closed."))));
  key.focus();
}

function sorry(error) {
  if (error.status === 401 || error.status === 403) return "That is not the management key.";
  if (error.status === 429) return `Too many wrong keys from this address.${error.retryAfter ? ` Try again in ${Math.ceil(error.retryAfter / 60)} min.` : ""}`;
  return error.message;
}

for (const [key, name] of [["s", "sessions"], ["p", "providers"], ["t", "traffic"], ["k", "keys"], ["c", "config"]]) {
  shortcut(`g ${key}`, `Go to ${PAGES[name].title}`, () => (location.hash = `#/${name}`), signedIn);
}
shortcut("r", "Refresh", () => page.refresh(), () => page?.refresh);
shortcut("t", "Appearance: system, light, dark", nextTheme);
shortcut("?", "This help", help);

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
whenSignedOut(welcome);
whenReached((now) => {
  if (!now) document.body.append(h("p", { class: "away", role: "alert", id: "away" }, "The gateway does not answer. What is shown may be old; it is asked again and again."));
  else document.getElementById("away")?.remove();
});
window.addEventListener("hashchange", route);
showTheme();
if (signedIn()) frame();
else welcome();
