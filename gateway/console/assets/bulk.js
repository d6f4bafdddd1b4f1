// What is done to all sessions that pass the filters: how many there are is counted before anything is deleted.

import { sessions } from "./api.js";
import { h } from "./dom.js";
import { count, many, span } from "./format.js";
import { dialog, save, toast } from "./ui.js";

/** A filter in words. */
function words({ owner, provider, model, newer_than, older_than }) {
  const said = [
    owner && ["of ", h("b", null, owner)], provider && ["served by ", h("b", null, provider)], model && ["with ", h("b", null, model)],
    newer_than && `used within the last ${span(newer_than)}`, older_than && `not used for ${span(older_than)}`,
  ].filter(Boolean);
  return said.flatMap((part, index) => (index ? [", ", part] : [part]));
}

/** Step by step through everything; `heard` is told the sums so far. */
async function walk(query, signal, heard) {
  const sums = { examined: 0, matched: 0, deleted: 0 };
  let cursor = null;
  do {
    const step = await sessions.erase({ ...query, cursor }, signal);
    for (const name of Object.keys(sums)) sums[name] += step[name];
    heard(sums);
    cursor = step.next;
  } while (cursor !== null);
  return sums;
}

export function deleteFound(query, done) {
  const counted = h("p", { role: "status" }, "Counting…");
  const box = dialog("Delete all of these sessions?", [h("p", null, "Sessions ", words(query), " are forgotten at once, on every worker. This cannot be undone."), counted], {
    action: "Delete", kind: "danger", submit: async ({ tell, signal }) => {
      const { deleted } = await walk(query, signal, (sums) => tell(`${count(sums.deleted)} deleted…`));
      toast(`${many(deleted, "session")} deleted.`);
      done();
    },
  });
  const go = box.querySelector("[type=submit]");
  const closed = new AbortController();
  box.addEventListener("close", () => closed.abort());
  go.disabled = true;
  walk({ ...query, dry_run: true }, closed.signal, (sums) => (counted.textContent = `${many(sums.matched, "session")} so far…`)).then(({ matched }) => {
    counted.textContent = matched ? "" : "There are none any more.";
    go.textContent = `Delete ${many(matched, "session")}`;
    go.disabled = !matched;
  }, (error) => {
    if (error.name !== "AbortError") counted.textContent = error.message;
  });
}

export async function exportFound(query) {
  const note = toast("Exporting…");
  try {
    save(await sessions.exportAll(query), "sessions.jsonl");
  } catch (error) {
    toast(error.message, { error: true });
  } finally {
    note.remove();
  }
}
