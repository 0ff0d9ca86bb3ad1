// Jobs that wait for a place, fair between consumers: whoever uses the smallest dominant share goes first, then who was served longest ago; within
// one consumer first come, first served, and who had a place before goes before. Jobs that ask for the same thing share a signature: when one of them finds no offer
// the signature is blocked, for everybody, until a machine that could take it gains capacity; from then on only such machines are looked at,
// because it is known that no other fits.
import type { AccountId, JobId } from "@qubix/shared/domain";
import { Heap } from "./heap.ts";
import type { Machine, Usage } from "./machine.ts";
import { type OfferRequest, admits } from "./market.ts";
import { JOB_NUMBERS, jobNumber } from "./random.ts";

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
  /** Nobody was large enough for it when that was looked at; it is not again before this. */
  unableUntilMs: number;
}

/** One consumer's jobs. */
export interface AccountLine {
  readonly accountId: AccountId;
  readonly lines: Map<Signature, SignatureLine>;
  readonly open: Set<SignatureLine>;
  /** The open ones, oldest first; and others, which are skipped when they surface. */
  readonly byOrder: Heap<OrderedLine>;
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

/** A line as it stood when its first job was this one. */
interface OrderedLine {
  readonly order: number;
  readonly line: SignatureLine;
}

export interface Waiting {
  readonly jobId: JobId;
  /** Sorts those that had a place before the others, then by creation. */
  readonly order: number;
}

/** Gone entries at the front of a line are cut off in pieces of this many. */
const CUT_AT = 1_024;
/** Entries of lines that are closed or moved on may make up half of an account's heap, and this many more, before they are swept out. */
const STALE_LINES_SLACK = 64;
/** To look at a line costs so much of a try: a step stays short with thousands of different requests too. */
const LOOK_COST = 1 / 8;

export function createJobQueue(): JobQueue {
  return { accounts: new Map(), open: new Set(), signatures: new Map(), narrowed: new Set(), size: 0, served: 0 };
}

/** The order of a job in its line. */
export function waitingOf(jobId: JobId, placedBefore: boolean): Waiting {
  return { jobId, order: jobNumber(jobId) - (placedBefore ? JOB_NUMBERS : 0) };
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
    queue.signatures.set(
      key,
      (signature = { key, request: request(), lines: new Set(), candidates: null, unableUntilMs: 0 }),
    );
  }
  let account = queue.accounts.get(accountId);
  if (account === undefined) {
    const byOrder = new Heap<OrderedLine>((a, b) => a.order < b.order);
    queue.accounts.set(accountId, (account = { accountId, lines: new Map(), open: new Set(), byOrder, servedAt: 0 }));
  }
  let line = account.lines.get(signature);
  if (line === undefined) {
    line = { account, signature, waiting: [], head: 0 };
    account.lines.set(signature, line);
    signature.lines.add(line);
  }
  const at = positionIn(line, waiting.order);
  line.waiting.splice(at, 0, waiting);
  queue.size += 1;
  if (at === line.head && !isBlocked(signature)) openLine(queue, line);
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
  if (line.head < line.waiting.length) {
    if (account.open.has(line)) openLine(queue, line);
    return;
  }
  closeLine(queue, line);
  account.lines.delete(signature);
  signature.lines.delete(line);
  if (signature.lines.size === 0) {
    queue.signatures.delete(key);
    queue.narrowed.delete(signature);
  }
}

/**
 * Whose turn it is, one after the other, among those who may find an offer. Whoever got one is to be noted with {@link noteServed}, and the rest
 * asked for anew; whoever did not is to be blocked. Ends early when the budget is used up.
 */
export function* turns(
  queue: JobQueue,
  usage: ReadonlyMap<AccountId, Usage>,
  totals: Usage,
  budget: { left: number },
): Iterable<Turn> {
  const accounts = [...queue.open].map((account) => claimOf(account, usage, totals));
  const neediest = new Heap(isNeedier, accounts);
  for (let next = neediest.first; next !== undefined && budget.left > 0; next = neediest.first) {
    const line = queue.open.has(next.account) ? firstLine(queue, next.account, budget) : undefined;
    const waiting = line?.waiting[line.head];
    if (line !== undefined && waiting !== undefined) yield { line, waiting };
    else neediest.removeFirst();
  }
}

/** Consumers of whom a job waits, whose turn it is first; blocked or not. */
export function* neediestFirst(
  queue: JobQueue,
  usage: ReadonlyMap<AccountId, Usage>,
  totals: Usage,
): Iterable<AccountLine> {
  const waiting = [...queue.accounts.values()].filter(({ lines }) => lines.size > 0);
  const neediest = new Heap(
    isNeedier,
    waiting.map((account) => claimOf(account, usage, totals)),
  );
  for (let next = neediest.first; next !== undefined; next = neediest.first) {
    yield next.account;
    neediest.removeFirst();
  }
}

/** The consumer's lines that wait for capacity, each with its first job. */
export function* blockedLines({ lines }: AccountLine): Iterable<Turn> {
  for (const line of lines.values()) {
    const waiting = line.waiting[line.head];
    if (waiting !== undefined && isBlocked(line.signature)) yield { line, waiting };
  }
}

export interface Turn {
  readonly line: SignatureLine;
  readonly waiting: Waiting;
}

interface Claimant {
  readonly account: AccountLine;
  /** Of what there is, it has so much. */
  readonly share: number;
}

function claimOf(account: AccountLine, usage: ReadonlyMap<AccountId, Usage>, totals: Usage): Claimant {
  return { account, share: dominantShare(usage.get(account.accountId), totals) };
}

function isNeedier(a: Claimant, b: Claimant): boolean {
  return a.share < b.share || (a.share === b.share && servedBefore(a.account, b.account));
}

/** The consumer's oldest job that may find an offer. Signatures whose candidates are taken by now are blocked on the way. */
function firstLine(
  queue: JobQueue,
  { open, byOrder }: AccountLine,
  budget: { left: number },
): SignatureLine | undefined {
  for (let first = byOrder.first; first !== undefined && budget.left > 0; first = byOrder.first) {
    const { line, order } = first;
    if (open.has(line) && orderOf(line) === order) {
      if (mayFit(line.signature)) return line;
      block(queue, line.signature);
    }
    byOrder.removeFirst();
    budget.left -= LOOK_COST;
  }
  return undefined;
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
  if (signature.candidates === null) signature.candidates = new Set();
  else if (signature.candidates.size > 0) signature.candidates.clear();
  queue.narrowed.add(signature);
  for (const line of signature.lines) closeLine(queue, line);
}

/** This machine gained capacity: it is a candidate for the signature if it could take it. */
export function offerCandidate(queue: JobQueue, signature: Signature, machine: Machine): void {
  const { candidates } = signature;
  if (candidates === null || candidates.has(machine) || !admits(machine, signature.request)) return;
  candidates.add(machine);
  if (candidates.size > 1) return;
  for (const line of signature.lines) openLine(queue, line);
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

function orderOf(line: SignatureLine): number {
  return line.waiting[line.head]?.order ?? Infinity;
}

/** Opens a line, or moves an open one to where its first job belongs. */
function openLine(queue: JobQueue, line: SignatureLine): void {
  const { open, byOrder } = line.account;
  open.add(line);
  queue.open.add(line.account);
  if (byOrder.size > 2 * open.size + STALE_LINES_SLACK) {
    byOrder.reset([...open].map((other) => ({ order: orderOf(other), line: other })));
  } else byOrder.push({ order: orderOf(line), line });
}

function closeLine(queue: JobQueue, line: SignatureLine): void {
  line.account.open.delete(line);
  if (line.account.open.size === 0) queue.open.delete(line.account);
}

function positionIn(line: SignatureLine, order: number): number {
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
