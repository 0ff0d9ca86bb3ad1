// The real core and the real store in one process, without a network between: what the ledger itself costs.
import type { AccountId, ApiKeyId, EnrolmentId, JobId, SessionId, TransferId, WorkerId } from "@qubix/shared/domain";
import { jobSpecSchema, type WorkerMessage, workerOfferSchema } from "@qubix/shared/protocol";
import {
  type Actor,
  type Changes,
  type CoreEvent,
  createState,
  DEFAULT_CORE_CONFIG,
  type LedgerEntry,
  type Reply,
  step,
} from "@qubix/orchestrator/core";
import { openSqliteStore, type Store } from "@qubix/orchestrator/store";
import { withKnown } from "../../orchestrator/src/app/known-transfers.ts";
import { monotonicMs } from "../harness/clock.ts";

const ADMIN: Actor = { accountId: "acc-admin" as AccountId, role: "admin" };
export const PRICE_PER_CPU_HOUR = 3_600_000_000n;
const DEPOSIT = 8_000_000_000_000_000n;

export interface Books {
  readonly store: Store;
  /** One event, stepped but not yet durable. */
  step(event: CoreEvent): Reply;
  /** Makes durable what was stepped since the last time. */
  commit(): void;
  /** Steps, places what can be placed, and commits. */
  do(event: CoreEvent): Reply;
  apply(entries: readonly LedgerEntry[]): void;
  deposit(accountId: string): void;
  account(role: "consumer" | "provider"): Actor;
}

export function openBooks(folder: string): Books {
  const store = openSqliteStore(folder);
  const state = createState({
    snapshot: store.load(),
    config: DEFAULT_CORE_CONFIG,
    nowMs: clockMs(),
    seed: 1,
    orchestratorId: "orc-bench",
  });
  let batch: Changes[] = [];
  /** Places one thing; false when there was nothing to place. */
  const place = (): boolean => {
    const before = batch.length;
    books.step({ kind: "dispatch" });
    return batch.length > before;
  };
  const books: Books = {
    store,
    step(event) {
      const { changes, changed, reply } = step(state, clockMs(), withKnown(store, state, event));
      if (changed) batch.push(changes);
      return reply;
    },
    commit() {
      store.commit(batch, Date.now());
      batch = [];
    },
    do(event) {
      const reply = books.step(event);
      while (place()) continue;
      books.commit();
      return reply;
    },
    apply(entries) {
      const reply = books.step({ kind: "ledger.apply", actor: ADMIN, entries });
      const told = reply.kind === "ledger" ? reply.outcome : reply;
      if (told.kind !== "posted" || told.transfers.some(({ repeated }) => repeated)) {
        throw new Error(`linked transfers were not posted: ${JSON.stringify(told)}`);
      }
    },
    deposit(accountId) {
      const event = { accountId: accountId as AccountId, amount: DEPOSIT, currency: "USD", reference: "bench" };
      books.do({ kind: "deposit", actor: ADMIN, ...event });
    },
    account(role) {
      const reply = books.do({ kind: "account.create", actor: ADMIN, name: role, role });
      if (reply.kind !== "account") throw new Error(`no account: ${reply.kind}`);
      return { accountId: reply.account.id, role };
    },
  };
  books.do({ kind: "boot", admin: { keyId: "key-bench" as ApiKeyId, keyHash: "0".repeat(64) } });
  return books;
}

/** The hold of one job as the ledger's own reservation. */
export function hold(n: number, consumer: Actor, amount: bigint): LedgerEntry {
  return {
    do: "reserve",
    id: holdName(n),
    kind: "hold",
    jobId: null,
    currency: "USD",
    from: `customer:${consumer.accountId}`,
    amount,
    memo: `hold ${n}`,
  };
}

/** Settled: a primary, a standby of another provider, the fee; the rest goes back. */
export function settlement(n: number, providers: readonly [Actor, Actor], gross: bigint): LedgerEntry {
  const fee = gross / 20n;
  const standby = gross / 5n;
  return {
    do: "post",
    reservation: holdName(n),
    to: [
      { account: `pending:${providers[0].accountId}`, amount: gross - fee - standby },
      { account: `pending:${providers[1].accountId}`, amount: standby },
      { account: "fee", amount: fee },
    ],
    memo: `settlement ${n}`,
  };
}

function holdName(n: number): TransferId {
  return `hold-${n}` as TransferId;
}

// ── Jobs ──

export interface BenchWorker {
  readonly id: WorkerId;
  say(message: Unnumbered<WorkerMessage>): void;
}
type Unnumbered<M> = M extends unknown ? Omit<M, "msg"> : never;

export function connectWorker(books: Books, provider: Actor): BenchWorker {
  const token = { tokenHash: "1".repeat(64), ttlMs: 60_000 };
  const { accountId } = provider;
  const enrolmentId = "enr-bench" as EnrolmentId;
  books.do({ kind: "enrolment.create", actor: ADMIN, accountId, enrolmentId, ...token });
  const reply = books.do({ kind: "enrolment.redeem", tokenHash: token.tokenHash, name: "bench", publicKey: "key" });
  if (reply.kind !== "worker") throw new Error(`not enrolled: ${reply.kind}`);
  const { id } = reply.worker;
  const sessionId = "ses-bench" as SessionId;
  let msg = 0;
  const say: BenchWorker["say"] = (message) => {
    const numbered: WorkerMessage = { ...message, msg: (msg += 1) };
    books.do({ kind: "worker.message", workerId: id, sessionId, message: numbered });
  };
  books.do({ kind: "worker.opened", workerId: id, sessionId });
  const pricePerCpuHour = { amount: PRICE_PER_CPU_HOUR.toString(), currency: "USD" };
  const offer = workerOfferSchema.parse({ gpus: [], cpus: 4, memoryMiB: 8192, diskMiB: 65_536, pricePerCpuHour });
  say({ kind: "hello", offer, attempts: [], standbys: [] });
  return { id, say };
}

export function submitJob(books: Books, consumer: Actor): JobId {
  const spec = jobSpecSchema.parse({
    image: "docker.io/library/busybox:1.36",
    priceMaxPerHour: { amount: PRICE_PER_CPU_HOUR.toString(), currency: "USD" },
    durationMaxS: 60,
  });
  const reply = books.do({ kind: "job.create", actor: consumer, spec });
  if (reply.kind !== "job") throw new Error(`no job: ${reply.kind}`);
  return reply.jobId;
}

/** The orchestrator's clock counts whole milliseconds. */
function clockMs(): number {
  return Math.floor(monotonicMs());
}
