// Verifies a receipt by itself: signatures, chains, charges, shares, sums, transfers. Pure; who calls it brings Ed25519.
import { type Receipt, receiptSchema } from "../protocol/receipts.ts";
import { checkAmounts } from "./amounts.ts";
import { type ChainFigures, checkChains, type VerifySignature } from "./chains.ts";
import { receiptDigest } from "./digest.ts";
import { createCheck, type ReceiptProblem } from "./problem.ts";
import { checkTransfers } from "./transfers.ts";

export type { VerifySignature } from "./chains.ts";
export type { ReceiptProblem } from "./problem.ts";

export interface ReceiptVerdict {
  readonly verified: boolean;
  /** All that does not add up; empty where it is verified. */
  readonly problems: readonly ReceiptProblem[];
  readonly figures: ChainFigures;
  /** Null where it is no receipt at all. */
  readonly receipt: Receipt | null;
}

const NO_FIGURES: ChainFigures = { ticks: 0, signedMs: 0, unsignedMs: 0, contradictions: 0 };

/** `value`: as JSON gave it. Never throws. */
export function verifyReceipt(value: unknown, verifySignature: VerifySignature): ReceiptVerdict {
  const parsed = receiptSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue === undefined || issue.path.length === 0 ? "it" : issue.path.join(".");
    const problem = {
      code: "malformed",
      at: "receipt",
      message: `is no receipt: ${where}: ${issue?.message ?? "unknown"}`,
    };
    return { verified: false, problems: [problem], figures: NO_FIGURES, receipt: null };
  }
  const receipt = parsed.data;
  const problems: ReceiptProblem[] = [];
  const check = createCheck(problems);
  const digest = receiptDigest(value as Readonly<Record<string, unknown>>);
  check(
    receipt.digest === digest,
    "digest_differs",
    "receipt",
    () => "was changed after it was made: its digest is another",
  );
  const figures = checkChains(receipt, verifySignature, check);
  checkAmounts(receipt, check);
  checkTransfers(receipt, check);
  return { verified: problems.length === 0, problems, figures, receipt };
}
