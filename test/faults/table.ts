// What each fault cost, for people: printed when all have been.

export interface FaultRow {
  readonly fault: string;
  /** From the fault to the first progress beyond what had been seen before it, as the consumer sees it in the followed log; null where there was none. */
  readonly recoveryMs: number | null;
  /** Container time that was thrown away, as the job itself tells it. */
  readonly lostMs: number;
  /** Ticks that were counted more than once. */
  readonly repeated: number;
  readonly failovers: number;
  readonly retries: number;
  /** What else is worth knowing. */
  readonly note: string;
}

export interface FaultTable {
  add(row: FaultRow): void;
  /** A fault that cannot be made here, and why. */
  leaveOut(fault: string, why: string): void;
  print(): void;
}

const HEAD = ["fault", "recovery", "work lost", "ticks again", "failovers", "retries", ""];

export function createFaultTable(): FaultTable {
  const lines: (readonly string[])[] = [];
  return {
    add: ({ fault, recoveryMs, lostMs, repeated, failovers, retries, note }) => {
      const recovery = recoveryMs === null ? "–" : `${(recoveryMs / 1000).toFixed(2)} s`;
      lines.push([
        fault,
        recovery,
        `${(lostMs / 1000).toFixed(2)} s`,
        String(repeated),
        String(failovers),
        String(retries),
        note,
      ]);
    },
    leaveOut: (fault, why) => {
      lines.push([fault, "–", "–", "–", "–", "–", `left out: ${why}`]);
    },
    print: () => {
      const all = [HEAD, ...lines];
      const widths = HEAD.map((_, column) => Math.max(...all.map((line) => (line[column] ?? "").length)));
      const text = all.map((line) =>
        line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      );
      console.log(text.join("\n"));
    },
  };
}
