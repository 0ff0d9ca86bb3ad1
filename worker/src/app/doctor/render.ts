// The report for people: one line per check, and the remedy below it where something is to be done. Colours only on a terminal.
import { styleText } from "node:util";
import type { Check, CheckStatus } from "./check.ts";

const MARKS: Readonly<Record<CheckStatus, { readonly text: string; readonly style: Parameters<typeof styleText>[0] }>> =
  {
    ok: { text: "ok  ", style: "green" },
    warn: { text: "warn", style: "yellow" },
    fail: { text: "FAIL", style: ["red", "bold"] },
    skip: { text: "skip", style: "dim" },
  };
const NAME_WIDTH = 24;

export type Paint = (style: Parameters<typeof styleText>[0], text: string) => string;

/** Paints where the stream is a terminal that wants colours (NO_COLOR, FORCE_COLOR are heeded). */
export function paintFor(stream: NodeJS.WriteStream): Paint {
  return (style, text) => styleText(style, text, { stream });
}

export function renderCheck(check: Check, paint: Paint): string {
  const { text, style } = MARKS[check.status];
  const needed = check.needed === "" || check.status === "ok" ? "" : paint("dim", ` (needed: ${check.needed})`);
  const line = `${paint(style, text)}  ${check.name.padEnd(NAME_WIDTH)} ${check.found}${needed}`;
  return check.remedy === "" ? line : `${line}\n      ${" ".repeat(NAME_WIDTH)} → ${check.remedy}`;
}

export function renderSummary(checks: readonly Check[], paint: Paint): string {
  const count = (status: CheckStatus) => checks.filter((check) => check.status === status).length;
  const counts = `${count("ok")} ok, ${count("warn")} warnings, ${count("fail")} failed, ${count("skip")} skipped`;
  return count("fail") > 0
    ? paint("red", `Not ready: ${counts}. Mend what failed, and run doctor again.`)
    : paint("green", `Ready: ${counts}.`);
}
