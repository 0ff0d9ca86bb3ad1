// Jobs that wait for a place, fair between consumers: whoever uses the smallest dominant share goes first, then who was served longest ago; within
// one consumer first come, first served, and who had a place before goes before. Jobs that ask for the same thing share a signature: when one of them finds no offer
// the signature is blocked, for everybody, until a machine that could take it gains capacity; from then on only such machines are looked at,
// because it is known that no other fits.
import type { AccountId, JobId } from "@qubix/shared/domain";
import type { Machine, Usage } from "./machine.ts";
import { type OfferRequest, admits } from "./market.ts";

export interface JobQueue {
  /** All consumers who ever waited since the start: bounded by the accounts there are. */
  readonly accounts: Map<AccountId, AccountLine>;
  /** Accounts with a job whose signature is not blocked. */
  readonly open: Set<AccountLine>;
  readonly signatures: Map<string, Signature>;
  /** Signatures that once found no offer: they have candidates, and wait for some while they have none. */
  readonly narrowed: Set<Signature>;
  size: number;
  /** Counts how often anyone was served. */
  served: number;
}

export interface Signature {
  readonly key: string;
  readonly request: OfferRequest;
  readonly lines: Set<SignatureLine>;
  /** No machine outside of these fits; `null` where that is not known yet. */
  candidates: Set<Machine> | null;
}

/** One consumer's jobs. */
export interface AccountLine {
  readonly accountId: AccountId;
  readonly lines: Map<Signature, SignatureLine>;
  readonly open: Set<SignatureLine>;
  servedAt: number;
}

/** One consumer's jobs of one signature, in order. */
export interface SignatureLine {
  readonly account: AccountLine;
  readonly signature: Signature;
  readonly waiting: Waiting[];
  /** Those before it are gone. */
  head: number;
}

export interface Waiting {
  readonly jobId: JobId;
  /** Sorts those that had a place before the others, then by creation. */
  readonly order: string;
}

/** Gone entries at the front of a line are cut off in pieces of this many. */
const CUT_AT = 1_024;

export function createJobQueue(): JobQueue {
  return { accounts: new Map(), open: new Set(), signatures: new Map(), narrowed: new Set(), size: 0, served: 0 };
}

/** The order of a job in its line. */
export function waitingOf(jobId: JobId, placedBefore: boolean): Waiting {
  return { jobId, order: `${placedBefore ? 0 : 1}${jobId}` };
}

export function enqueue(
  queue: JobQueue,
  accountId: AccountId,
  key: string,
  request: () => OfferRequest,
  waiting: Waiting,
): void {
  let signature = queue.signatures.get(key);
  if (signature === undefined) {
    queue.signatures.set(key, (signature = { key, request: request(), lines: new Set(), candidates: null }));
  }
  let account = queue.accounts.get(accountId);
  if (account === undefined) {
    queue.accounts.set(accountId, (account = { accountId, lines: new Map(), open: new Set(), servedAt: 0 }));
  }
  let line = account.lines.get(signature);
  if (line === undefined) {
    line = { account, signature, waiting: [], head: 0 };
    account.lines.set(signature, line);
    signature.lines.add(line);
    if (!isBlocked(signature)) openLine(queue, line);
  }
  line.waiting.splice(positionIn(line, waiting.order), 0, waiting);
  queue.size += 1;
}

export function dequeue(queue: JobQueue, accountId: AccountId, key: string, waiting: Waiting): void {
  const signature = queue.signatures.get(key);
  const account = queue.accounts.get(accountId);
  const line = signature === undefined ? undefined : account?.lines.get(signature);
  if (signature === undefined || account === undefined || line === undefined) return;
  const at = positionIn(line, waiting.order);
  if (line.waiting[at]?.jobId !== waiting.jobId) return;
  queue.size -= 1;
  if (at === line.head) {
    line.head += 1;
    if (line.head >= CUT_AT) {
      line.waiting.splice(0, line.head);
      line.head = 0;
    }
  } else {
    line.waiting.splice(at, 1);
  }
  if (line.head < line.waiting.length) return;
  closeLine(queue, line);
  account.lines.delete(signature);
  signature.lines.delete(line);
  if (signature.lines.size === 0) {
    queue.signatures.delete(key);
    queue.narrowed.delete(signature);
  }
}

/** Whose turn it is among those who may find an offer. */
export function nextWaiting(
  queue: JobQueue,
  usage: ReadonlyMap<AccountId, Usage>,
  totals: Usage,
): { readonly line: SignatureLine; readonly waiting: Waiting } | undefined {
  while (queue.open.size > 0) {
    const account = neediest(queue, usage, totals);
    const line = account === undefined ? undefined : firstLine(queue, account);
    const waiting = line?.waiting[line.head];
    if (line !== undefined && waiting !== undefined) return { line, waiting };
  }
  return undefined;
}

function neediest(queue: JobQueue, usage: ReadonlyMap<AccountId, Usage>, totals: Usage): AccountLine | undefined {
  let chosen: AccountLine | undefined;
  let chosenShare = Infinity;
  for (const account of queue.open) {
    const share = dominantShare(usage.get(account.accountId), totals);
    if (chosen === undefined || share < chosenShare || (share === chosenShare && servedBefore(account, chosen))) {
      chosen = account;
      chosenShare = share;
    }
  }
  return chosen;
}

/** The consumer's oldest job that may find an offer. Signatures whose candidates are taken by now are blocked on the way. */
function firstLine(queue: JobQueue, account: AccountLine): SignatureLine | undefined {
  let first: SignatureLine | undefined;
  for (const line of account.open) {
    if (first !== undefined && orderOf(first) < orderOf(line)) continue;
    if (mayFit(line.signature)) first = line;
    else block(queue, line.signature);
  }
  return first;
}

function mayFit({ candidates, request }: Signature): boolean {
  if (candidates === null) return true;
  for (const machine of candidates) {
    if (admits(machine, request)) return true;
    candidates.delete(machine);
  }
  return false;
}

/** Remembers that the consumer got something, to break ties. */
export function noteServed(queue: JobQueue, account: AccountLine): void {
  queue.served += 1;
  account.servedAt = queue.served;
}

/** No offer fits it now: it waits for a machine that gains capacity. */
export function block(queue: JobQueue, signature: Signature): void {
  signature.candidates = new Set();
  queue.narrowed.add(signature);
  for (const line of signature.lines) closeLine(queue, line);
}

/** This machine gained capacity: it is a candidate for whatever it could take. */
export function offerCandidate(queue: JobQueue, machine: Machine): void {
  for (const signature of queue.narrowed) {
    const { candidates } = signature;
    if (candidates === null || candidates.has(machine) || !admits(machine, signature.request)) continue;
    candidates.add(machine);
    if (candidates.size > 1) continue;
    for (const line of signature.lines) openLine(queue, line);
  }
}

function isBlocked({ candidates }: Signature): boolean {
  return candidates !== null && candidates.size === 0;
}

/** The largest part of anything that the consumer has in use. */
export function dominantShare(usage: Usage | undefined, totals: Usage): number {
  if (usage === undefined) return 0;
  return Math.max(
    part(usage.gpus, totals.gpus),
    part(usage.cpuMilli, totals.cpuMilli),
    part(usage.memoryMiB, totals.memoryMiB),
  );
}

function part(used: number, total: number): number {
  return used === 0 ? 0 : total === 0 ? 1 : used / total;
}

function servedBefore(a: AccountLine, b: AccountLine): boolean {
  return a.servedAt < b.servedAt || (a.servedAt === b.servedAt && a.accountId < b.accountId);
}

function orderOf(line: SignatureLine): string {
  return line.waiting[line.head]?.order ?? "";
}

function openLine(queue: JobQueue, line: SignatureLine): void {
  line.account.open.add(line);
  queue.open.add(line.account);
}

function closeLine(queue: JobQueue, line: SignatureLine): void {
  line.account.open.delete(line);
  if (line.account.open.size === 0) queue.open.delete(line.account);
}

function positionIn(line: SignatureLine, order: string): number {
  const { waiting } = line;
  let low = line.head;
  let high = waiting.length;
  if (high > low && (waiting[high - 1] as Waiting).order < order) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((waiting[middle] as Waiting).order < order) low = middle + 1;
    else high = middle;
  }
  return low;
}
