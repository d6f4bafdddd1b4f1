// The Prometheus text format, and what of it the traffic page needs.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Samples by metric name: `[{labels, value}]`. */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (!line.startsWith("gateway_") && !line.startsWith("gen_ai_")) continue;
    const match = LINE.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return found;
}

const sum = (samples = [], wanted = () => true) => samples.reduce((total, { labels, value }) => (wanted(labels) ? total + value : total), 0);

function buckets(samples = [], wanted = () => true) {
  const found = new Map();
  for (const { labels, value } of samples) {
    if (wanted(labels)) {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      found.set(bound, (found.get(bound) ?? 0) + value);
    }
  }
  return found;
}

/** One reading: counters as they stand, at `at` milliseconds. */
export function reading(text, at) {
  const all = parse(text);
  const requests = all.get("gateway_requests_total");
  const tokens = all.get("gen_ai_client_token_usage_sum");
  const durations = all.get("gateway_request_duration_seconds_bucket");
  const priced = all.get("gateway_cost_dollars_total") ?? [];
  const targets = new Map();
  for (const { labels } of requests ?? []) {
    const { model, provider } = labels;
    const key = JSON.stringify([model, provider]);
    if (targets.has(key)) continue;
    const here = (other) => other.model === model && other.provider === provider;
    targets.set(key, {
      cost: priced.some(({ labels: other }) => here(other)) ? sum(priced, here) : null,
      requests: sum(requests, here), errors: sum(requests, (other) => here(other) && other.error !== ""), buckets: buckets(durations, here),
    });
  }
  return {
    at, targets,
    requests: sum(requests),
    errors: sum(requests, ({ error }) => error !== ""),
    buckets: buckets(durations),
    input: sum(tokens, (labels) => labels.gen_ai_token_type === "input"),
    output: sum(tokens, (labels) => labels.gen_ai_token_type === "output"),
    active: sum(all.get("gateway_active_requests")),
    failovers: sum(all.get("gateway_failovers_total")),
    remembered: sum(all.get("gateway_session_requests_total"), ({ state }) => state === "resumed" || state === "replayed"),
    begun: sum(all.get("gateway_session_requests_total"), ({ state }) => state === "new"),
    stateless: sum(all.get("gateway_session_requests_total"), ({ state }) => state === "stateless" || state === "unsaved"),
  };
}

/** How much a counter grew; one that is smaller than before began anew. */
export const grown = (now, before) => (now >= before ? now - before : now);

/** How many observations of a histogram fell into each bucket since `before`. */
export function since(now, before = new Map()) {
  return new Map([...now].map(([bound, value]) => [bound, grown(value, before.get(bound) ?? 0)]));
}

/** The quantile of a cumulative histogram in seconds, evenly spread within a bucket; null of nothing. */
export function quantile(histogram, share) {
  const bounds = [...histogram].sort(([a], [b]) => a - b);
  const total = bounds.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let below = 0;
  let before = 0;
  for (const [bound, value] of bounds) {
    if (value >= share * total) {
      if (bound === Infinity) return below;
      return below + (bound - below) * ((share * total - before) / (value - before));
    }
    below = bound;
    before = value;
  }
  return below;
}
