// Numbers and times as people read them.

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");
const stamp = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export const count = (number) => whole.format(number);
export const short = (number) => (Math.abs(number) < 10_000 ? whole.format(Math.round(number)) : compact.format(number));
export const moment = (text) => stamp.format(new Date(text));
export const hour = (when) => clock.format(new Date(when));
export const many = (number, thing) => `${whole.format(number)} ${thing}${number === 1 ? "" : "s"}`;

/** Seconds in one unit: `4 s`, `12 min`, `3 h`, `5 d`. */
export function span(seconds) {
  const value = Math.max(0, seconds);
  if (value < 59.5) return `${Math.round(value)} s`;
  if (value < 3570) return `${Math.round(value / 60)} min`;
  if (value < 86_000) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86_400)} d`;
}

/** How long ago: `now`, then as a span. */
export function ago(text) {
  const seconds = (Date.now() - new Date(text)) / 1000;
  return seconds < 5 ? "now" : span(seconds);
}

export const until = (text) => span((new Date(text) - Date.now()) / 1000);

/** A latency in seconds: `840 ms`, `1.4 s`, `2 min`. */
export function latency(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.001) return "< 1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return span(seconds);
}

export function rate(number) {
  if (number === null || number === undefined) return "–";
  if (Number.isInteger(number)) return short(number);
  return number < 10 ? number.toFixed(number < 1 ? 2 : 1) : short(number);
}

/** Dollars; small sums keep what counts. */
export const dollars = (sum, places = 0) => `$${sum >= 1000 ? compact.format(sum) : sum >= 1 || places || sum === 0 ? sum.toFixed(2) : sum.toPrecision(2)}`;

export function bytes(number) {
  if (number < 1024) return `${number} B`;
  if (number < 1 << 20) return `${Math.round(number / 1024)} KiB`;
  const whole = number % (1 << 20) === 0;
  return `${(number / (1 << 20)).toFixed(whole ? 0 : 1)} MiB`;
}
