// A small network for the core's own tests: the real core, a store that only applies changes, and workers whose words the test writes.
import type { AccountId, ApiKeyId, EnrolmentId, JobId, SessionId, WorkerId } from "@qubix/shared/domain";
import {
  jobSpecSchema,
  type JobSpecInput,
  type OrchestratorMessage,
  type WorkerMessage,
  type WorkerOffer,
  workerOfferSchema,
} from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { type CoreConfig, DEFAULT_CORE_CONFIG } from "../config.ts";
import type { Actor, CoreEvent, Effect, Reply, StepResult } from "../events.ts";
import { createState, type StateSnapshot } from "../load.ts";
import type {
  AttemptRecord,
  Changes,
  EventRecord,
  JobRecord,
  LogRecord,
  MetaRecord,
  SettledRecord,
  StandbyRecord,
  TableName,
  Tables,
  TickRecord,
  TransferRecord,
} from "../model.ts";
import { nextDeadlineMs, step } from "../step.ts";
import { checkInvariants } from "./invariants.ts";

/** Applies changes and gives them back as a snapshot: what any store must do at the least. */
export class KeptRows {
  readonly rows = new Map<string, { readonly table: TableName; readonly record: Tables[TableName] }>();
  readonly events: EventRecord[] = [];
  readonly transfers: TransferRecord[] = [];
  readonly logs: LogRecord[] = [];
  readonly ticks: TickRecord[] = [];
  readonly settled: SettledRecord[] = [];
  meta: MetaRecord | null = null;

  apply(changes: Changes): void {
    for (const { table, key, record } of changes.puts) {
      if (record === null) this.rows.delete(`${table} ${key}`);
      else this.rows.set(`${table} ${key}`, { table, record });
    }
    this.events.push(...changes.events);
    this.transfers.push(...changes.transfers);
    this.logs.push(...changes.logs);
    this.ticks.push(...changes.ticks);
    this.settled.push(...changes.settled);
    this.meta = changes.meta;
  }

  all<T extends TableName>(table: T): Tables[T][] {
    return [...this.rows.values()].flatMap((row) => (row.table === table ? [row.record as Tables[T]] : []));
  }

  snapshot(): StateSnapshot {
    const live = new Set(this.all("jobs").flatMap((job) => (job.endedAtMs === null ? [job.id] : [])));
    const cursors = new Map<string, number>();
    const bytes = new Map<JobId, number>();
    for (const log of this.logs) {
      if (!live.has(log.jobId) || log.stream === "marker") continue;
      const length = new TextEncoder().encode(log.text).length;
      cursors.set(`${log.jobId}/${log.replica}/${log.epoch} ${log.stream}`, log.offset + length);
      bytes.set(log.jobId, (bytes.get(log.jobId) ?? 0) + length);
    }
    return {
      meta: this.meta,
      rows: {
        accounts: this.all("accounts"),
        apiKeys: this.all("apiKeys"),
        enrolments: this.all("enrolments"),
        workers: this.all("workers"),
        jobs: this.all("jobs").filter((job) => live.has(job.id)),
        attempts: this.all("attempts").filter((attempt) => live.has(attempt.jobId)),
        standbys: this.all("standbys").filter((standby) => live.has(standby.jobId)),
        uploads: this.all("uploads"),
        idempotency: this.all("idempotency"),
        chainPays: this.all("chainPays"),
        payoutAddresses: this.all("payoutAddresses"),
        depositAddresses: this.all("depositAddresses"),
        payouts: this.all("payouts").filter(({ phase }) => phase === "requested"),
        verifications: this.all("verifications").filter(({ decidedAtMs }) => decidedAtMs === null),
        balances: this.all("balances"),
        budgets: this.all("budgets"),
        spending: this.all("spending"),
        cases: this.all("cases").filter(({ endedAtMs }) => endedAtMs === null),
        reservations: this.all("reservations"),
        releases: this.all("releases"),
      },
      logCursors: cursors,
      logBytes: bytes,
    };
  }
}

export const ADMIN: Actor = { accountId: "acc-admin" as AccountId, role: "admin" };
/** Micro-units. */
export const USD = (amount: bigint) => ({ amount, currency: "USD" as const });
const PRICE = { amount: "1000000", currency: "USD" };

export function offerOf(input: Partial<WorkerOffer> = {}): WorkerOffer {
  const base = workerOfferSchema.parse({ gpus: [], cpus: 4, memoryMiB: 8192, diskMiB: 65536, pricePerCpuHour: PRICE });
  return { ...base, ...input };
}

/** One core, two GPU-less by default. */
export function specOf(input: Partial<JobSpecInput> = {}) {
  return jobSpecSchema.parse({
    image: "docker.io/library/busybox:1",
    priceMaxPerHour: { amount: "10000000", currency: "USD" },
    durationMaxS: 3600,
    ...input,
  });
}

type Unnumbered<M> = M extends unknown ? Omit<M, "msg"> : never;

export class Network {
  readonly kept = new KeptRows();
  readonly fired = new Set<string>();
  readonly config: CoreConfig;
  state;
  nowMs = 1_000;
  /** What was sent to each worker, oldest first. */
  readonly sent = new Map<WorkerId, OrchestratorMessage[]>();
  readonly effects: Effect[] = [];
  /** Workers that send heartbeats while time passes. */
  readonly beating = new Map<WorkerId, SessionId>();
  #numbers = 0;

  constructor(config: Partial<CoreConfig> = {}, seed = 7) {
    this.config = { ...DEFAULT_CORE_CONFIG, ...config };
    this.state = this.#load(seed);
    this.step({ kind: "boot", admin: { keyId: "key-admin" as ApiKeyId, keyHash: "hash-of-admin" } });
  }

  #load(seed: number) {
    return createState({
      snapshot: this.kept.snapshot(),
      config: this.config,
      nowMs: this.nowMs,
      seed,
      orchestratorId: "orc-test",
    });
  }

  /** One step, its changes kept, its invariants checked. */
  step(event: CoreEvent): StepResult {
    const result = step(this.state, this.nowMs, event);
    if (result.changed) this.kept.apply(result.changes);
    else assert(result.changes.puts.length === 0, "unchanged with puts");
    for (const row of result.fired) this.fired.add(row);
    for (const effect of result.effects) {
      this.effects.push(effect);
      if (effect.kind === "send") this.sentTo(effect.workerId).push(effect.message);
    }
    checkInvariants(this.state);
    return result;
  }

  /** One step, then what it makes placeable. */
  do(event: CoreEvent): Reply {
    const { reply } = this.step(event);
    this.dispatch();
    return reply;
  }

  dispatch(): void {
    while (this.step({ kind: "dispatch" }).changed || this.state.volatile.dispatchPending);
  }

  /** Lets time pass, with heartbeats of those who send them, and handles what becomes due. */
  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    while (this.nowMs < endMs) {
      const next = nextDeadlineMs(this.state);
      const beatMs = this.beating.size > 0 ? this.nowMs + 500 : endMs;
      this.nowMs = Math.min(endMs, beatMs, Math.max(next ?? endMs, this.nowMs + 1));
      for (const [workerId, sessionId] of this.beating) {
        this.step({
          kind: "worker.message",
          workerId,
          sessionId,
          message: { kind: "heartbeat", msg: (this.#numbers += 1) },
        });
      }
      for (let due = nextDeadlineMs(this.state); due !== null && due <= this.nowMs; due = nextDeadlineMs(this.state)) {
        this.step({ kind: "timer" });
        this.dispatch();
      }
    }
  }

  account(role: "consumer" | "provider", units = 0n): Actor {
    const reply = this.do({ kind: "account.create", actor: ADMIN, name: role, role });
    assert(reply.kind === "account", "no account");
    const actor: Actor = { accountId: reply.account.id, role };
    if (units > 0n) this.deposit(actor, units * 1_000_000n);
    return actor;
  }

  deposit(actor: Actor, amount: bigint, currency = "USD"): Reply {
    const { accountId } = actor;
    return this.do({ kind: "deposit", actor: ADMIN, accountId, amount, currency, reference: "test" });
  }

  /** Enrols a worker; it is offline. */
  enrol(provider: Actor, name: string): WorkerId {
    const tokenHash = `token-${name}`;
    const enrolmentId = `enr-${name}` as EnrolmentId;
    this.do({
      kind: "enrolment.create",
      actor: ADMIN,
      accountId: provider.accountId,
      enrolmentId,
      tokenHash,
      ttlMs: 60_000,
    });
    const reply = this.do({ kind: "enrolment.redeem", tokenHash, name, publicKey: `public-${name}` });
    assert(reply.kind === "worker", "not enrolled");
    return reply.worker.id;
  }

  /** A worker that is online and sends heartbeats. */
  worker(provider: Actor, name: string, offer: WorkerOffer = offerOf()): WorkerId {
    const id = this.enrol(provider, name);
    this.connect(id, offer);
    return id;
  }

  connect(
    workerId: WorkerId,
    offer: WorkerOffer = offerOf(),
    journal: Pick<Extract<WorkerMessage, { kind: "hello" }>, "attempts" | "standbys"> = { attempts: [], standbys: [] },
    network?: string,
  ): SessionId {
    const sessionId = `ses-${(this.#numbers += 1)}` as SessionId;
    this.do({ kind: "worker.opened", workerId, sessionId, ...(network === undefined ? {} : { network }) });
    this.beating.set(workerId, sessionId);
    this.say(workerId, { kind: "hello", offer, ...journal });
    return sessionId;
  }

  /** The socket closes. */
  close(workerId: WorkerId): void {
    const sessionId = this.sessionOf(workerId);
    this.beating.delete(workerId);
    this.do({ kind: "worker.closed", workerId, sessionId });
  }

  /** It falls silent, its socket open. */
  silence(workerId: WorkerId): void {
    this.beating.delete(workerId);
  }

  say(workerId: WorkerId, message: Unnumbered<WorkerMessage>, sessionId = this.sessionOf(workerId)): StepResult {
    const numbered = { ...message, msg: (this.#numbers += 1) };
    const result = this.step({ kind: "worker.message", workerId, sessionId, message: numbered });
    this.dispatch();
    return result;
  }

  sessionOf(workerId: WorkerId): SessionId {
    return this.beating.get(workerId) ?? (this.state.rows.workers.get(workerId)?.sessionId as SessionId);
  }

  sentTo(workerId: WorkerId): OrchestratorMessage[] {
    let messages = this.sent.get(workerId);
    if (messages === undefined) this.sent.set(workerId, (messages = []));
    return messages;
  }

  /** The newest message of a kind to a worker. */
  last<Kind extends OrchestratorMessage["kind"]>(
    workerId: WorkerId,
    kind: Kind,
  ): Extract<OrchestratorMessage, { kind: Kind }> | undefined {
    return this.sentTo(workerId).findLast(
      (message): message is Extract<OrchestratorMessage, { kind: Kind }> => message.kind === kind,
    );
  }

  submit(actor: Actor, input: Partial<JobSpecInput> = {}): JobId {
    const reply = this.do({ kind: "job.create", actor, spec: specOf(input) });
    assert(reply.kind === "job", reply.kind === "refused" ? reply.refusal.message : reply.kind);
    return reply.jobId;
  }

  job(id: JobId): JobRecord {
    const job = this.kept.rows.get(`jobs ${id}`)?.record as JobRecord | undefined;
    assert(job !== undefined, `no job ${id}`);
    return job;
  }

  attempts(id: JobId): AttemptRecord[] {
    return this.kept
      .all("attempts")
      .filter((attempt) => attempt.jobId === id)
      .toSorted((a, b) => a.epoch - b.epoch);
  }

  attempt(id: JobId): AttemptRecord {
    const attempt = this.attempts(id).at(-1);
    assert(attempt !== undefined, `no attempt of ${id}`);
    return attempt;
  }

  standby(id: JobId): StandbyRecord | undefined {
    return this.kept
      .all("standbys")
      .filter((standby) => standby.jobId === id)
      .toSorted((a, b) => a.reservedAtMs - b.reservedAtMs)
      .at(-1);
  }

  timeline(id: JobId): string[] {
    return this.kept.events.flatMap((event) => (event.channel === "jobs" && event.jobId === id ? [event.kind] : []));
  }

  event(id: JobId, kind: string): Readonly<Record<string, unknown>> | undefined {
    return this.kept.events.findLast((event) => event.jobId === id && event.kind === kind)?.data;
  }

  balance(account: string): bigint {
    return this.kept.all("balances").find((balance) => balance.account === account)?.amount ?? 0n;
  }

  /** The orchestrator dies and starts again from what was kept. */
  restart(downMs = 0): void {
    this.nowMs += downMs;
    this.beating.clear();
    this.state = this.#load(99);
    this.do({ kind: "boot" });
  }
}

/** The words of a worker on an attempt. */
export function refOf(attempt: AttemptRecord) {
  return { jobId: attempt.jobId, replica: attempt.replica, epoch: attempt.epoch };
}

export function treeOf(name: string, bytes = 1000) {
  const text = name.toLowerCase().replace(/[^a-z2-7]/g, "a");
  const manifestCid = `bafkrei${text.padEnd(52, "a").slice(0, 52)}` as JobRecord["inputs"][number]["manifestCid"];
  return { manifestCid, files: 1, bytes, bytesMoved: bytes };
}
