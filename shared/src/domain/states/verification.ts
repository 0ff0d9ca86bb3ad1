import type { StateTable } from "./table.ts";

export type VerificationPhase = "running" | "comparing" | "passed" | "failed" | "inconclusive";

/**
 * A finished job whose result is checked by running it, or a part of it, again. compare: all runs have ended, and files must be read to tell whether their results are
 * the same within the job's tolerance. called: another run is needed. agreed: the job's own result stands. outvoted: two runs agree on another one.
 * undecided: nobody can tell.
 */
export type VerificationEvent = "compare" | "called" | "agreed" | "outvoted" | "undecided";

const over = {
  compare: "ignore",
  called: "ignore",
  agreed: "ignore",
  outvoted: "ignore",
  undecided: "ignore",
} as const;

const decided = {
  called: { next: "running", effects: "another run is queued, elsewhere" },
  agreed: { next: "passed", effects: "the pay is let go; who agreed has one more verified result" },
  outvoted: { next: "failed", effects: "the pay goes back to the consumer; who did it alone is accused" },
  undecided: { next: "inconclusive", effects: "the pay is let go; nobody is blamed, the consumer is told why" },
} as const;

export const verificationTable: StateTable<VerificationPhase, VerificationEvent> = {
  name: "verification",
  initial: "running",
  final: ["passed", "failed", "inconclusive"],
  cells: {
    running: {
      compare: { next: "comparing", effects: "the files are read and compared outside the core" },
      ...decided,
    },
    comparing: { compare: "ignore", ...decided },
    passed: over,
    failed: over,
    inconclusive: over,
  },
};
