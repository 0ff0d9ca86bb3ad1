// A mutant: the product with one promise broken.

export interface Patch {
  readonly file: string;
  /** Must be in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** Takes longer to be found: left out of the tests of every day. */
  readonly isSlow?: true;
}

/** Where most of them are broken. */
export const CORE = "orchestrator/src/core";
export const WORKER = "worker/src/core";
