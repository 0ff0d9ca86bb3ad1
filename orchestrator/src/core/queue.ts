// Jobs that wait for a place, fair between consumers: whoever uses the smallest dominant share goes first, then who was served longest ago; within
// one consumer first come, first served, and who had a place before goes before. Jobs that ask for the same thing share a signature: when one of them finds no offer
// the signature is blocked, for everybody, until a machine that could take it gains capacity.
import type { AccountId, JobId } from "@qubix/shared/domain";
import { type OfferRequest, admits } from "./market.ts";
import type { Machine, Usage } from "./state.ts";

export interface JobQueue {
  /** All consumers who ever waited since the start: bounded by the accounts there are. */
  readonly accounts: Map<AccountId, AccountLine>;
  /** Accounts with a job whose signature is not blocked. */
  readonly open: Set<AccountLine>;
  readonly signatures: Map<string, Signature>;
  readonly blocked: Set<Signature>;
  size: number;
  /** Counts how often anyone was served. */
  served: number;
}

export interface Signature {
  readonly key: string;
  readonly request: OfferRequest;
  readonly lines: Set<SignatureLine>;
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
  return { accounts: new Map(), open: new Set(), signatures: new Map(), blocked: new Set(), size: 0, served: 0 };
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
    queue.signatures.set(key, (signature = { key, request: request(), lines: new Set() }));
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
    if (!queue.blocked.has(signature)) openLine(queue, line);
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
    queue.blocked.delete(signature);
  }
}

/** Whose turn it is among those who may find an offer. */
export function nextWaiting(
  queue: JobQueue,
  usage: ReadonlyMap<AccountId, Usage>,
  totals: Usage,
): { readonly line: SignatureLine; readonly waiting: Waiting } | undefined {
  let chosen: AccountLine | undefined;
  let chosenShare = Infinity;
  for (const account of queue.open) {
    const share = dominantShare(usage.get(account.accountId), totals);
    if (chosen === undefined || share < chosenShare || (share === chosenShare && servedBefore(account, chosen))) {
      chosen = account;
      chosenShare = share;
    }
  }
  let first: SignatureLine | undefined;
  for (const line of chosen?.open ?? []) {
    if (first === undefined || orderOf(line) < orderOf(first)) first = line;
  }
  const waiting = first?.waiting[first.head];
  return first === undefined || waiting === undefined ? undefined : { line: first, waiting };
}

/** Remembers that the consumer got something, to break ties. */
export function noteServed(queue: JobQueue, account: AccountLine): void {
  queue.served += 1;
  account.servedAt = queue.served;
}

export function block(queue: JobQueue, signature: Signature): void {
  queue.blocked.add(signature);
  for (const line of signature.lines) closeLine(queue, line);
}

/** Opens the signatures that could now be placed on this machine. */
export function unblockFor(queue: JobQueue, machine: Machine): void {
  for (const signature of queue.blocked) {
    if (!admits(machine, signature.request)) continue;
    queue.blocked.delete(signature);
    for (const line of signature.lines) openLine(queue, line);
  }
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
