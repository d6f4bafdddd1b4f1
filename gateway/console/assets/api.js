// The management API. The key lives in this tab's session storage, and goes nowhere but into a header.

const SLOT = "gateway.management-key";
const listeners = new Set();

export class ApiError extends Error {
  constructor(status, { code = "", message = "", ...more } = {}, retryAfter = null) {
    super(message || `The gateway answered ${status}.`);
    Object.assign(this, { status, code, more, retryAfter });
  }
}

let connected = true;
let told = () => {};

/** `listener` is told when the gateway stops answering, and when it does again. */
export const whenReached = (listener) => (told = listener);

function reached(now) {
  if (now !== connected) told(now);
  connected = now;
}

export const signedIn = () => sessionStorage.getItem(SLOT) !== null;
export const whenSignedOut = (listener) => listeners.add(listener);

export function signOut(why = "") {
  sessionStorage.removeItem(SLOT);
  for (const listener of listeners) listener(why);
}

/** Try a key; it is kept if the gateway takes it. Throws ApiError. */
export async function signIn(key) {
  try {
    await send("GET", "/sessions", { query: { limit: 1 } }, key);
  } catch (error) {
    if (error.status !== 503) throw error; // the key is good, the sessions are off or away
  }
  sessionStorage.setItem(SLOT, key);
}

/** One request; its answer, parsed. Throws ApiError; status 0 is no answer at all. A refused key signs out. */
export async function call(method, path, options = {}) {
  const key = sessionStorage.getItem(SLOT);
  try {
    return await send(method, path, options, key ?? "");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401 && sessionStorage.getItem(SLOT) === key) {
      signOut("The gateway does not take this key any more.");
    }
    throw error;
  }
}

async function send(method, path, { query = {}, body, lines, signal, blob = false } = {}, key) {
  const url = new URL(`../v0/management${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  const headers = { Accept: blob ? "*/*" : "application/json" };
  try {
    headers.Authorization = `Bearer ${latin(key)}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (lines !== undefined) headers["Content-Type"] = "application/x-ndjson";
    const answer = await fetch(url, {
      method, headers, signal, body: body === undefined ? lines : JSON.stringify(body),
      cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    });
    reached(true);
    if (blob && answer.ok) return await answer.blob();
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new ApiError(answer.status, told?.error ?? {}, answer.headers.get("Retry-After"));
    return told;
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    reached(false);
    throw new ApiError(0, { message: "The gateway does not answer. It may be restarting." });
  }
}

// Headers carry Latin-1 only; any other key is wrong anyway, and is to be refused rather than to break.
const latin = (key) => key.replaceAll(/[^\x20-\xff]/g, "?");

/** The text of /metrics, which needs no key. */
export async function metrics(signal) {
  try {
    const answer = await fetch(new URL("../metrics", document.baseURI), { signal, cache: "no-store", credentials: "omit" });
    if (!answer.ok) throw new ApiError(answer.status);
    return await answer.text();
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The gateway does not answer. It may be restarting." });
  }
}

const at = (session) => `/sessions/${encodeURIComponent(session.id)}`;
const whose = (session) => ({ owner: session.owner, user: session.user });
const named = (name, verb) => `/providers/${encodeURIComponent(name)}/${verb}`;

/** A session is named by `id`, `owner` and `user`. */
export const sessions = {
  list: (query, signal) => call("GET", "/sessions", { query, signal }),
  read: (session, query, signal) => call("GET", at(session), { query: { ...whose(session), ...query }, signal }),
  remove: (session) => call("DELETE", at(session), { query: whose(session) }),
  dropTurns: (session, last) => call("DELETE", `${at(session)}/turns`, { query: { ...whose(session), last } }),
  fork: (session, body) => call("POST", `${at(session)}/fork`, { query: whose(session), body }),
  change: (session, body) => call("PATCH", at(session), { query: whose(session), body }),
  export: (session) => call("GET", "/sessions/export", { query: { ...whose(session), id: session.id }, blob: true }),
  restore: (lines, existing) => call("POST", "/sessions/import", { query: { existing }, lines }),
  exportAll: (query, signal) => call("GET", "/sessions/export", { query, signal, blob: true }),
  erase: (query, signal) => call("DELETE", "/sessions", { query, signal }),
};

export const providers = {
  list: (signal) => call("GET", "/providers", { signal }),
  reset: (name) => call("POST", named(name, "reset")),
  disable: (name) => call("POST", named(name, "disable")),
  enable: (name) => call("POST", named(name, "enable")),
};

export const keys = {
  list: (signal) => call("GET", "/keys", { signal }),
  make: (body) => call("POST", "/keys", { body }),
  revoke: (id) => call("DELETE", `/keys/${encodeURIComponent(id)}`),
};

export const gateway = {
  reload: () => call("POST", "/reload"),
  config: (signal) => call("GET", "/config", { signal }),
  models: (signal) => call("GET", "/models", { signal }),
  stats: (signal) => call("GET", "/stats", { signal }),
};
