// What a receipt is told to be wrong in.

export interface ReceiptProblem {
  /** A literal for programs. */
  readonly code: string;
  /** Where: `receipt`, an attempt's, standby's or transfer's id. */
  readonly at: string;
  /** For people: what does not add up. */
  readonly message: string;
}

/** Notes a problem unless `ok`. */
export type Check = (ok: boolean, code: string, at: string, message: () => string) => void;

export function createCheck(problems: ReceiptProblem[]): Check {
  return (ok, code, at, message) => {
    if (!ok) problems.push({ code, at, message: message() });
  };
}
