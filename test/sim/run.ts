// One seed: a cluster is built, jobs come, faults strike, the faults stop, and everything must come to its end.
import type { CoreEvent, Reply } from "@qubix/orchestrator/core";
import { createMemoryStore } from "@qubix/orchestrator/store";
import type { AccountId, EnrolmentId, JobId, WorkerId } from "@qubix/shared/domain";
import type { Role, WorkerOffer } from "@qubix/shared/protocol";
import { canaryPrograms } from "./canaries.ts";
import { checkedOffer, CHECKS_MS, checksAreOver, forgesChecked, hasChecks, REFEREE_AT, withChecks } from "./checks.ts";
import { createWorkerNode, type WorkerNode } from "./agent.ts";
import { scheduleBudgets, withBudgets } from "./budgets.ts";
import { type Client, createClient } from "./client.ts";
import { type Counts, checksDone } from "./counts.ts";
import { withEgress, withEgressOffer } from "./egress.ts";
import type { FaultKind } from "./faults.ts";
import { Runs } from "./exclusive.ts";
import { createMachine } from "./machine.ts";
import { isForger, withMirrors } from "./mirrors.ts";
import { BrokenInvariant, createWorld, type World } from "./world.ts";
import { createMonitor } from "./monitor.ts";
import { createPath } from "./network.ts";
import { createOrchestrator, type OrchestratorNode } from "./orchestrator.ts";
import { drawPricesApart } from "./prices.ts";
import { drawClaims, proofRng } from "./proofs.ts";
import type { Program } from "./programs.ts";
import { hasStalls, withStalls } from "./stalls.ts";
import { calmDown, scheduleFaults } from "./strikes.ts";
import { scheduleTrust, waitForDecisions } from "./trust.ts";
import { createTrees, type Trees } from "./trees.ts";
import { reckon } from "./verify.ts";
import { drawWorkload, type Intent } from "./workload.ts";

export interface SeedResult {
  readonly seed: number;
  /** Null when every invariant held. */
  readonly broken: string | null;
  readonly hash: string;
  readonly counts: Counts;
  readonly fired: readonly string[];
  readonly struck: Readonly<Record<FaultKind, number>>;
  readonly isLong: boolean;
  readonly workers: number;
  /** Virtual time from when the faults stopped until the last job had ended. */
  readonly convergedMs: number;
}

const PROVIDERS = 3;
/** Every third worker is of a version that knows neither the message `earnings` nor planned moves. */
const OLDER_EVERY = 3;
/**
 * After the faults every job must have ended within this time: the longest queueS and durationMaxS together (330 s, of an exclusive job beside programs that
 * stand still), and two minutes for what lies between: the return of who is away, a hold of 30 s, a wait of 17 s for a lease, and another attempt that meets the same.
 */
const CONVERGE_MS = 450_000;
/** Then workers have this long to be told of what they may forget. */
const TIDY_MS = 60_000;
/** The share of trees that are gone as soon as nothing names them. */
const SWEPT_AT_ONCE = 0.5;
const DEPOSIT = 1_000_000_000n;
/** Of a provider, to put at risk. */
const STAKE = 200_000n;

/** Runs a seed. Never throws for a broken invariant; `print` gets the trace. */
export function runSeed(seed: number, print?: (line: string) => void): SeedResult {
  const world = createWorld(seed, print);
  const store = createMemoryStore();
  const trees = createTrees(
    (id) => store.job(id)?.job,
    () => world.rng.chance(SWEPT_AT_ONCE),
  );
  const monitor = createMonitor(world, store, trees);
  const referees: AccountId[] = [];
  const orchestrator = createOrchestrator(world, store, monitor, trees, referees);
  const checksBefore = checksDone();
  let convergedMs = 0;
  let broken: string | null = null;
  let workers: readonly WorkerNode[] = [];
  try {
    orchestrator.start();
    const cluster = build(world, orchestrator, monitor, store, trees, referees);
    workers = cluster.workers;
    const client = createClient(world, orchestrator, store, trees);
    for (const intent of cluster.intents) {
      monitor.counts.jobs += intent.kind === "poor" ? 0 : 1;
      world.after(intent.atMs - world.nowMs(), () => client.submit(intent));
    }
    const targets = { world, orchestrator, monitor, client, workers, admin: cluster.admin };
    scheduleFaults(targets);
    scheduleTrust({ ...targets, store, providers: cluster.providers });
    world.run(world.scale.faultsUntilMs, () => false);
    calmDown(targets);
    convergedMs = converge(world, client, cluster.intents, monitor);
    if (hasChecks(seed)) endChecks(world, monitor, store);
    waitForDecisions({ world, monitor });
    tidy(world, monitor, workers);
    // Meanwhile somebody may have brought up more.
    waitForDecisions({ world, monitor });
    reckon({ seed, store, monitor, client, checksBefore, ...cluster });
  } catch (error) {
    broken = describe(error);
  }
  for (const job of monitor.jobs.values()) monitor.counts.retries += job.retriesUsed;
  return {
    seed,
    broken,
    hash: world.traceHash(),
    counts: monitor.counts,
    fired: [...monitor.fired],
    struck: world.struck,
    isLong: world.scale.isLong,
    workers: workers.length,
    convergedMs,
  };
}

function describe(error: unknown): string {
  if (error instanceof BrokenInvariant) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

// ── Building ──

interface Cluster {
  readonly workers: readonly WorkerNode[];
  readonly intents: readonly Intent[];
  readonly liars: ReadonlySet<WorkerId>;
  readonly forgers: ReadonlySet<WorkerId>;
  readonly admin: AccountId;
  readonly providers: readonly AccountId[];
}

type Monitor = ReturnType<typeof createMonitor>;
type Store = ReturnType<typeof createMemoryStore>;

function build(
  world: World,
  orchestrator: OrchestratorNode,
  monitor: Monitor,
  store: Store,
  trees: Trees,
  referees: AccountId[],
): Cluster {
  const ask = (event: CoreEvent) => askNow(world, orchestrator, event);
  world.run(world.nowMs() + 10, () => false);
  const admin = store.load().rows.accounts[0]?.id;
  if (admin === undefined) throw new BrokenInvariant("the first start made no admin account");
  const actor = { accountId: admin, role: "admin" } as const;
  const account = (name: string, role: Role): AccountId => {
    const reply = ask({ kind: "account.create", actor, name, role });
    if (reply.kind !== "account") throw new BrokenInvariant(`no account: ${JSON.stringify(reply)}`);
    return reply.account.id;
  };
  const rich = [account("consumer a", "consumer"), account("consumer b", "consumer")];
  const poor = account("consumer without money", "consumer");
  for (const accountId of rich) {
    ask({ kind: "deposit", actor, accountId, amount: DEPOSIT, currency: "USD", reference: "grant" });
  }
  const drawnJobs = drawWorkload(world.rng, world.scale, { rich, poor });
  const intents = withEgress(
    world.seed,
    withChecks(world.seed, withBudgets(world.seed, withStalls(world.seed, withMirrors(world.seed, drawnJobs)))),
  );
  const programs: Program[] = intents.map(({ program }) => program);
  for (const program of canaryPrograms(world.seed)) programs[program.index] = program;
  const providers = Array.from({ length: PROVIDERS }, (_, at) => account(`provider ${at}`, "provider"));
  for (const accountId of providers) {
    ask({ kind: "deposit", actor, accountId, amount: STAKE, currency: "USD", reference: "to stake" });
  }
  referees.push(...providers.slice(REFEREE_AT));
  const runs = new Runs();
  const liars = new Set<WorkerId>();
  const forgers = new Set<WorkerId>();
  const proofs = proofRng(world.seed);
  let tooOld = 0;
  const workers = Array.from({ length: world.scale.workers }, (_, at) => {
    const provider = providers.at(at % PROVIDERS);
    if (provider === undefined) throw new BrokenInvariant("there are no providers");
    const workerId = enrol(ask, actor, provider, at);
    const lies = world.faults.liar && at === 0;
    if (lies) liars.add(workerId);
    const machine = createMachine(world, monitor, trees, programs, workerId, runs);
    const claimed = withEgressOffer(
      world.seed,
      at,
      withWatch(world, { ...drawOffer(world, at), ...drawPricesApart(world.seed, at) }),
    );
    const drawn = checkedOffer(world.seed, at, claimed);
    const claims = { at, workerId, others: world.scale.workers - 1 - tooOld, fakes: monitor.fakes };
    const offer = world.faults.proofs ? drawClaims(proofs, claims, drawn) : drawn;
    if (world.faults.proofs && offer === drawn) tooOld += 1;
    const forges = isForger(world.seed, at) || forgesChecked(world.seed, at);
    if (forges) forgers.add(workerId);
    const setup = { at, path: createPath(), offer, lies, forges, fakes: monitor.fakes };
    return createWorkerNode(world, monitor, orchestrator, trees, machine, setup);
  });
  for (const worker of workers) worker.start();
  scheduleBudgets(world, orchestrator, { rich, admin });
  return { workers, intents, liars, forgers, admin, providers };
}

function enrol(
  ask: (event: CoreEvent) => Reply,
  actor: Extract<CoreEvent, { kind: "enrolment.create" }>["actor"],
  accountId: AccountId,
  at: number,
): WorkerId {
  const enrolmentId = `enr-${at}` as EnrolmentId;
  ask({ kind: "enrolment.create", actor, accountId, enrolmentId, tokenHash: `token-${at}`, ttlMs: 60_000 });
  const redeemed = ask({
    kind: "enrolment.redeem",
    tokenHash: `token-${at}`,
    name: `worker ${at}`,
    publicKey: `key-${at}`,
  });
  if (redeemed.kind !== "worker") throw new BrokenInvariant(`no worker: ${JSON.stringify(redeemed)}`);
  return redeemed.worker.id;
}

function askNow(world: World, orchestrator: OrchestratorNode, event: CoreEvent): Reply {
  let reply: Reply | null = null;
  orchestrator.submit(event, (answer) => {
    reply = answer.kind === "reply" ? answer.reply : null;
  });
  world.run(world.nowMs() + 10, () => reply !== null);
  if (reply === null) throw new BrokenInvariant(`no answer to ${event.kind}`);
  return reply;
}

function drawOffer({ rng }: World, at: number): WorkerOffer {
  const gpus = rng.chance(0.4) ? rng.int(1, 2) : 0;
  return {
    gpus: Array.from({ length: gpus }, (_, n) => ({ uuid: `GPU-${at}-${n}`, model: "NVIDIA T4", memoryMiB: 16_384 })),
    cpus: rng.int(2, 6),
    memoryMiB: rng.int(2_048, 8_192),
    diskMiB: rng.int(8_192, 16_384),
    region: rng.pick(["eu-west", "us-east"]),
    pricePerGpuHour: { amount: BigInt(rng.int(500_000, 1_500_000)), currency: "USD" },
    pricePerCpuHour: { amount: BigInt(rng.int(100_000, 900_000)), currency: "USD" },
    standbyPercent: rng.int(10, 50),
    localImages: [],
    draining: false,
    features:
      at % OLDER_EVERY === OLDER_EVERY - 1 ? ["exclusive"] : ["earnings", "direct", "moves", "exclusive", "ticks"],
  };
}

function withWatch({ seed }: World, offer: WorkerOffer): WorkerOffer {
  return hasStalls(seed) ? { ...offer, features: [...(offer.features ?? []), "stalls"] } : offer;
}

// ── The end ──

/** Checks go on when the jobs they are of have long ended. */
function endChecks(world: World, monitor: Monitor, store: Store): void {
  const isOver = () => checksAreOver(monitor, store, (phase) => ENDS.has(phase));
  if (world.run(world.nowMs() + CHECKS_MS, isOver)) return;
  const left = store.load().rows.verifications.map(({ id, phase }) => `${id} ${phase}`);
  throw new BrokenInvariant(`invariant 7: not every check ended: ${left.join(", ")}`);
}

const ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);

function converge(world: World, client: Client, intents: readonly Intent[], monitor: Monitor): number {
  const { jobs } = monitor;
  const { faultsUntilMs } = world.scale;
  const answered = () => client.isServed() && client.accepted.size + client.refused.size === intents.length;
  const isOver = (id: JobId) => ENDS.has(jobs.get(id)?.phase ?? "");
  // Asked after every event: what has ended stays so, and only one that has not is looked at again.
  let open: JobId[] | null = null;
  const ended = () => {
    if (!answered()) return false;
    open ??= [...client.accepted.values()];
    while (open.length > 0 && isOver(open.at(-1) as JobId)) open.pop();
    return open.length === 0;
  };
  if (!world.run(faultsUntilMs + CONVERGE_MS, ended)) {
    const left = [...jobs.values()].filter(({ phase }) => !ENDS.has(phase)).map(({ id, phase }) => `${id} ${phase}`);
    throw new BrokenInvariant(`invariant 7: not everything ended: ${left.join(", ") || "a request has no answer"}`);
  }
  return world.nowMs() - faultsUntilMs;
}

/** What is there is proven in the end, and what is made up is not. */
function tidy(world: World, monitor: Monitor, workers: readonly WorkerNode[]): void {
  const isTidy = (worker: WorkerNode) => worker.isLost() || worker.leftovers().length === 0;
  world.run(world.nowMs() + TIDY_MS, () => workers.every(isTidy) && monitor.unproven().length === 0);
}
