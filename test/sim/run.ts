// One seed: a cluster is built, jobs come, faults strike, the faults stop, and everything must come to its end.
import type { CoreEvent, Reply } from "@qubix/orchestrator/core";
import { createMemoryStore } from "@qubix/orchestrator/store";
import type { AccountId, EnrolmentId, WorkerId } from "@qubix/shared/domain";
import type { Role, WorkerOffer } from "@qubix/shared/protocol";
import { createWorkerNode, type WorkerNode } from "./agent.ts";
import { type Client, createClient } from "./client.ts";
import { FAULTS_FROM_MS, FAULTS_UNTIL_MS } from "./faults.ts";
import { createMachine } from "./machine.ts";
import { BrokenInvariant, createWorld, type World } from "./world.ts";
import { type Counts, createMonitor } from "./monitor.ts";
import { isForger, withMirrors } from "./mirrors.ts";
import { createPath } from "./network.ts";
import { createOrchestrator, type OrchestratorNode } from "./orchestrator.ts";
import { drawClaims, proofRng } from "./proofs.ts";
import { createTrees, type Program } from "./programs.ts";
import { createRng } from "./random.ts";
import { reckon } from "./verify.ts";
import { drawWorkload, type Intent } from "./workload.ts";

export interface SeedResult {
  readonly seed: number;
  /** Null when every invariant held. */
  readonly broken: string | null;
  readonly hash: string;
  readonly counts: Counts;
  readonly fired: readonly string[];
  readonly workers: number;
  /** When the last job had ended, on the virtual clock. */
  readonly endedAtMs: number;
}

const WORKERS_MIN = 5;
const WORKERS_MAX = 8;
const PROVIDERS = 3;
/** Every third worker is of a version that does not know the message `earnings`. */
const EARNINGS_UNKNOWN_EVERY = 3;
/** After the faults every job must have ended within this time: the longest queueS and durationMaxS, a few times over. */
const CONVERGE_MS = 15 * 60_000;
/** Then workers have this long to be told of what they may forget. */
const TIDY_MS = 60_000;
const DEPOSIT = 1_000_000_000n;
/** So that what a seed draws is the same with moves and without. */
const MOVE_SEED = 0x6d6f7665;

/** Runs a seed. Never throws for a broken invariant; `print` gets the trace. */
export function runSeed(seed: number, print?: (line: string) => void): SeedResult {
  const world = createWorld(seed, print);
  const store = createMemoryStore();
  const monitor = createMonitor(world, store);
  const orchestrator = createOrchestrator(world, store, monitor);
  let broken: string | null = null;
  let workers: readonly WorkerNode[] = [];
  try {
    orchestrator.start();
    const cluster = build(world, orchestrator, monitor, store);
    workers = cluster.workers;
    const client = createClient(world, orchestrator, store);
    for (const intent of cluster.intents) {
      monitor.counts.jobs += intent.kind === "poor" ? 0 : 1;
      world.after(intent.atMs - world.nowMs(), () => client.submit(intent));
    }
    scheduleFaults(world, orchestrator, cluster);
    world.run(FAULTS_UNTIL_MS, () => false);
    calmDown(world, orchestrator, workers);
    converge(world, client, cluster.intents, monitor, workers);
    reckon({ store, monitor, client, ...cluster });
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
    workers: workers.length,
    endedAtMs: world.nowMs(),
  };
}

function describe(error: unknown): string {
  if (error instanceof BrokenInvariant) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

// ── Building ──

interface Cluster {
  readonly jobs: Monitor["jobs"];
  readonly workers: readonly WorkerNode[];
  readonly intents: readonly Intent[];
  readonly liars: ReadonlySet<WorkerId>;
  readonly admin: AccountId;
}

type Monitor = ReturnType<typeof createMonitor>;
type Store = ReturnType<typeof createMemoryStore>;

function build(world: World, orchestrator: OrchestratorNode, monitor: Monitor, store: Store): Cluster {
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
  const intents = withMirrors(world.seed, drawWorkload(world.rng, { rich, poor }));
  const programs: readonly Program[] = intents.map(({ program }) => program);
  const providers = Array.from({ length: PROVIDERS }, (_, at) => account(`provider ${at}`, "provider"));
  const trees = createTrees();
  const liars = new Set<WorkerId>();
  const proofs = proofRng(world.seed);
  const workers = Array.from({ length: world.rng.int(WORKERS_MIN, WORKERS_MAX) }, (_, at) => {
    const provider = providers.at(at % PROVIDERS);
    if (provider === undefined) throw new BrokenInvariant("there are no providers");
    const workerId = enrol(ask, actor, provider, at);
    const lies = world.faults.liar && at === 0;
    if (lies) liars.add(workerId);
    const machine = createMachine(world, monitor, trees, programs, workerId);
    const drawn = drawOffer(world, at);
    const offer = world.faults.proofs ? drawClaims(proofs, at, workerId, drawn, monitor.fakes) : drawn;
    const forges = isForger(world.seed, at);
    const setup = { at, path: createPath(), offer, lies, forges, fakes: monitor.fakes };
    return createWorkerNode(world, monitor, orchestrator, trees, machine, setup);
  });
  for (const worker of workers) worker.start();
  return { workers, intents, liars, admin, jobs: monitor.jobs };
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
    ...(at % EARNINGS_UNKNOWN_EVERY === EARNINGS_UNKNOWN_EVERY - 1
      ? {}
      : { features: ["earnings", "direct", "moves"] }),
  };
}

// ── Faults ──

function scheduleFaults(world: World, orchestrator: OrchestratorNode, cluster: Cluster): void {
  const { rng, faults } = world;
  const { workers } = cluster;
  const gone = new Set<WorkerNode>();
  const often = (count: number, strike: () => void) => {
    for (let n = 0; n < count; n += 1) {
      world.after(rng.int(FAULTS_FROM_MS, FAULTS_UNTIL_MS - 1) - world.nowMs(), strike);
    }
  };
  const someone = () => rng.pick(workers);
  often(faults.agentCrashes, () => someone().crash());
  often(faults.machineCrashes, () => someone().powerLoss(false));
  often(faults.machineWipes, () => someone().powerLoss(true));
  often(faults.machinesGone, () => {
    const worker = someone();
    gone.add(worker);
    worker.powerLoss(true);
    // It stays away for the rest of the faulty time: its line is dead.
    block(world, worker, FAULTS_UNTIL_MS - world.nowMs(), true, true);
  });
  often(faults.cuts, () => someone().cut());
  often(faults.partitions, () => {
    const worker = someone();
    block(world, worker, rng.int(500, 12_000), true, true);
    if (rng.chance(0.5)) worker.cut();
  });
  often(faults.oneWayStalls, () => {
    const isUp = rng.chance(0.5);
    block(world, someone(), rng.int(300, 8_000), isUp, !isUp);
  });
  often(faults.orchestratorCrashes, () => orchestrator.crash());
  often(faults.orchestratorStalls, () => orchestrator.stall(rng.int(200, 4_000)));
  often(faults.offerChanges, () => someone().resize(rng.pick([0.25, 0.5, 1])));
  often(faults.drains, () => drain(world, orchestrator, cluster, someone()));
  scheduleMoves(world, orchestrator, cluster);
  world.after(FAULTS_FROM_MS - world.nowMs(), () => {
    world.calm = false;
  });
}

function block(world: World, worker: WorkerNode, ms: number, up: boolean, down: boolean): void {
  const untilMs = world.nowMs() + ms;
  world.note(`${worker.machine.workerId} blocked ${up ? "up" : ""} ${down ? "down" : ""} for ${ms} ms`);
  if (up) worker.path.upBlockedUntilMs = Math.max(worker.path.upBlockedUntilMs, untilMs);
  if (down) worker.path.downBlockedUntilMs = Math.max(worker.path.downBlockedUntilMs, untilMs);
}

/** The owner takes the machine out of the market for a while: by the API, or by its own word. */
function drain(world: World, orchestrator: OrchestratorNode, { admin }: Cluster, worker: WorkerNode): void {
  const { workerId } = worker.machine;
  const actor = { accountId: admin, role: "admin" } as const;
  const byApi = world.rng.chance(0.5);
  const set = (draining: boolean) => {
    if (byApi) orchestrator.submit({ kind: "worker.drain", actor, workerId, draining });
    else worker.offer({ draining });
  };
  set(true);
  world.after(world.rng.int(1_000, 10_000), () => set(false));
}

/** Jobs are moved: by their owner, to any worker or to one; and away from a machine that is to be left. */
function scheduleMoves(world: World, orchestrator: OrchestratorNode, { admin, workers, jobs }: Cluster): void {
  const rng = createRng(world.seed * 2 ** 32 + MOVE_SEED);
  const actor = { accountId: admin, role: "admin" } as const;
  for (let n = 0; n < world.faults.moves; n += 1) {
    world.after(rng.int(FAULTS_FROM_MS, FAULTS_UNTIL_MS - 1) - world.nowMs(), () => {
      const running = [...jobs.values()].filter(({ phase }) => phase === "running");
      const worker = rng.pick(workers);
      const { workerId } = worker.machine;
      const what = rng.next();
      if (what < 0.15) {
        orchestrator.submit({ kind: "worker.drain", actor, workerId, draining: true, move: true });
        world.after(rng.int(1_000, 10_000), () =>
          orchestrator.submit({ kind: "worker.drain", actor, workerId, draining: false }),
        );
      } else if (what < 0.3) {
        worker.leave(true);
        world.after(rng.int(1_000, 10_000), () => worker.leave(false));
      } else if (running.length > 0) {
        const to = rng.chance(0.5) ? workerId : null;
        orchestrator.submit({ kind: "job.move", actor, jobId: rng.pick(running).id, to, force: rng.chance(0.5) });
      }
    });
  }
}

function calmDown(world: World, orchestrator: OrchestratorNode, workers: readonly WorkerNode[]): void {
  world.note("faults stop");
  world.calm = true;
  orchestrator.start();
  for (const worker of workers) {
    worker.path.upBlockedUntilMs = 0;
    worker.path.downBlockedUntilMs = 0;
    worker.resize(1);
    worker.leave(false);
    worker.start();
  }
}

// ── The end ──

const ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);

function converge(
  world: World,
  client: Client,
  intents: readonly Intent[],
  monitor: Monitor,
  workers: readonly WorkerNode[],
): void {
  const { jobs } = monitor;
  const answered = () => client.isServed() && client.accepted.size + client.refused.size === intents.length;
  const ended = () => answered() && [...client.accepted.values()].every((id) => ENDS.has(jobs.get(id)?.phase ?? ""));
  if (!world.run(FAULTS_UNTIL_MS + CONVERGE_MS, ended)) {
    const left = [...jobs.values()].filter(({ phase }) => !ENDS.has(phase)).map(({ id, phase }) => `${id} ${phase}`);
    throw new BrokenInvariant(`invariant 7: not everything ended: ${left.join(", ") || "a request has no answer"}`);
  }
  world.run(world.nowMs() + TIDY_MS, () => workers.every((worker) => worker.leftovers().length === 0));
  // What is there is proven in the end, and what is made up is not.
  if (world.faults.proofs) world.run(world.nowMs() + TIDY_MS, () => monitor.unproven().length === 0);
}
