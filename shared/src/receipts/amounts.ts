// Whether the amounts of a receipt follow from rates and time, and from each other.
import { egressChargeBetween, egressHoldFor } from "../domain/egress.ts";
import {
  BASIS_POINTS_PER_WHOLE,
  chargeBetween,
  type Claim,
  holdFor,
  splitByLargestRemainder,
} from "../domain/money.ts";
import { inParts } from "../domain/prices.ts";
import type { Receipt, ReceiptAttempt } from "../protocol/receipts.ts";
import type { Check } from "./problem.ts";

const MS_PER_S = 1_000;
/** Two replicas and the third. */
const MIRROR_RUNS = 3;

interface Payee {
  readonly id: string;
  readonly role: "primary" | "standby";
  readonly providerId: string;
  readonly workerId: string;
  readonly creditedMs: number;
  readonly charge: bigint;
}

export function checkAmounts(receipt: Receipt, check: Check): void {
  const payees = payeesOf(receipt, check);
  checkTimes(receipt, check);
  checkEgress(receipt, check);
  if (receipt.totals === null || receipt.agreed === null) return checkOwnShares(receipt, payees, check);
  const hold = BigInt(receipt.agreed.hold);
  const { gross, fee, refund } = receipt.totals;
  const due = payees.reduce((sum, { charge }) => sum + charge, 0n);
  const most = BigInt(receipt.agreed.cap ?? receipt.agreed.hold);
  const expected = receipt.heldShort ? most : due;
  check(
    BigInt(gross) === expected,
    "gross_differs",
    "receipt",
    () => `gross is ${gross}, the charges come to ${expected}`,
  );
  check(BigInt(gross) <= hold, "gross_exceeds_hold", "receipt", () => `gross is ${gross}, and only ${hold} was held`);
  check(BigInt(gross) <= most, "gross_exceeds_cap", "receipt", () => `gross is ${gross}, and might be ${most} at most`);
  const short = receipt.agreed.mirror && due > most;
  check(
    !receipt.heldShort || short,
    "hold_not_short",
    "receipt",
    () => `${due} was due and ${hold} held: that is enough`,
  );
  if (!receipt.final) {
    check(receipt.lines.length === 0, "lines_unexpected", "receipt", () => "has shares, and is not final");
    return;
  }
  const feeDue = (BigInt(gross) * BigInt(receipt.feeBasisPoints)) / BASIS_POINTS_PER_WHOLE;
  check(fee === feeDue.toString(), "fee_differs", "receipt", () => `the fee is ${fee}, and should be ${feeDue}`);
  const back = hold - BigInt(gross);
  check(
    refund === back.toString(),
    "refund_differs",
    "receipt",
    () => `the refund is ${refund}, and should be ${back}`,
  );
  checkLines(receipt, payees, { net: BigInt(gross) - feeDue, fee: feeDue, refund: back }, check);
}

/** What each resource came to is the charge, split by the parts of its rate. */
function checkParts(
  { id, ratePerHour, parts }: Receipt["attempts"][number] | Receipt["standbys"][number],
  charge: bigint,
  check: Check,
): void {
  if (parts === undefined) return;
  const rates = parts.map((part) => ({ name: part.part, ratePerHour: BigInt(part.ratePerHour) }));
  const sum = rates.reduce((all, rate) => all + rate.ratePerHour, 0n);
  const isWhole = sum === BigInt(ratePerHour) && sum > 0n;
  check(isWhole, "parts_differ", id, () => `the parts of its rate sum to ${sum}, and not to ${ratePerHour}`);
  if (!isWhole) return;
  const charges = inParts(charge, rates);
  const isRight = parts.every((part) => charges.get(part.part) === BigInt(part.charge));
  check(isRight, "parts_differ", id, () => `the parts of its charge are not those of ${charge} at these rates`);
}

/** Recomputes each charge. */
function payeesOf(receipt: Receipt, check: Check): readonly Payee[] {
  const payees: Payee[] = [];
  // An attempt that took a running container over is its next window: windows add up to the charge of the whole.
  const add = (
    of: Receipt["attempts"][number] | Receipt["standbys"][number],
    role: Payee["role"],
    fromMs: number,
  ): void => {
    const timeCharge = chargeBetween(BigInt(of.ratePerHour), fromMs, fromMs + of.creditedMs);
    const egress = "epoch" in of ? egressOf(of as ReceiptAttempt, check) : undefined;
    const charge = timeCharge + (egress?.charge ?? 0n);
    check(of.charge === charge.toString(), "charge_differs", of.id, () => {
      const after = fromMs === 0 ? "" : ` after ${fromMs} ms`;
      const sent = egress === undefined ? "" : ` and ${egress.bytes} bytes sent at ${egress.pricePerGiB} a GiB`;
      return `is charged ${of.charge} for ${of.creditedMs} ms${after} at ${of.ratePerHour} an hour${sent}, which is ${charge}`;
    });
    checkParts(of, timeCharge, check);
    const { id, providerId, workerId, creditedMs } = of;
    if (creditedMs > 0) payees.push({ id, role, providerId, workerId, creditedMs, charge });
  };
  for (const attempt of receipt.attempts) add(attempt, "primary", attempt.baseRanMs);
  for (const standby of receipt.standbys) add(standby, "standby", 0);
  return payees;
}

/** Recomputes what its egress cost. */
function egressOf(
  { id, creditedMs, egress }: ReceiptAttempt,
  check: Check,
): { readonly bytes: number; readonly pricePerGiB: string; readonly charge: bigint } | undefined {
  if (egress === undefined) return undefined;
  const { pricePerGiB, baseBytes, bytes } = egress;
  const charge = egressChargeBetween(BigInt(pricePerGiB), baseBytes, baseBytes + bytes);
  check(egress.charge === charge.toString(), "egress_differs", id, () => {
    const after = baseBytes === 0 ? "" : ` after ${baseBytes} bytes`;
    return `is charged ${egress.charge} for ${bytes} bytes sent${after} at ${pricePerGiB} a GiB, which is ${charge}`;
  });
  check(creditedMs > 0 || bytes === 0, "egress_differs", id, () => "is paid for bytes sent, and for no time");
  return { bytes, pricePerGiB, charge };
}

/** No more bytes than were agreed, at no higher price; those of a container that went on are paid once. */
function checkEgress({ agreed, attempts }: Receipt, check: Check): void {
  for (const { id, replica, adoptedEpoch, egress } of attempts) {
    const before = attempts.find((one) => one.replica === replica && one.epoch === adoptedEpoch);
    if (egress === undefined || before === undefined) continue;
    const base = (before.egress?.baseBytes ?? 0) + (before.egress?.bytes ?? 0);
    const { baseBytes } = egress;
    check(baseBytes === base, "egress_counted_twice", id, () => {
      return `counts from ${baseBytes} bytes, and ${base} bytes were paid before`;
    });
  }
  if (agreed === null) return;
  const { bytesMax = 0, priceMaxPerGiB = "0" } = agreed.egress ?? {};
  const paid = attempts.reduce((sum, { egress }) => sum + (egress?.bytes ?? 0), 0);
  check(paid <= bytesMax, "egress_exceeds_agreed", "receipt", () => {
    return `${paid} bytes sent are paid, at most ${bytesMax} were agreed`;
  });
  for (const { id, egress } of attempts) {
    if (egress === undefined) continue;
    check(BigInt(egress.pricePerGiB) <= BigInt(priceMaxPerGiB), "egress_exceeds_agreed", id, () => {
      return `costs ${egress.pricePerGiB} for each GiB sent, at most ${priceMaxPerGiB} was agreed`;
    });
  }
}

function checkTimes(receipt: Receipt, check: Check): void {
  const { agreed, attempts, standbys } = receipt;
  for (const attempt of attempts) {
    check(
      attempt.refused !== true || attempt.creditedMs === 0,
      "refused_paid",
      attempt.id,
      () => "was outvoted, and is paid",
    );
    const { adoptedEpoch, replica, baseRanMs } = attempt;
    const before = attempts.find((one) => one.replica === replica && one.epoch === adoptedEpoch);
    if (before === undefined || before.refused === true) continue;
    const base = before.baseRanMs + before.creditedMs;
    check(
      baseRanMs === base,
      "time_counted_twice",
      attempt.id,
      () => `counts from ${baseRanMs} ms, and ${base} ms were paid before`,
    );
  }
  if (agreed === null) return;
  const maxMs = agreed.durationMaxS * MS_PER_S;
  const paidMs = attempts.reduce((sum, { creditedMs }) => sum + creditedMs, 0);
  const runs = agreed.mirror ? MIRROR_RUNS : 1;
  check(
    paidMs <= maxMs * runs,
    "time_exceeds_agreed",
    "receipt",
    () => `${paidMs} ms are paid, at most ${maxMs * runs} were agreed`,
  );
  const standbyMs = standbys.reduce((sum, { creditedMs }) => sum + creditedMs, 0);
  check(
    standbyMs <= maxMs,
    "time_exceeds_agreed",
    "receipt",
    () => `${standbyMs} ms of standbys are paid, at most ${maxMs} were agreed`,
  );
  const rateMax = BigInt(agreed.priceMaxPerHour);
  for (const { id, ratePerHour } of [...attempts, ...standbys]) {
    check(
      BigInt(ratePerHour) <= rateMax,
      "rate_exceeds_agreed",
      id,
      () => `costs ${ratePerHour} an hour, at most ${rateMax} was agreed`,
    );
  }
  const egress = agreed.egress;
  const hold =
    holdFor(rateMax, agreed.durationMaxS) +
    (egress === undefined ? 0n : egressHoldFor(BigInt(egress.priceMaxPerGiB), egress.bytesMax));
  const held = BigInt(agreed.hold);
  // A budget may have left less, and may have been lowered since.
  const isRight = agreed.cap === undefined ? held === hold : held <= hold && BigInt(agreed.cap) <= held;
  check(isRight, "hold_differs", "receipt", () => `${agreed.hold} was held, and should be ${hold}`);
}

interface Split {
  readonly net: bigint;
  readonly fee: bigint;
  readonly refund: bigint;
}

/** Shares by largest remainder, ties by id; fee and refund last; all together the hold. */
function checkLines({ agreed, lines }: Receipt, payees: readonly Payee[], split: Split, check: Check): void {
  const claims: Claim[] = payees.map(({ id, charge }) => ({ id, weight: charge }));
  const due = claims.reduce((sum, { weight }) => sum + weight, 0n);
  check(due > 0n || split.net === 0n, "shares_differ", "receipt", () => `${split.net} is shared, and nothing was due`);
  if (due === 0n && split.net !== 0n) return;
  const shares = splitByLargestRemainder(split.net, claims);
  const paid = lines.filter(({ role }) => role === "primary" || role === "standby");
  check(
    paid.length === payees.length,
    "shares_differ",
    "receipt",
    () => `has ${paid.length} shares for ${payees.length} that are due`,
  );
  for (const [at, payee] of payees.entries()) {
    const line = paid[at];
    const share = shares.get(payee.id) ?? 0n;
    const isRight =
      line?.role === payee.role &&
      ownerOf(line.account) === payee.providerId &&
      line.workerId === payee.workerId &&
      line.ms === payee.creditedMs;
    check(isRight, "shares_differ", payee.id, () => "has no share of its own");
    if (isRight)
      check(
        BigInt(line.amount) === share,
        "share_differs",
        payee.id,
        () => `gets ${line.amount}, and should get ${share}`,
      );
  }
  const sumOf = (role: string) =>
    lines.reduce((sum, line) => (line.role === role ? sum + BigInt(line.amount) : sum), 0n);
  check(
    sumOf("fee") === split.fee,
    "fee_differs",
    "receipt",
    () => `its fee line is ${sumOf("fee")}, and should be ${split.fee}`,
  );
  check(
    sumOf("refund") === split.refund,
    "refund_differs",
    "receipt",
    () => `its refund line is ${sumOf("refund")}, and should be ${split.refund}`,
  );
  const all = lines.reduce((sum, { amount }) => sum + BigInt(amount), 0n);
  check(
    agreed?.hold === all.toString(),
    "sum_differs",
    "receipt",
    () => `shares, fee and refund are ${all}, and ${agreed?.hold} was held`,
  );
}

/** A provider does not see the others' claims: his share lies between his charge less the fee, rounded down, and his charge. */
function checkOwnShares(
  { final, heldShort, feeBasisPoints, lines }: Receipt,
  payees: readonly Payee[],
  check: Check,
): void {
  if (!final) return;
  const kept = BASIS_POINTS_PER_WHOLE - BigInt(feeBasisPoints);
  check(
    lines.length === payees.length,
    "shares_differ",
    "receipt",
    () => `has ${lines.length} shares for ${payees.length} that are due`,
  );
  for (const [at, { id, charge, creditedMs }] of payees.entries()) {
    const line = lines[at];
    if (line === undefined) return;
    const least = heldShort ? 0n : (charge * kept) / BASIS_POINTS_PER_WHOLE;
    const isWithin = BigInt(line.amount) >= least && BigInt(line.amount) <= charge && line.ms === creditedMs;
    check(
      isWithin,
      "share_differs",
      id,
      () => `gets ${line.amount} for ${line.ms} ms, and should get ${least} to ${charge} for ${creditedMs} ms`,
    );
  }
}

/** `provider:ACC` → `ACC`. */
export function ownerOf(account: string): string {
  return account.slice(account.indexOf(":") + 1);
}
