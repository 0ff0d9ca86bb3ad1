// What a benchmark says: one row a metric, as a JSON line (design §12) or as a table for people; progress goes to standard error.

/** `system` is `qubix`, a peer's name, or `limit` for what the machine itself gives in the same run. */
export interface Row {
  readonly bench: string;
  readonly system: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  /** How many observations stand behind the value. */
  readonly n: number;
}

/** What a metric has to reach. */
export interface Bar {
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Report {
  row(row: Omit<Row, "bench">, bar?: Bar): void;
  /** Something that must hold whatever the speed; the program fails at the end if one does not. */
  check(what: string, holds: boolean, detail?: string): void;
  progress(text: string): void;
  /** Prints the table; true when every check held. */
  finish(): boolean;
}

export function createReport(bench: string, json: boolean): Report {
  const lines: string[][] = [["system", "metric", "value", "unit", "n", "bar"]];
  const checks: { readonly what: string; readonly holds: boolean; readonly detail: string }[] = [];
  const progress = (text: string) => process.stderr.write(`${bench}: ${text}\n`);
  return {
    row(row, bar) {
      const rounded = { bench, ...row, value: round(row.value) };
      if (json) process.stdout.write(`${JSON.stringify(rounded)}\n`);
      lines.push([row.system, row.metric, String(rounded.value), row.unit, String(row.n), barText(row.value, bar)]);
    },
    check(what, holds, detail = "") {
      checks.push({ what, holds, detail });
      progress(`audit: ${holds ? "ok  " : "FAIL"} ${what}${detail === "" ? "" : ` (${detail})`}`);
    },
    progress,
    finish() {
      if (!json) process.stdout.write(`${table(lines)}\n`);
      const failed = checks.filter((check) => !check.holds);
      for (const check of failed) progress(`did not hold: ${check.what} ${check.detail}`);
      return failed.length === 0;
    },
  };
}

function barText(value: number, bar: Bar | undefined): string {
  if (bar?.atLeast !== undefined) return `≥ ${bar.atLeast} ${value >= bar.atLeast ? "met" : "MISSED"}`;
  if (bar?.atMost !== undefined) return `≤ ${bar.atMost} ${value <= bar.atMost ? "met" : "MISSED"}`;
  return "";
}

/** Three decimals are more than any of these measurements is worth. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function table(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n");
}
