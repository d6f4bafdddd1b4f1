// What every page uses: notes that come and go, dialogs, shortcuts, the theme.

import { button, h, icon } from "./dom.js";

const UNDO = 15_000;

/** A note at the edge. An error stays until it is dismissed; with `undo`, what was done can be taken back for a while. */
export function toast(text, { error = false, undo } = {}) {
  const note = h("div", { class: `toast ${error ? "error" : ""}`, role: error ? "alert" : undefined }, h("span", null, text));
  const dismiss = () => note.remove();
  if (undo) note.append(button("Undo", { kind: "undo" }, () => undo().catch((failure) => toast(failure.message, { error: true })).finally(dismiss)));
  note.append(button("Dismiss", { icon: "close", quiet: true }, dismiss));
  const place = document.getElementById("toasts");
  while (place.childElementCount > 2) place.firstElementChild.remove();
  place.append(note);
  if (!error) setTimeout(dismiss, undo ? UNDO : 5000);
  return note;
}

/**
 * A modal dialog. `submit` runs on its main button; while it runs the dialog waits, and shows what it throws. It is
 * given `tell`, which says how far it is, and a `signal` that is aborted when the dialog is closed before the end.
 * The browser keeps the focus inside, and gives it back at the end.
 */
export function dialog(title, body, { action, kind = "primary", submit, wide = false } = {}) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const progress = h("p", { class: "progress", role: "status" });
  const closing = new AbortController();
  const cancel = button(action ? "Cancel" : "Close", {}, () => box.close());
  const go = action && h("button", { class: `button ${kind}`, type: "submit" }, action);
  const form = h("form", { on: { submit: run } },
    h("h2", { id: "dialog-title" }, title), h("div", { class: "body" }, body), progress, problem,
    h("footer", null, cancel, go));
  const box = h("dialog", { "aria-labelledby": "dialog-title", class: wide ? "wide" : "", on: { close: gone } }, form);
  box.addEventListener("click", (event) => event.target === box && !go?.disabled && box.close());
  document.body.append(box);
  box.showModal();
  (box.querySelector("[autofocus]") ?? cancel).focus();
  return box;

  function gone() {
    closing.abort();
    box.remove();
  }

  async function run(event) {
    event.preventDefault();
    if (!submit || go.disabled) return;
    go.disabled = true;
    problem.hidden = true;
    try {
      await submit({ tell: (text) => (progress.textContent = text), signal: closing.signal });
      box.close();
    } catch (error) {
      if (error.name === "AbortError") return;
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      go.disabled = false;
    }
  }
}

// Who goes to another page leaves its dialogs behind.
window.addEventListener("hashchange", () => document.querySelectorAll("dialog[open]").forEach((box) => box.close()));

/** A labelled control; `hint` says more. */
export function field(label, control, hint) {
  const id = `f${(field.next = (field.next ?? 0) + 1)}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}h`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, hint && h("small", { id: `${id}h` }, hint));
}

/** What stands where there is nothing to show. */
export function empty(title, text, ...more) {
  return h("div", { class: "empty" }, h("h2", null, title), h("p", null, text), ...more);
}

export function failed(error, again) {
  return h("div", { class: "empty", role: "alert" }, icon("warn"), h("h2", null, "This did not work"),
    h("p", null, error.message), again && button("Try again", { icon: "refresh" }, again));
}

// ---------------------------------------------------------------- shortcuts

const SHORTCUTS_OFF = "gateway.shortcuts-off";
const bindings = [];
let prefix = "";
let forgetting = 0;

/** Bind a key, or two in a row (`g s`). `when` says whether it means anything now. */
export function shortcut(keys, text, press, when = () => true) {
  bindings.push({ keys, text, press, when });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (typing || (localStorage.getItem(SHORTCUTS_OFF) && event.key !== "?")) return;
  const pressed = prefix ? `${prefix} ${event.key}` : event.key;
  prefix = "";
  clearTimeout(forgetting);
  const found = bindings.find((one) => one.keys === pressed && one.when());
  if (found) {
    event.preventDefault();
    found.press();
  } else if (bindings.some((one) => one.keys.startsWith(`${pressed} `))) {
    prefix = pressed;
    forgetting = setTimeout(() => (prefix = ""), 1200);
  }
});

export function help() {
  const rows = bindings.map(({ keys, text }) =>
    h("div", null, h("dt", null, keys.split(" ").map((key) => h("kbd", null, key))), h("dd", null, text)));
  const on = h("input", { type: "checkbox", checked: !localStorage.getItem(SHORTCUTS_OFF), on: { change: () => {
    if (on.checked) localStorage.removeItem(SHORTCUTS_OFF);
    else localStorage.setItem(SHORTCUTS_OFF, "1");
  } } });
  dialog("Keyboard", [
    h("dl", { class: "shortcuts" }, rows, h("div", null, h("dt", null, h("kbd", null, "↑"), h("kbd", null, "↓")), h("dd", null, "Move in a list"))),
    h("label", { class: "check" }, on, "Shortcuts of single keys"),
  ]);
}

// ---------------------------------------------------------------- how replies are shown

const AS_WRITTEN = "gateway.as-written";

export const formatted = () => !localStorage.getItem(AS_WRITTEN);

export function setFormatted(on) {
  if (on) localStorage.removeItem(AS_WRITTEN);
  else localStorage.setItem(AS_WRITTEN, "1");
}

/** Let the browser save a blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// ---------------------------------------------------------------- theme

const THEME = "gateway.theme";
const THEMES = ["auto", "light", "dark"];

export const theme = () => (THEMES.includes(localStorage.getItem(THEME)) ? localStorage.getItem(THEME) : "auto");

export function showTheme() {
  document.documentElement.dataset.theme = theme();
}

export function nextTheme() {
  localStorage.setItem(THEME, THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  showTheme();
  toast(`Appearance: ${theme() === "auto" ? "as the system" : theme()}`);
}
