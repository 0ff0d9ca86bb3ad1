// What people write on a command line, as the wire wants it: money, times, sizes, pairs. Each throws a usage error that shows a right example.
import type { WireMoney } from "@qubix/shared/protocol";
import { CURRENCY_DEFAULT } from "../defaults.ts";
import { usageError } from "../exit-codes.ts";

const MICRO_DIGITS = 6;
const AMOUNT = /^(?<whole>[0-9]{1,10})(?:\.(?<fraction>[0-9]{1,6}))?\s*(?<currency>[A-Z]{3,5})?(?:\s*\/\s*h(?:our)?)?$/;

/** `0.60`, `0.60/h`, `0.60 USD/h` → `{ amount: "600000", currency: "USD" }`. Exact: no floats. */
export function parseMoney(text: string, what: string): WireMoney {
  const groups = AMOUNT.exec(text.trim())?.groups;
  const whole = groups?.["whole"];
  if (whole === undefined) {
    throw usageError(
      `${what}: "${text}" is not an amount. Write for example 0.60, or 0.60 USD (at most six decimals).`,
    );
  }
  const micro = `${whole}${(groups?.["fraction"] ?? "").padEnd(MICRO_DIGITS, "0")}`;
  return { amount: BigInt(micro).toString(), currency: groups?.["currency"] ?? CURRENCY_DEFAULT };
}

/** An amount, its currency beside it (`--currency`) or behind it. */
export function parseMoneyIn(text: string, currency: string | undefined, what: string): WireMoney {
  return parseMoney(currency === undefined ? text : `${text} ${currency}`, what);
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, min: 60, h: 3600, d: 86_400 };

/** `90`, `90s`, `15m`, `1h30m`, `2d` → whole seconds. */
export function parseDurationS(text: string, what: string): number {
  const trimmed = text.trim();
  if (/^[0-9]+$/.test(trimmed)) return Number(trimmed);
  const parts = [...trimmed.matchAll(/([0-9]+(?:\.[0-9]+)?)\s*(min|[smhd])\s*/gy)];
  const length = parts.reduce((sum, part) => sum + part[0].length, 0);
  if (parts.length === 0 || length !== trimmed.length) {
    throw usageError(`${what}: "${text}" is not a duration. Write for example 45s, 15m, 1h or 1h30m.`);
  }
  return Math.round(parts.reduce((sum, part) => sum + Number(part[1]) * (SECONDS[part[2] ?? "s"] ?? 1), 0));
}

const BYTES_PER_MIB = 1_048_576;
const UNIT_BYTES: Readonly<Record<string, number>> = {
  "": BYTES_PER_MIB,
  m: BYTES_PER_MIB,
  mib: BYTES_PER_MIB,
  mb: 1e6,
  g: 1024 * BYTES_PER_MIB,
  gib: 1024 * BYTES_PER_MIB,
  gb: 1e9,
  t: 1024 * 1024 * BYTES_PER_MIB,
  tib: 1024 * 1024 * BYTES_PER_MIB,
  tb: 1e12,
};

/** `512`, `512MiB`, `2GiB`, `2GB` → whole MiB, rounded up. A bare number is MiB. */
export function parseMemoryMiB(text: string, what: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)$/.exec(text.trim());
  const unit = UNIT_BYTES[(match?.[2] ?? "-").toLowerCase()];
  if (match === null || unit === undefined) {
    throw usageError(`${what}: "${text}" is not a size. Write for example 512MiB or 2GiB.`);
  }
  return Math.ceil((Number(match[1]) * unit) / BYTES_PER_MIB);
}

/** A whole number of at least `min`. */
export function parseCount(text: string, what: string, min = 0): number {
  if (!/^[0-9]{1,15}$/.test(text.trim()) || Number(text) < min) {
    throw usageError(`${what}: "${text}" is not a whole number of at least ${min}.`);
  }
  return Number(text);
}

/** A decimal number, not below 0. */
export function parseDecimal(text: string, what: string): number {
  if (!/^[0-9]+(?:\.[0-9]+)?$/.test(text.trim())) {
    throw usageError(`${what}: "${text}" is not a number. Write for example 2 or 0.5.`);
  }
  return Number(text);
}

/** `KEY=VALUE` pairs; the value may be empty and may hold further `=`. */
export function parsePairs(texts: readonly string[], what: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text): [string, string] => {
      const at = text.indexOf("=");
      if (at < 1) throw usageError(`${what}: "${text}" is not of the form KEY=VALUE.`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

export interface LocalInput {
  readonly local: string;
  readonly to: string;
}

/** `LOCAL:/path/in/container`. The last `:/` divides, so that a local path may hold colons. */
export function parseInput(text: string, what: string): LocalInput {
  const at = text.lastIndexOf(":/");
  if (at < 1)
    throw usageError(`${what}: "${text}" is not of the form LOCAL:/path/in/container, e.g. ./data:/work/data.`);
  return { local: text.slice(0, at), to: text.slice(at + 1) };
}

/** A checkpoint of a job; without a number its newest. */
export interface CheckpointName {
  readonly job: string;
  readonly seq?: number;
}

/** `JOB` or `JOB@SEQ`; `what`: where it was written, for the error. */
export function parseCheckpointName(text: string, what: string): CheckpointName {
  const match = /^([^@\s]+)(?:@([1-9][0-9]{0,14}))?$/.exec(text.trim());
  if (match === null) {
    throw usageError(
      `${what}: "${text}" is not of the form JOB or JOB@SEQ. Write for example job-000001-abcdef@3; \`qubix checkpoints JOB\` lists them.`,
    );
  }
  const [, job = "", seq] = match;
  return seq === undefined ? { job } : { job, seq: Number(seq) };
}
