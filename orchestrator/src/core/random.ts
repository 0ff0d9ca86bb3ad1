// The seeded generator (mulberry32: 32 bits of state) and the ids made with it. Ids hold a counter, so that they sort by creation, and a few random characters, so that they cannot be guessed by counting.
import type { AccountId, JobId, TransferId, WorkerId } from "@qubix/shared/domain";

/** The part of the state that ids come from. */
export interface IdSource {
  random: number;
  jobCount: number;
  workerCount: number;
  accountCount: number;
  transferCount: number;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz234567";
/** Digits of base 36: 36^8 is 2.8 million million. */
const COUNTER_DIGITS = 8;
const SUFFIX_LETTERS = 6;
export const JOB_NUMBERS = 36 ** COUNTER_DIGITS;

/** The next 32 random bits; advances `source.random`. */
export function nextRandom(source: { random: number }): number {
  source.random = (source.random + 0x6d2b79f5) | 0;
  let mixed = source.random;
  mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return (mixed ^ (mixed >>> 14)) >>> 0;
}

export function newJobId(source: IdSource): JobId {
  source.jobCount += 1;
  return `job-${counter(source.jobCount)}-${letters(source)}` as JobId;
}

/** Jobs count from 1 in the order of their creation; less than {@link JOB_NUMBERS}. */
export function jobNumber(id: JobId): number {
  return Number.parseInt(id.slice("job-".length, "job-".length + COUNTER_DIGITS), 36);
}

export function newWorkerId(source: IdSource): WorkerId {
  source.workerCount += 1;
  return `wrk-${counter(source.workerCount)}-${letters(source)}` as WorkerId;
}

export function newAccountId(source: IdSource): AccountId {
  source.accountCount += 1;
  return `acc-${counter(source.accountCount)}-${letters(source)}` as AccountId;
}

/** Transfers are found by their job or account: a counter does, and sorts. */
export function newTransferId(source: IdSource): TransferId {
  source.transferCount += 1;
  return `trf-${source.transferCount.toString(36).padStart(COUNTER_DIGITS + 2, "0")}` as TransferId;
}

/** Names one challenge among those under way. */
export function newChallengeId(source: { random: number }): string {
  const digits = () => nextRandom(source).toString(36).padStart(7, "0");
  return `prf-${digits()}${digits()}`;
}

/** Exponentially distributed: how long it still takes says nothing about how long it has taken. */
export function randomWaitMs(source: { random: number }, meanMs: number): number {
  return -Math.log((nextRandom(source) + 1) / 2 ** 32) * meanMs;
}

function counter(value: number): string {
  return value.toString(36).padStart(COUNTER_DIGITS, "0");
}

function letters(source: { random: number }): string {
  let bits = nextRandom(source);
  let text = "";
  for (let i = 0; i < SUFFIX_LETTERS; i += 1) {
    text += LETTERS.charAt(bits & 31);
    bits >>>= 5;
  }
  return text;
}
