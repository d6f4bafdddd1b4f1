// Elements are made here and nowhere else: text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element. `on` holds listeners by event; other properties are attributes; strings become text. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function s(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

const ICONS = {
  sessions: "M4 5h16v11H9l-5 4z",
  providers: "M4 5h16v5H4zM4 14h16v5H4zM7.5 7.5h.01M7.5 16.5h.01",
  traffic: "M3 13h4l3-8 4 14 3-6h4",
  config: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM20 20l-4.8-4.8",
  fork: "M7 4v16M7 14c0-5 10-2 10-8M17 6V4M5 4h4M15 4h4",
  pin: "M12 15v6M8 4h8l-1.2 6 3.2 3.2V15H6v-1.8L9.2 10z",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3.5 2",
  trash: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  refresh: "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6",
  back: "M15 5l-7 7 7 7",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3v18M12 3a9 9 0 0 1 0 18",
  help: "M9 9a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2.2M12 17.5h.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  close: "M6 6l12 12M18 6L6 18",
  save: "M12 4v11M7 11l5 5 5-5M5 20h14",
  keys: "M14.5 13.5a5 5 0 1 0-4.2-4.2L4 15.6V20h4.4v-2.6H11v-2.6h1.6zM16.5 7.5h.01",
  tool: "M14 6a4 4 0 0 0-5 5L4 16v4h4l5-5a4 4 0 0 0 5-5l-3 3-3-3z",
  thought: "M9 18h6M10 21h4M12 3a6 6 0 0 0-3.5 10.9V16h7v-2.1A6 6 0 0 0 12 3z",
  text: "M5 6h14M5 12h14M5 18h9",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
};

/** A line icon, hidden from assistive technology: its control has a name of its own. */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** A button with a name, and an icon if given. `quiet` shows the icon alone. */
export function button(name, { icon: drawn, quiet, kind = "", key, ...properties } = {}, press) {
  const attributes = {
    type: "button",
    class: `button ${kind} ${quiet ? "quiet" : ""}`.trim(),
    title: quiet || key ? name + (key ? ` (${key})` : "") : undefined,
    "aria-label": quiet ? name : undefined,
    "aria-keyshortcuts": key,
    ...properties,
    on: { click: press },
  };
  return h("button", attributes, drawn && icon(drawn), quiet ? null : h("span", null, name));
}
