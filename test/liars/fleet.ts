// A fleet of which some lie, on the real core and the real store in memory: workers answer what they are assigned, on a virtual clock, and liars hand over something
// else than the job computes. Nothing is told to the core of who lies: it finds out by its checks, or does not.
import { createHash } from "node:crypto";
import {
  type Actor,
  type Canary,
  type CoreEvent,
  createState,
  DEFAULT_CORE_CONFIG,
  type Effect,
  nextDeadlineMs,
  step,
  type StepResult,
} from "@qubix/orchestrator/core";
import { createMemoryStore } from "@qubix/orchestrator/store";
import type {
  AccountId,
  ApiKeyId,
  AttemptRef,
  ChunkCid,
  EnrolmentId,
  JobId,
  SessionId,
  WorkerId,
} from "@qubix/shared/domain";
import { jobSpecSchema, type OrchestratorMessage, type WorkerMessage, workerOfferSchema } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { createRng, mixText, type Rng } from "../sim/random.ts";

export interface FleetOptions {
  readonly seed: number;
  readonly workers: number;
  readonly liars: number;
  /** Jobs of consumers, all with `verification: spot-check`. */
  readonly jobs: number;
  /** Jobs with known results that the operator has, and after which share of the jobs one is given. */
  readonly canaries?: number;
  readonly canaryShare?: number;
  readonly checkShare: number;
  /** Of a liar's jobs: with which probability each is a lie. */
  readonly lieShare: number;
  /** A liar works honestly until it has done so many jobs. */
  readonly lieAfter: number;
  /** own: each lie is another one. same: all liars tell the same lie of the same job. */
  readonly lies: "own" | "same";
  /** Share of the jobs that gives something else on every machine, by no fault of it. */
  readonly unlikeShare: number;
}

export interface FleetResult {
  /** Of each liar: how many jobs it had done, since it began to lie, when it was accused (null where it was not), and in all. */
  readonly liars: readonly { readonly caughtAfter: number | null; readonly done: number }[];
  readonly honestAccused: number;
  readonly jobs: number;
  readonly jobsChecked: number;
  readonly runs: number;
  readonly passed: number;
  readonly failed: number;
  readonly inconclusive: number;
  /** Wrong results for which somebody was paid, and what all were paid, in micro-units. */
  readonly liesPaid: number;
  readonly paid: bigint;
  /** What the operator paid for checks. */
  readonly checksPaid: bigint;
  readonly canariesGiven: number;
}

const ADMIN: Actor = { accountId: "acc-admin" as AccountId, role: "admin" };
const IMAGE_DIGEST = `sha256:${"a".repeat(64)}`;
/** Nobody needs to send heartbeats here: what silence means is another matter. */
const PATIENT = { suspectMs: 1e12, lostMs: 1e12 };
/** So much of the fleet is at work: there is a choice of where a check can run. */
const BUSY_SHARE = 0.85;
const RUN_MS_MIN = 60_000;
const RUN_MS_MAX = 600_000;
const SEGMENTS = 4;
/** Half of the jobs save themselves three times. */
const SAVING_SHARE = 0.5;

interface Run {
  readonly attempt: AttemptRef;
  readonly workerId: WorkerId;
  readonly startedAtMs: number;
  readonly runMs: number;
  /** What its files say so far: the truth, or a lie. */
  readonly content: string;
  readonly lieAt: number;
  readonly saves: boolean;
  readonly fromSegment: number;
  segment: number;
  seq: number;
}

interface Due {
  readonly atMs: number;
  readonly act: () => void;
}

export function runFleet(options: FleetOptions): FleetResult {
  const rng = createRng(options.seed);
  const store = createMemoryStore();
  const config = {
    ...DEFAULT_CORE_CONFIG,
    silenceHot: PATIENT,
    silenceBusy: PATIENT,
    silenceIdle: PATIENT,
    checkShare: options.checkShare,
    canaries: Array.from({ length: options.canaries ?? 0 }, (_, n) => canary(`canary${n}`)),
    canaryShare: options.canaryShare ?? 0,
  };
  const state = createState({
    snapshot: store.load(),
    config,
    nowMs: 0,
    seed: options.seed,
    orchestratorId: "orc-liars",
  });
  let nowMs = 1_000;
  let messages = 0;
  const dues: Due[] = [];
  const sessions = new Map<WorkerId, SessionId>();
  const liars = new Set<WorkerId>();
  const done = new Map<WorkerId, number>();
  const caughtAfter = new Map<WorkerId, number>();
  const honestAccused = new Set<WorkerId>();
  /** By name of a tree: what it says, and up to where. */
  const trees = new Map<ChunkCid, { readonly content: string; readonly segment: number }>();
  const lies = new Set<JobId>();
  let ended = 0;
  let submitted = 0;

  // ── The core, its store, and what it says ──

  function tell(event: CoreEvent): StepResult {
    const result = step(state, nowMs, event);
    if (result.changed) store.commit([result.changes], nowMs);
    for (const { kind, jobId, workerId, data } of result.changes.events) {
      if (kind === "accused" && workerId !== null) accused(workerId);
      if (kind === "completed" && jobId !== null && data["reason"] === "completed") completed(jobId);
    }
    for (const effect of result.effects) carry(effect);
    return result;
  }

  function act(event: CoreEvent): StepResult {
    const result = tell(event);
    while (tell({ kind: "dispatch" }).changed || state.volatile.dispatchPending);
    return result;
  }

  function carry(effect: Effect): void {
    if (effect.kind === "send" && effect.message.kind === "assign") begin(effect.workerId, effect.message);
  }

  function completed(jobId: JobId): void {
    const job = state.rows.jobs.get(jobId) ?? store.job(jobId)?.job;
    if (job?.check !== undefined) return;
    ended += 1;
    const workerId = store.job(jobId)?.attempts.at(-1)?.workerId;
    if (workerId !== undefined) done.set(workerId, (done.get(workerId) ?? 0) + 1);
  }

  /** Who is accused leaves: what becomes of his stake is decided elsewhere. */
  function accused(workerId: WorkerId): void {
    if (!liars.has(workerId)) honestAccused.add(workerId);
    else if (!caughtAfter.has(workerId)) caughtAfter.set(workerId, lyingJobs(workerId));
    dues.push({ atMs: nowMs, act: () => leave(workerId) });
  }

  function lyingJobs(workerId: WorkerId): number {
    return Math.max(0, (done.get(workerId) ?? 0) - options.lieAfter);
  }

  function leave(workerId: WorkerId): void {
    act({ kind: "worker.drain", actor: ADMIN, workerId, draining: true });
  }

  // ── Workers ──

  function say(workerId: WorkerId, message: WorkerMessage, sum?: string): void {
    const sessionId = sessions.get(workerId) as SessionId;
    const content = sum === undefined ? {} : { content: { shape: "", sum, isExact: true } };
    act({ kind: "worker.message", workerId, sessionId, message, ...content });
  }

  function begin(
    workerId: WorkerId,
    { attempt, run, checkpoint }: Extract<OrchestratorMessage, { kind: "assign" }>,
  ): void {
    const [index = "", unlike, saves, runMs = "0"] = run.command;
    const from = checkpoint === null ? undefined : trees.get(checkpoint.tree.manifestCid);
    const isLie = liars.has(workerId) && (done.get(workerId) ?? 0) >= options.lieAfter && rng.chance(options.lieShare);
    const truth = unlike === "unlike" ? `${index} as ${workerId} ${attempt.jobId}` : `${index} right`;
    const begun: Run = {
      attempt,
      workerId,
      startedAtMs: nowMs,
      runMs: Number(runMs),
      content: from?.content ?? truth,
      // The sooner he begins to lie the less he works.
      lieAt: isLie ? rng.int(0, SEGMENTS - 1) : SEGMENTS,
      saves: saves === "saves",
      fromSegment: from?.segment ?? 0,
      segment: from?.segment ?? 0,
      seq: checkpoint?.seq ?? 0,
    };
    const started = { fromSeq: begun.seq, imageDigest: IMAGE_DIGEST };
    dues.push({
      atMs: nowMs,
      act: () => say(workerId, { kind: "started", msg: (messages += 1), attempt, ...started }),
    });
    later(begun);
  }

  function later(run: Run): void {
    dues.push({ atMs: nowMs + Math.round(run.runMs / SEGMENTS), act: () => goOn(run) });
  }

  /** One segment is done: it saves itself, or has its result. */
  function goOn(run: Run): void {
    const { attempt, workerId, saves } = run;
    run.segment += 1;
    const ranMs = nowMs - run.startedAtMs;
    if (run.segment < SEGMENTS) {
      if (saves) {
        run.seq += 1;
        const tree = keep(contentAt(run), run.segment);
        const saved = { seq: run.seq, parentSeq: run.seq - 1, tree, ranMs, progress: null, signature: "s" };
        say(workerId, { kind: "checkpoint", msg: (messages += 1), attempt, ...saved });
      }
      return later(run);
    }
    const content = contentAt(run);
    if (content.includes("lie") && state.rows.jobs.get(attempt.jobId)?.check === undefined) lies.add(attempt.jobId);
    const outcome = { kind: "succeeded", outputs: keep(content, SEGMENTS) } as const;
    say(workerId, { kind: "ended", msg: (messages += 1), attempt, ranMs, outcome }, sumOf(content));
  }

  function contentAt({ content, lieAt, segment, workerId, attempt }: Run): string {
    if (segment <= lieAt) return content;
    return options.lies === "same" ? `${content} lie` : `${content} lie of ${workerId} about ${attempt.jobId}`;
  }

  function keep(content: string, segment: number) {
    const manifestCid = nameOf(`${content} ${segment}`);
    trees.set(manifestCid, { content, segment });
    return { manifestCid, files: 1, bytes: 1_000, bytesMoved: 1_000 };
  }

  // ── The world ──

  function account(role: "consumer" | "provider"): Actor {
    const { reply } = act({ kind: "account.create", actor: ADMIN, name: role, role });
    assert(reply.kind === "account", "no account");
    return { accountId: reply.account.id, role };
  }

  function enrol(n: number): void {
    const provider = account("provider");
    const enrolment = {
      accountId: provider.accountId,
      enrolmentId: `enr-${n}` as EnrolmentId,
      tokenHash: `token-${n}`,
    };
    act({ kind: "enrolment.create", actor: ADMIN, ...enrolment, ttlMs: 60_000 });
    const { reply } = act({
      kind: "enrolment.redeem",
      tokenHash: `token-${n}`,
      name: `worker${n}`,
      publicKey: `key-${n}`,
    });
    assert(reply.kind === "worker", "not enrolled");
    const workerId = reply.worker.id;
    const sessionId = `ses-${n}` as SessionId;
    sessions.set(workerId, sessionId);
    if (n < options.liars) liars.add(workerId);
    act({ kind: "worker.opened", workerId, sessionId });
    const price = { amount: String(rng.int(1_000_000, 1_200_000)), currency: "USD" };
    const offer = workerOfferSchema.parse({
      gpus: [],
      cpus: 1,
      memoryMiB: 2_048,
      diskMiB: 65_536,
      pricePerCpuHour: price,
      features: ["image-digest"],
    });
    say(workerId, { kind: "hello", msg: (messages += 1), offer, attempts: [], standbys: [] });
  }

  function submit(consumer: Actor): void {
    submitted += 1;
    const saves = rng.chance(SAVING_SHARE) ? "saves" : "plain";
    const unlike = rng.chance(options.unlikeShare) ? "unlike" : "alike";
    const spec = jobSpecSchema.parse({
      image: "docker.io/library/tiny:1",
      command: [String(submitted), unlike, saves, String(rng.int(RUN_MS_MIN, RUN_MS_MAX))],
      priceMaxPerHour: { amount: "2400000", currency: "USD" },
      durationMaxS: 3_600,
      queueS: 86_400,
      verification: { mode: "spot-check" },
    });
    act({ kind: "job.create", actor: consumer, spec });
  }

  act({ kind: "boot", admin: { keyId: "key-admin" as ApiKeyId, keyHash: "hash" } });
  const consumer = account("consumer");
  const amount = 1_000_000_000_000n;
  act({ kind: "deposit", actor: ADMIN, accountId: consumer.accountId, amount, currency: "USD", reference: "fleet" });
  for (const n of shuffled(rng, options.workers)) enrol(n);
  const atOnce = Math.floor(options.workers * BUSY_SHARE);

  const isOver = () => ended >= options.jobs && state.rows.verifications.size === 0 && state.rows.jobs.size === 0;
  while (!isOver()) {
    while (submitted < options.jobs && submitted - ended < atOnce) submit(consumer);
    const next = takeNext(dues);
    assert(next !== undefined, `nothing is due, with ${ended} of ${options.jobs} jobs ended`);
    nowMs = Math.max(nowMs, next.atMs);
    for (let at = nextDeadlineMs(state); at !== null && at <= nowMs; at = nextDeadlineMs(state)) act({ kind: "timer" });
    next.act();
  }

  for (const [currency, sums] of store.audit()) {
    assert(sums.postings === 0n && sums.balances === 0n && sums.mismatches === 0, `${currency} does not add up`);
  }
  const jobs = store.jobs({ limit: Number.MAX_SAFE_INTEGER });
  const own = jobs.filter(({ check }) => check === undefined);
  const checks = jobs.filter(({ check }) => check !== undefined && check.canary === undefined);
  const decided = own.flatMap(({ id }) => store.verification(id) ?? []);
  const failed = new Set(decided.flatMap(({ id, phase }) => (phase === "failed" ? [id] : [])));
  const count = (phase: string) => decided.filter((one) => one.phase === phase).length;
  return {
    liars: [...liars].map((id) => ({ caughtAfter: caughtAfter.get(id) ?? null, done: lyingJobs(id) })),
    honestAccused: honestAccused.size,
    jobs: own.length,
    jobsChecked: decided.length,
    runs: checks.length,
    passed: count("passed"),
    failed: failed.size,
    inconclusive: count("inconclusive"),
    liesPaid: own.filter(({ id }) => lies.has(id) && !failed.has(id)).length,
    paid: own.reduce((sum, { id, settlement }) => sum + (failed.has(id) ? 0n : (settlement.gross ?? 0n)), 0n),
    canariesGiven: state.volatile.counters.canariesGiven,
    checksPaid: -(store.balances(["external:checks"], "USD")[0]?.amount ?? 0n),
  };
}

function takeNext(dues: Due[]): Due | undefined {
  let first = 0;
  for (const [at, { atMs }] of dues.entries()) if (atMs < (dues[first]?.atMs ?? Infinity)) first = at;
  return dues.splice(first, 1)[0];
}

function shuffled(rng: Rng, count: number): readonly number[] {
  const order = Array.from({ length: count }, (_, n) => n);
  for (let at = count - 1; at > 0; at -= 1) {
    const other = rng.int(0, at);
    [order[at], order[other]] = [order[other] ?? 0, order[at] ?? 0];
  }
  return order;
}

/** As the gateway has it from the files of the outputs. */
function sumOf(content: string): string {
  return createHash("sha256").update(content).digest("hex");
}

/** A job like any other; what comes of it is known. */
function canary(name: string): Canary {
  const spec = jobSpecSchema.parse({
    image: `docker.io/library/tiny@${IMAGE_DIGEST}`,
    command: [name, "alike", "plain", String(RUN_MS_MIN)],
    priceMaxPerHour: { amount: "2400000", currency: "USD" },
    durationMaxS: 3_600,
  });
  return { name, spec, expected: { exitCode: 0, sum: sumOf(`${name} right`) } };
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const CID_DIGITS = 52;

/** Equal contents have equal names. */
function nameOf(content: string): ChunkCid {
  let digits = "";
  for (let n = 0; digits.length < CID_DIGITS; n += 1) {
    let hash = mixText(n, content);
    for (let k = 0; k < 6 && digits.length < CID_DIGITS; k += 1) {
      digits += BASE32.charAt(hash & 31);
      hash >>>= 5;
    }
  }
  return `bafkrei${digits}` as ChunkCid;
}
