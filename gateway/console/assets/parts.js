// One message's content. Whatever it says is text; the only images are raster images that came as data.

import { button, h, icon } from "./dom.js";
import { bytes, count } from "./format.js";
import { code, markdown, plain } from "./markdown.js";

const RASTER = /^image\/(png|jpeg|gif|webp|avif)$/;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
const LONG = 6000;

/** The nodes of a content: a text, or a list of parts. `formatted`: Markdown is shown as what it means. */
export function contentOf(content, formatted = false) {
  if (content === null || content === undefined) return [];
  return typeof content === "string" ? [text(content, formatted)] : content.map((given) => part(given, formatted));
}

function part(given, formatted) {
  switch (given.type) {
    case "text": return text(given.text, formatted);
    case "image": return image(given);
    case "file": return attachment("File", given, given.name);
    case "audio": return attachment("Audio", given);
    case "tool_call": return folded("tool", "Tool call", given.name, given.arguments ? code(pretty(given.arguments)) : h("p", { class: "none" }, "No arguments"), { peek: oneLine(given.arguments) });
    case "tool_result": return folded("tool", given.is_error ? "Tool error" : "Tool result", given.name || given.call_id, resultOf(given.content), { bad: given.is_error, peek: oneLine(given.content) });
    case "reasoning": return reasoning(given, formatted);
    case "refusal": return h("div", { class: "refusal" }, h("span", { class: "tag warn" }, "refusal"), text(given.text));
    default: return folded("text", "Other content", given.kind ?? given.type ?? "", code(pretty(given.raw ?? given)));
  }
}

function reasoning(given, formatted) {
  const title = given.redacted ? "Reasoning, withheld by the provider" : given.summary ? "Reasoning, summary" : "Reasoning";
  if (given.text) return folded("thought", title, "", text(given.text, formatted), { peek: oneLine(given.text) });
  return h("p", { class: "none" }, icon("thought"), given.redacted ? title : "Reasoning, not shown by the provider");
}

/** What a tool answered: JSON is laid out. */
function resultOf(content) {
  const [only, ...others] = Array.isArray(content) ? content : [{ type: "text", text: content ?? "" }];
  if (!others.length && only?.type === "text" && /^\s*[[{]/.test(only.text)) return code(pretty(only.text));
  return contentOf(content);
}

function oneLine(content) {
  const said = Array.isArray(content) ? content.map((given) => given.text ?? `[${given.type}]`).join(" ") : content ?? "";
  return (typeof said === "string" ? said : JSON.stringify(said)).slice(0, 160).replaceAll(/\s+/g, " ");
}

function folded(drawn, title, detail, body, { bad = false, peek = "" } = {}) {
  return h("details", { class: `folded ${bad ? "bad" : ""}` },
    h("summary", null, icon(drawn), h("span", null, title), detail && h("code", null, detail), peek && h("span", { class: "peek", "aria-hidden": "true" }, peek)),
    h("div", { class: "inside" }, body));
}

function image(given) {
  const size = given.data ? bytes(Math.floor(given.data.length * 0.75)) : "";
  if (RASTER.test(given.media_type ?? "") && BASE64.test(given.data ?? "")) {
    const alt = `Image, ${given.media_type}, ${size}`;
    return h("figure", null, h("img", { src: `data:${given.media_type};base64,${given.data}`, alt, loading: "lazy" }),
      h("figcaption", null, `${given.media_type} · ${size}`));
  }
  return attachment("Image", given);
}

// Addresses are shown and not followed: a provider's or a client's server need not learn who reads.
function attachment(what, given, name = "") {
  const size = given.data ? bytes(Math.floor(given.data.length * 0.75)) : "";
  const where = given.url || (given.file_id && `file ${given.file_id}`);
  return h("p", { class: "attachment" }, h("span", { class: "tag" }, what.toLowerCase()),
    [name, given.media_type, size].filter(Boolean).join(" · "), where && h("code", null, where));
}

/** A text; a very long one opens on demand. */
export function text(whole, formatted = false) {
  const shown = formatted ? markdown : plain;
  if (whole.length <= LONG) return h("div", { class: "text", dir: "auto" }, shown(whole));
  const box = h("div", { class: "text", dir: "auto" }, shown(`${whole.slice(0, LONG)}…`));
  box.append(button(`Show all ${count(whole.length)} characters`, {}, () => box.replaceChildren(...shown(whole))));
  return box;
}

function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}
