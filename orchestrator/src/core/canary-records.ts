// What is kept of canaries.

/** Of the outputs of a canary, or the exit code it ends with; one of the two is what is known. */
export interface CanaryResult {
  readonly exitCode: number;
  /** {@link TreeContent.sum} of its outputs; null where it fails, as it should. */
  readonly sum: string | null;
}

/** How often a canary was given, and what came of it. */
export interface CanaryTally {
  readonly given: number;
  readonly right: number;
  readonly wrong: number;
  /** Somebody was accused by it, and has it as evidence: it is given to nobody any more. */
  readonly spent: boolean;
}

export interface CanariesKept {
  readonly tallies: Readonly<Record<string, CanaryTally>>;
  /** Canaries beyond their share of the jobs. */
  readonly debt: number;
}

/** With it anybody runs it again. */
export interface CanaryEvidence {
  readonly canary: string;
  readonly expected: CanaryResult | null;
  readonly result: { readonly exitCode: number | null; readonly sum: string | null };
}
