// What models write is mostly Markdown. It becomes elements here, one by one; a link stays text, and nothing is markup.

import { button, h } from "./dom.js";

const DEEPEST = 5;
const LONGEST = 20_000;
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

const INLINE = new RegExp([
  /(?<escaped>\\[!-/:-@[-`{-~])/,
  /(?<ticks>`{1,3})(?<code>[^`\n][^\n]{0,2000}?)\k<ticks>(?!`)/,
  /!?\[(?<label>[^[\]\n]{1,300})\]\((?<url>[^()\s]{1,2000})(?: "[^"\n]{0,300}")?\)/,
  /\*\*(?=\S)(?<strong>[^\n]{1,300}?)(?<=\S)\*\*/,
  /(?<!\w)__(?=\S)(?<strong2>[^\n]{1,300}?)(?<=\S)__(?!\w)/,
  /\*(?=[^\s*])(?<em>[^*\n]{1,300}?)(?<=\S)\*/,
  /(?<!\w)_(?=[^\s_])(?<em2>[^_\n]{1,300}?)(?<=\S)_(?!\w)/,
  /~~(?=\S)(?<del>[^\n]{1,300}?)(?<=\S)~~/,
].map(({ source }) => source).join("|"), "g");

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]{0,30})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s(.*)$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( {0,12})(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const DIVIDER = /^\|? *:?-+:? *(?:\| *:?-+:? *)*\|?$/;

/** Text, with a mark in place of each character that hides or turns what stands around it. */
export function visible(text) {
  const found = [];
  let from = 0;
  for (const { 0: hidden, index } of text.matchAll(HIDDEN)) {
    const code = `U+${hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    found.push(text.slice(from, index), h("span", { class: "control", title: "A control character, which does not show by itself" }, code));
    from = index + 1;
  }
  found.push(text.slice(from));
  return found.filter((part) => part !== "");
}

/** A block of code, with its language if it names one. */
export function code(said, language = "") {
  const copy = navigator.clipboard && button("Copy the code", { icon: "copy", quiet: true, class: "button quiet copy" }, () => navigator.clipboard.writeText(said));
  return h("div", { class: "code" }, (language || copy) && h("div", { class: language ? "code-head" : "code-head bare" }, language && h("span", null, language), copy),
    h("pre", { tabindex: "0", role: "group", "aria-label": language ? `Code, ${language}` : "Code" }, h("code", null, visible(said))));
}

/** Text as it was written, but for its fenced code. */
export function plain(text) {
  return blocks(text.split("\n"), DEEPEST, (lines) => [h("p", null, visible(lines.join("\n").replace(/^\n+|\n+$/g, "")))]);
}

/** Text as its writer meant it. */
export function markdown(text) {
  return blocks(text.split("\n"), 0, paragraphs);
}

/** Fenced code, and what `others` makes of the lines between. */
function blocks(lines, depth, others) {
  const nodes = [];
  let between = [];
  const flush = () => {
    if (between.some((line) => line.trim())) nodes.push(...others(between, depth));
    between = [];
  };
  for (let at = 0; at < lines.length; at += 1) {
    const fence = FENCE.exec(lines[at]);
    if (!fence) {
      between.push(lines[at]);
      continue;
    }
    flush();
    const inside = [];
    for (at += 1; at < lines.length && !closes(lines[at], fence[1]); at += 1) inside.push(lines[at]);
    nodes.push(code(inside.join("\n"), fence[2]));
  }
  flush();
  return nodes;
}

const closes = (line, fence) => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0], "") === "";

function paragraphs(lines, depth) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const [node, next] = one(lines, at, depth);
    if (node) nodes.push(node);
    at = next;
  }
  return nodes;
}

/** The block that begins at a line, and where the next one does. */
function one(lines, at, depth) {
  const line = lines[at];
  const heading = HEADING.exec(line);
  if (!line.trim()) return [null, at + 1];
  if (heading) return [h("p", { class: `heading h${heading[1].length}`, role: "heading", "aria-level": Math.min(6, heading[1].length + 3) }, inline(heading[2].trim().replace(/ #+$/, ""))), at + 1];
  if (RULE.test(line)) return [h("hr", null), at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (line.includes("|") && DIVIDER.test((lines[at + 1] ?? "").trim())) return table(lines, at);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines[end])) end += 1;
  return [h("p", null, inline(lines.slice(at, end).join("\n"))), end];
}

const begins = (line) => HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);

function quote(lines, at, depth) {
  const inside = [];
  let end = at;
  for (let match; end < lines.length && (match = QUOTE.exec(lines[end])); end += 1) inside.push(match[1]);
  return [h("blockquote", null, paragraphs(inside, depth + 1)), end];
}

/** Items of one list; what is indented further belongs to the item before. */
function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const indent = first[1].length;
  const items = [];
  let end = at;
  while (end < lines.length) {
    const match = ITEM.exec(lines[end]);
    const own = match && match[1].length <= indent + 1;
    if (own && (match[2] === undefined) !== (first[2] === undefined)) break;
    if (own) items.push([match[3]]);
    else if (lines[end].trim() && !/^\s/.test(lines[end])) break;
    else if (!lines[end].trim() && !continues(lines[end + 1], indent)) break;
    else items.at(-1).push(lines[end].slice(Math.min(lines[end].search(/\S|$/), indent + 2)));
    end += 1;
  }
  const tag = first[2] === undefined ? "ul" : "ol";
  const start = first[2] === undefined || first[2] === "1" ? null : first[2];
  return [h(tag, { start }, items.map((inside) => h("li", null, paragraphs(inside, depth + 1)))), end];
}

const continues = (line, indent) => line !== undefined && (ITEM.test(line) ? ITEM.exec(line)[1].length <= indent + 12 : /^\s{2,}\S/.test(line));

function table(lines, at) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).slice(0, 40).map((cell) => cell.trim());
  const aligned = cells(lines[at + 1]).map((cell) => (/^:?-+:$/.test(cell) ? (cell.startsWith(":") ? "center" : "number") : null));
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && lines[end].includes("|")) end += 1;
  const row = (tag) => (line) => h("tr", null, cells(line).map((cell, index) => h(tag, { class: aligned[index] }, inline(cell))));
  return [h("div", { class: "said-table", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", null, h("thead", null, row("th")(lines[at])), h("tbody", null, lines.slice(at + 2, end).map(row("td"))))), end];
}

/** What stands in one line: emphasis, code, the text and the address of a link. */
function inline(text, depth = 0) {
  if (depth > DEEPEST || text.length > LONGEST) return visible(text);
  const found = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    found.push(...visible(text.slice(from, match.index)), mark(match.groups, depth + 1));
    from = match.index + match[0].length;
  }
  return [...found, ...visible(text.slice(from))];
}

function mark({ escaped, code: said, label, url, strong, strong2, em, em2, del }, depth) {
  if (escaped) return escaped.slice(1);
  if (said !== undefined) return h("code", null, visible(said.trim()));
  if (label !== undefined) return h("span", { class: "linked" }, inline(label, depth), " ", h("code", null, visible(url)));
  if (del !== undefined) return h("del", null, inline(del, depth));
  return strong ?? strong2 ? h("strong", null, inline(strong ?? strong2, depth)) : h("em", null, inline(em ?? em2, depth));
}
