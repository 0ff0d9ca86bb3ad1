// Whether the workers' own accounts in a receipt are theirs, whole, and cover what was credited.
import type { Receipt, ReceiptAttempt, ReceiptTick } from "../protocol/receipts.ts";
import { type TickStatement, tickText } from "../protocol/ticks.ts";
import { tickHash } from "./hash.ts";
import type { Check } from "./problem.ts";

/** Ed25519 over UTF-8 text; key (raw, 32 bytes) and signature in base64url. False for anything that is not one. */
export type VerifySignature = (publicKey: string, text: string, signature: string) => boolean;

/** The attempts of one container, oldest first: each took over the one before. */
type Chain = readonly ReceiptAttempt[];

export interface ChainFigures {
  /** Signatures that are good. */
  readonly ticks: number;
  /** Paid time that a worker has signed for, and paid time without a signature. */
  readonly signedMs: number;
  readonly unsignedMs: number;
  /** Attempts whose worker has signed two different statements of one number. */
  readonly contradictions: number;
}

export function checkChains(receipt: Receipt, verifySignature: VerifySignature, check: Check): ChainFigures {
  const figures = { ticks: 0, signedMs: 0, unsignedMs: 0, contradictions: 0 };
  const chains = chainsOf(receipt);
  const chained = new Set(chains.flat());
  for (const attempt of receipt.attempts) {
    const isOne = receipt.attempts.filter(
      ({ replica, epoch }) => replica === attempt.replica && epoch === attempt.epoch,
    );
    const isPlaced = chained.has(attempt) && isOne.length === 1;
    check(isPlaced, "attempts_confused", attempt.id, () => "is not one of a row of attempts of one container");
  }
  for (const chain of chains) {
    const place: Place = { hash: null, n: 0, ranMs: 0, egressBytes: 0, gap: false };
    for (const attempt of chain) {
      for (const tick of attempt.ticks) {
        const at = `${attempt.id} tick ${tick.n}`;
        const statement = statementOf(receipt.jobId, attempt, tick);
        const isGood = verifySignature(attempt.publicKey, tickText(statement), tick.signature);
        check(isGood, "signature_invalid", at, () => `is not signed by worker ${attempt.workerId}`);
        check(tick.epoch === attempt.epoch, "attempts_confused", at, () => `was signed under epoch ${tick.epoch}`);
        if (isGood) figures.ticks += 1;
        if (tick.contradicts === true) {
          figures.contradictions += 1;
          checkContradiction(receipt.jobId, attempt, tick, at, check);
        } else follow(check, at, place, tick, statement);
      }
      // What was not kept cannot be followed over.
      if (attempt.ticksLeftOut > 0) place.gap = true;
      checkSent(attempt, place, check);
      const covered = coveredMs(attempt, place);
      figures.signedMs += covered;
      figures.unsignedMs += attempt.creditedMs - covered;
    }
  }
  return figures;
}

/** Where a chain stands. */
interface Place {
  hash: string | null;
  n: number;
  ranMs: number;
  egressBytes: number;
  gap: boolean;
}

function checkContradiction(jobId: string, attempt: ReceiptAttempt, tick: ReceiptTick, at: string, check: Check): void {
  const own = tickHash(statementOf(jobId, attempt, tick));
  const other = attempt.ticks.find(({ n, contradicts }) => n === tick.n && contradicts !== true);
  const differs = other !== undefined && tickHash(statementOf(jobId, attempt, other)) !== own;
  check(differs, "contradiction_unfounded", at, () => "is said to contradict another of its number, and none does");
}

function follow(check: Check, at: string, place: Place, tick: ReceiptTick, statement: TickStatement): void {
  const follows = place.gap || tick.prev === place.hash;
  check(
    follows,
    "chain_broken",
    at,
    () => `names ${short(tick.prev)} as the one before it, which is ${short(place.hash)}`,
  );
  check(tick.n > place.n, "chain_broken", at, () => `comes after number ${place.n}`);
  check(tick.ranMs >= place.ranMs, "tick_falls", at, () => `tells of ${tick.ranMs} ms after ${place.ranMs} ms`);
  const sent = tick.usage?.["egressBytes"] ?? place.egressBytes;
  check(sent >= place.egressBytes, "tick_falls", at, () => `tells of ${sent} bytes sent after ${place.egressBytes}`);
  place.egressBytes = sent;
  place.hash = tickHash(statement);
  place.n = tick.n;
  place.ranMs = tick.ranMs;
  place.gap = false;
}

/** No byte is paid that its worker has not signed for. Ticks that were left out were checked when they came. */
function checkSent({ id, egress, ticksLeftOut }: ReceiptAttempt, { egressBytes, gap }: Place, check: Check): void {
  if (egress === undefined || egress.bytes === 0 || gap || ticksLeftOut > 0) return;
  const paid = egress.baseBytes + egress.bytes;
  check(paid <= egressBytes, "egress_unsigned", id, () => {
    return `is paid up to ${paid} bytes sent, and its worker has signed for ${egressBytes}`;
  });
}

/** Of an attempt's paid time: what its chain covers. Ticks that were left out were checked when they came. */
function coveredMs({ creditedMs, baseRanMs, ticksLeftOut }: ReceiptAttempt, { ranMs, gap }: Place): number {
  if (gap || ticksLeftOut > 0) return creditedMs;
  return Math.max(0, Math.min(creditedMs, ranMs - baseRanMs));
}

function chainsOf({ attempts }: Receipt): readonly Chain[] {
  // The newest that took an attempt over: an older one of which its worker never heard is a row by itself.
  const successors = new Map(attempts.map((attempt) => [`${attempt.replica}/${attempt.adoptedEpoch}`, attempt]));
  const isUnheard = (attempt: ReceiptAttempt) =>
    attempt.creditedMs === 0 &&
    attempt.ticks.length === 0 &&
    successors.get(`${attempt.replica}/${attempt.adoptedEpoch}`) !== attempt;
  return attempts
    .filter(
      (attempt) =>
        isUnheard(attempt) ||
        !attempts.some(({ replica, epoch }) => replica === attempt.replica && epoch === attempt.adoptedEpoch),
    )
    .map((first) => {
      const chain = [first];
      for (let next = successors.get(`${first.replica}/${first.epoch}`); next !== undefined; ) {
        chain.push(next);
        next = next.epoch > next.adoptedEpoch ? successors.get(`${next.replica}/${next.epoch}`) : undefined;
      }
      return chain;
    });
}

function statementOf(jobId: string, { replica }: ReceiptAttempt, tick: ReceiptTick): TickStatement {
  const { n, moment, ranMs, prev, usage, epoch } = tick;
  return { attempt: { jobId, replica, epoch }, n, moment, ranMs, prev, usage };
}

function short(hash: string | null): string {
  return hash === null ? "none" : `${hash.slice(0, 12)}…`;
}
