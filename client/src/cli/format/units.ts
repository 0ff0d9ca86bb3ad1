// Figures for people: money, times, sizes.
import { formatUnits } from "@qubix/shared/domain";
import type { WireMoney } from "@qubix/shared/protocol";

/** Micro-units, `"1250000"` → `1.25`. */
export function formatAmount(amount: string): string {
  return formatUnits(BigInt(amount));
}

/** `{"amount": "1250000", "currency": "USD"}` → `1.25 USD`. */
export function formatMoney(money: WireMoney): string {
  return `${formatAmount(money.amount)} ${money.currency}`;
}

/** {@link formatMoney} of amounts in one currency. */
export function moneyIn(currency: string): (amount: string) => string {
  return (amount) => formatMoney({ amount, currency });
}

/** `0.12 USD/h`. */
export function formatRate(money: WireMoney): string {
  return `${formatMoney(money)}/h`;
}

const MS_PER_S = 1000;
const S_PER_MIN = 60;
const S_PER_H = 3600;
const S_PER_DAY = 86_400;

/** `180 ms`, `1.2 s`, `42 s`, `3 min 05 s`, `2 h 07 min`, `4 d 3 h`. */
export function formatDuration(ms: number): string {
  if (ms < MS_PER_S) return `${Math.round(ms)} ms`;
  if (ms < 10 * MS_PER_S) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const s = Math.floor(ms / MS_PER_S);
  if (s < S_PER_MIN) return `${s} s`;
  if (s < S_PER_H) return `${Math.floor(s / S_PER_MIN)} min ${two(s % S_PER_MIN)} s`;
  if (s < S_PER_DAY) return `${Math.floor(s / S_PER_H)} h ${two(Math.floor((s % S_PER_H) / S_PER_MIN))} min`;
  return `${Math.floor(s / S_PER_DAY)} d ${Math.floor((s % S_PER_DAY) / S_PER_H)} h`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `512 B`, `12.3 KiB`, `64 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || Number.isInteger(value) || value >= 100 ? String(Math.round(value)) : value.toFixed(1);
  return `${text} ${BYTE_UNITS[unit]}`;
}

export function formatMiB(mib: number): string {
  return formatBytes(mib * 1024 * 1024);
}

/** `42%`; a dash where nothing is known. */
export function formatProgress(progress: number | null): string {
  return progress === null ? "-" : `${Math.floor(Math.min(1, Math.max(0, progress)) * 100)}%`;
}

/** `3 s ago`. */
export function formatAgo(time: string, nowMs: number): string {
  return `${formatDuration(Math.max(0, nowMs - Date.parse(time)))} ago`;
}

/** `1 file`, `3 files`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** What others named (jobs, workers, files) must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "?");
}

/** What stands behind a currency, in words. */
export function formatBacking({ driver, enforced }: { readonly driver: string; readonly enforced: string }): string {
  return enforced === "contract" ? `contract on ${driver}` : "the operator's word (custodial)";
}
