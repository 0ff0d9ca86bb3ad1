// Whether the ledger's transfers in a receipt are those that its account asks for.
import type { Receipt } from "../protocol/receipts.ts";
import { ownerOf } from "./amounts.ts";
import type { Check } from "./problem.ts";

export function checkTransfers(receipt: Receipt, check: Check): void {
  if (receipt.agreed === null) return checkOwn(receipt, check);
  for (const { id, postings } of receipt.transfers) {
    const sum = postings.reduce((total, { amount }) => total + BigInt(amount), 0n);
    check(sum === 0n, "transfer_unbalanced", id, () => `its postings sum to ${sum}`);
  }
  const escrow = `escrow:${receipt.jobId}`;
  const { hold } = receipt.agreed;
  // The operator's own money for a check is another kind of hold.
  const held = ["hold", "check"].reduce((sum, kind) => sum + sumOn(receipt, kind, (account) => account === escrow), 0n);
  check(held === BigInt(hold), "hold_not_posted", "receipt", () => `${held} went into ${escrow}, and ${hold} was held`);
  const settled = -sumOn(receipt, "settlement", (account) => account === escrow);
  const due = receipt.final ? BigInt(hold) : 0n;
  check(
    settled === due,
    "settlement_not_posted",
    "receipt",
    () => `${settled} came out of ${escrow}, and should be ${due}`,
  );
  if (!receipt.final) return;
  const owed = byOwner(receipt.lines.map(({ account, amount }) => ({ account, amount: BigInt(amount) })));
  const posted = byOwner(
    receipt.transfers
      .filter(({ kind }) => kind === "settlement")
      .flatMap(({ postings }) => postings)
      .filter(({ account }) => account !== escrow)
      .map(({ account, amount }) => ({ account, amount: BigInt(amount) })),
  );
  for (const owner of new Set([...owed.keys(), ...posted.keys()])) {
    const [should, is] = [owed.get(owner) ?? 0n, posted.get(owner) ?? 0n];
    check(should === is, "posting_differs", owner, () => `was posted ${is}, and is due ${should}`);
  }
}

/** A provider sees the postings on his own accounts. */
function checkOwn(receipt: Receipt, check: Check): void {
  if (!receipt.final) return;
  const due = receipt.lines.reduce((sum, { amount }) => sum + BigInt(amount), 0n);
  const posted = sumOn(receipt, "settlement", () => true);
  check(posted === due, "posting_differs", "receipt", () => `${posted} was posted, and ${due} is due`);
}

function sumOn({ transfers }: Receipt, kind: string, wanted: (account: string) => boolean): bigint {
  return transfers
    .filter((transfer) => transfer.kind === kind)
    .flatMap(({ postings }) => postings)
    .reduce((sum, { account, amount }) => (wanted(account) ? sum + BigInt(amount) : sum), 0n);
}

/** A provider's share is pending at first: what counts is whose it is. A consumer who provides for himself has two sides. */
function byOwner(
  postings: readonly { readonly account: string; readonly amount: bigint }[],
): ReadonlyMap<string, bigint> {
  const sums = new Map<string, bigint>();
  for (const { account, amount } of postings) {
    const side = /^(pending|provider):/.test(account) ? `provider ${ownerOf(account)}` : account;
    sums.set(side, (sums.get(side) ?? 0n) + amount);
  }
  return sums;
}
