// The agent: journal, core, runner and links put together, from the lock on the data directory to the last answer.
import { mkdirSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import type { JobId } from "@qubix/shared/domain";
import type { OfferedFeature } from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import {
  createWorkerState,
  DEFAULT_WORKER_CONFIG,
  heartbeatEveryMs,
  isExclusive,
  type WorkerEffect,
  type WorkerState,
} from "../core/index.ts";
import { createCheckpointPort, NO_PEER } from "../direct/chunk-port.ts";
import { createDirect, type Direct } from "../direct/direct.ts";
import { detectMachine } from "../machine/machine.ts";
import type { GpuDetection } from "../gpu/nvidia-smi.ts";
import type { Guard } from "../guard/guard.ts";
import { offerExclusive } from "../guard/offer.ts";
import { openGuard } from "../guard/open.ts";
import { type Journal, openJournal } from "../journal/journal.ts";
import { type BulkLink, createBulkLink } from "../link/bulk.ts";
import { type ControlLink, createControlLink } from "../link/control.ts";
import type { LinkIdentity } from "../link/handshake.ts";
import type { WorkerKey } from "../link/keys.ts";
import { createUplinkPacer, type Pacer } from "../link/pacer.ts";
import { assertSeccomp } from "../isolation/engine-walls.ts";
import { areGpusUnsafe, offerMemoryImages, offerSandbox } from "../isolation/offer.ts";
import { runtimeProgram } from "../isolation/sandbox.ts";
import { type BootClock, createBootClock } from "../runner/boot-clock.ts";
import { createProver, type Prover } from "../proof/prover.ts";
import { createThreads } from "../checkpoint/encode/threads.ts";
import { createContainers } from "../runner/containers.ts";
import { createEngine, type Engine, LOOK_TIMEOUT_MS } from "../runner/engine.ts";
import { createImages, type ImagesConfig } from "../runner/images/images.ts";
import type { PumpPosition } from "../runner/log-pump.ts";
import { createJobNetworks } from "../runner/network/job-networks.ts";
import { createRunner, type Runner } from "../runner/runner.ts";
import type { ChunkPort } from "../runner/slot-trees.ts";
import { openSecrets, type Secrets } from "../secrets/open.ts";
import type { SecretStore } from "../secrets/secret-store.ts";
import { knownDiskBound } from "../runner/volumes/self-test.ts";
import { createVolumes, type Volumes } from "../runner/volumes/volumes.ts";
import { serveAgent } from "./agent-socket.ts";
import { parseDirectListen, type StartConfig } from "./config.ts";
import { type CoreLoop, createCoreLoop } from "./core-loop.ts";
import { createGpus, type Gpus } from "./gpus.ts";
import { createEgressOffer, type EgressOffer } from "./egress.ts";
import type { Identity } from "./identity.ts";
import { collectGarbage, createIdleMemory, type IdleMemory } from "./idle-memory.ts";
import { imageLedgerStore, imageSettings } from "./image-config.ts";
import { createMeasures, type Measures } from "./measures.ts";
import { createOfferKeeper, type OfferKeeper, type OfferParts } from "./offer.ts";
import { createOwner, type Owner } from "./owner/owner.ts";

export interface AgentPorts {
  readonly identity: Identity;
  readonly key: WorkerKey;
  readonly agentVersion: string;
  readonly logger: Logger;
  /** The first session is open. */
  ready(): void;
  /** The agent cannot go on. */
  fatal(error: QubixError): void;
}

export interface Agent {
  start(): Promise<void>;
  /** Containers run on; the next start takes them up again. */
  stop(): Promise<void>;
}

const logKey = (slotId: string) => `log:${slotId}`;

interface Parts {
  readonly journal: Journal;
  readonly state: WorkerState;
  readonly loop: CoreLoop;
  readonly runner: Runner;
  readonly secrets: SecretStore;
  readonly control: ControlLink;
  readonly bulk: BulkLink;
  readonly direct: Direct | null;
  readonly server: Server;
  readonly gpus: Gpus;
  readonly prover: Prover;
  readonly measures: Measures;
  readonly idleMemory: IdleMemory;
  readonly owner: Owner;
  readonly egress: EgressOffer;
}

export function createAgent(ports: AgentPorts, config: StartConfig): Agent {
  let parts: Parts | null = null;
  const life = new AbortController();

  async function start(): Promise<void> {
    if (parts !== null) return;
    const slotsDir = join(config.dataDir, "slots");
    mkdirSync(slotsDir, { recursive: true, mode: 0o700 });
    const journal = openJournal(join(config.dataDir, "journal.db"));
    const begun: (() => void)[] = [];
    try {
      parts = await assemble(journal, slotsDir, (undo) => begun.push(undo));
    } catch (error) {
      // What has begun goes back: it would keep the program from ending, and write to a journal that is closed.
      life.abort();
      for (const undo of begun.toReversed()) undo();
      journal.close();
      throw error;
    }
  }

  /** `began` is told how to end each part that does something by itself from then on. */
  async function assemble(journal: Journal, slotsDir: string, began: (undo: () => void) => void): Promise<Parts> {
    const engine = createEngine(config.dockerSocket);
    const { hostCpus, engineDir } = await probeEngine(engine);
    const images = await imageSettings(config, engineDir, imageLedgerStore(journal));
    const clock = createBootClock();
    const volumes = createVolumes(
      await knownDiskBound(engine, journal, join(config.dataDir, "volume-test"), clock.bootId),
    );
    const secrets = openSecrets({ ...ports.identity, dataDir: config.dataDir, key: ports.key, logger: ports.logger });
    const owner = createOwner({ ...ports, journal, nowMs: () => clock.nowMs() }, config);
    began(() => owner.stop());
    const gpus = createGpus({ engine, logger: ports.logger, nowMs: () => clock.nowMs() }, owner.live);
    began(() => gpus.stop());
    const detection = await gpus.start();
    const keeper = createOfferKeeper(
      await firstParts(owner, ports, { detection, ...secrets, diskMiBKept: images.diskMiBKept }),
      (offer) => loop.dispatch({ kind: "offer", offer }),
    );
    const state = createWorkerState({
      slots: journal.slots(),
      offer: keeper.offer(),
      config: { ...DEFAULT_WORKER_CONFIG, heartbeatSpread: Math.random() },
    });
    const link = linkIdentity(ports);
    const control = createControlLink({
      identity: link,
      logger: ports.logger,
      random: Math.random,
      heartbeatMs: () => heartbeatEveryMs(state.config, state.slots.size > 0),
    });
    const pacer = createUplinkPacer(() => owner.live.uplinkMbpsMax ?? null);
    const bulk = createBulkLink({ identity: link, logger: ports.logger, random: Math.random, pacer });
    const direct = makeDirect(pacer, clock, keeper);
    const { workerId } = ports.identity;
    const { dataDir, dockerSocket } = config;
    const guard = openGuard({ workerId, dataDir, dockerSocket, clock, logger: ports.logger });
    began(() => guard?.stop());
    const egress = createEgressOffer({ engine, logger: ports.logger, keeper }, ports.identity.workerId, config.egress);
    const runner = makeRunner({
      engine,
      volumes,
      guard,
      egress,
      clock,
      journal,
      control,
      bulk,
      direct,
      secrets: secrets.store,
      slotsDir,
      hostCpus,
      gpus,
      owner,
      images: images.config,
    });
    began(() => runner.stop());
    const loop = createCoreLoop(state, {
      clock,
      journal,
      logger: ports.logger,
      perform(effect) {
        owner.performing(effect);
        perform(effect, state, runner, control, beat);
      },
      broken: (cause) => ports.fatal(journalBroken(cause)),
    });
    function beat(heartbeat: Parameters<ControlLink["sendHeartbeat"]>[0]): void {
      const attempts = (heartbeat.attempts ?? []).map(({ attempt }) => attempt);
      // Before it leaves: a lease counts from then, and is never longer than the orchestrator believes.
      const sentAtMs = clock.nowMs();
      control.sendHeartbeat(heartbeat, () => loop.dispatch({ kind: "answered", attempts, sentAtMs }));
    }
    began(() => loop.stop());
    gpus.attach({ keeper, state, dispatch: (event) => loop.dispatch(event) });
    const containers = await runner.reconcile([...state.slots.values()]);
    await owner.attach({ state, control, keeper, gpus, direct, dispatch: (event) => loop.dispatch(event) });
    const server = await serveAgent(config.dataDir, (request) => owner.answer(request));
    began(() => server.close());
    loop.dispatch({ kind: "boot", containers });
    runner.start();
    const prover = createProver(
      { control, bulk, logger: ports.logger, slots: () => state.slots.values(), cpus: () => keeper.offer().cpus },
      config,
    );
    keeper.update({ features: new Set([...keeper.parts().features, "proofs"]) });
    const checks = { engine, journal, keeper, logger: ports.logger };
    void offerExclusive({ guard, keeper, logger: ports.logger }, life.signal);
    void offerSandbox(checks, config.sandboxRuntime);
    // Images of memory lie on the job's disk: only a volume keeps them from counting as more than it asked for.
    if (volumes.bound().kind === "volumes") {
      void offerMemoryImages(checks, config.memoryRuntime, join(config.dataDir, "memory-check"));
    }
    const isIdle = () => state.slots.size === 0 && !prover.isBusy();
    const measures = createMeasures({
      journal,
      keeper,
      bulk,
      dataDir: config.dataDir,
      logger: ports.logger,
      random: Math.random,
      isIdle,
      isConnected: () => control.isOpen(),
    });
    measures.start();
    const idleMemory = createIdleMemory({ isIdle, collect: collectGarbage });
    idleMemory.start();
    connect({ control, runner, loop, state, prover, owner, direct, secrets: secrets.store }, ports);
    egress.start();
    const kept = secrets.store;
    return {
      journal,
      state,
      loop,
      runner,
      secrets: kept,
      control,
      bulk,
      direct,
      server,
      gpus,
      prover,
      measures,
      idleMemory,
      owner,
      egress,
    };
  }

  function makeRunner(given: {
    readonly engine: Engine;
    readonly volumes: Volumes;
    readonly guard: Guard | null;
    readonly egress: EgressOffer;
    readonly clock: BootClock;
    readonly journal: Journal;
    readonly control: ControlLink;
    readonly bulk: BulkLink;
    readonly direct: Direct | null;
    readonly secrets: SecretStore;
    readonly slotsDir: string;
    readonly hostCpus: number;
    readonly gpus: Gpus;
    readonly owner: Owner;
    readonly images: ImagesConfig;
  }): Runner {
    const { engine, egress, volumes, guard, clock, journal, control, bulk, direct } = given;
    const { secrets, slotsDir, hostCpus, gpus, owner, images } = given;
    const { live } = owner;
    const threads = createThreads();
    return createRunner(
      {
        engine,
        containers: createContainers(engine, ports.identity.workerId, config.sandboxRuntime, config.memoryRuntime),
        memoryProgram: () => runtimeProgram(engine, config.memoryRuntime),
        volumes,
        guard,
        networks: createJobNetworks(
          { engine, logger: ports.logger, failed: () => egress.doubt() },
          ports.identity.workerId,
          config.egress,
        ),
        threads,
        images: createImages(
          { engine, logger: ports.logger, ledger: imageLedgerStore(journal), threads },
          {
            ...images,
            get localImages() {
              return live.localImage;
            },
          },
        ),
        clock,
        logger: ports.logger,
        sendLog(body, durable) {
          const sent = control.sendLog(body, durable);
          if (sent) owner.logged(body.text);
          return sent;
        },
        positions: {
          load: (slotId) => journal.get(logKey(slotId)) as PumpPosition | undefined,
          save: (slotId, position) => journal.set(logKey(slotId), position),
          forget: (slotId) => journal.set(logKey(slotId), undefined),
        },
        chunks: (jobId) => storeOf(bulk, jobId),
        checkpointChunks: (jobId, folder) =>
          direct?.checkpoints(jobId, folder, storeOf(bulk, jobId)) ??
          createCheckpointPort(storeOf(bulk, jobId), NO_PEER),
        secrets,
        emit: (event) => gpus.dispatch(event),
        gpuUse: (uuids) => gpus.use(uuids),
      },
      { slotsDir, hostCpus, dns: config.dns },
    );
  }

  function makeDirect(pacer: Pacer, clock: BootClock, keeper: OfferKeeper): Direct | null {
    const listen = parseDirectListen(config.directListen);
    if (!config.direct || listen === undefined) return null;
    const { key, logger } = ports;
    const reachable = (directAddresses: readonly string[]) => keeper.update({ directAddresses });
    return createDirect({ key, logger, pacer, reachable, nowMs: () => clock.nowMs() }, listen);
  }

  return {
    start,
    async stop() {
      const stopping = parts;
      parts = null;
      if (stopping === null) return;
      life.abort();
      stopping.loop.stop();
      stopping.server.close();
      stopping.gpus.stop();
      stopping.measures.stop();
      stopping.idleMemory.stop();
      stopping.owner.stop();
      stopping.egress.stop();
      stopping.runner.stop();
      stopping.secrets.close();
      stopping.prover.stop();
      stopping.bulk.stop();
      await stopping.direct?.stop();
      await stopping.control.stop();
      stopping.journal.close();
    },
  };
}

function perform(
  effect: WorkerEffect,
  state: WorkerState,
  runner: Runner,
  control: ControlLink,
  beat: (heartbeat: Parameters<ControlLink["sendHeartbeat"]>[0]) => void,
): void {
  if (effect.kind !== "send") return runner.perform(effect, state.slots.get(effect.slotId));
  const { message } = effect;
  // An attempt's output comes before its end: afterwards nothing more is taken of it.
  if (message.kind === "exited" || message.kind === "ended") runner.flushLogs(message.attempt, state.slots.values());
  if (message.kind === "heartbeat" && [...state.slots.values()].some(isExclusive)) return beat(message);
  control.send(message);
  // Hello comes first in a session; then what was held back may follow.
  if (message.kind === "hello") runner.opened();
}

function connect(
  parts: Pick<Parts, "control" | "runner" | "loop" | "state" | "prover" | "owner" | "direct" | "secrets">,
  ports: AgentPorts,
): void {
  const { control, runner, loop, state, prover, owner, direct, secrets } = parts;
  let welcomed = false;
  control.start({
    opened(welcome) {
      owner.opened();
      direct?.opened();
      loop.dispatch({ kind: "opened", sessionId: welcome.sessionId, contactLossS: welcome.contactLossS });
      if (!welcomed) ports.ready();
      welcomed = true;
    },
    closed() {
      owner.closed();
      runner.closed();
      prover.closed();
      loop.dispatch({ kind: "closed" });
    },
    order(message) {
      owner.heard(message);
      if (prover.order(message) || direct?.order(message) === true) return;
      // Before it is journaled: what the journal knows of is there after a crash of the agent, too.
      loop.dispatch({ kind: "message", message: secrets.receive(message, (slotId) => state.slots.has(slotId)) });
    },
    acknowledged(message) {
      owner.acknowledged(message);
      loop.dispatch({ kind: "acknowledged", message });
    },
    refused: (message, code, reason, head) =>
      loop.dispatch({ kind: "refused", message, code, reason, ...(head === undefined ? {} : { head }) }),
    failed(error, final) {
      // Once welcomed, a refusal may be the orchestrator's passing trouble, and there is work to look after.
      if (final && !welcomed) ports.fatal(error);
      else ports.logger.warn({ event: "not_connected", code: error.code }, error.message);
    },
  });
}

/** Asks the machine. */
async function firstParts(
  owner: Owner,
  { logger }: AgentPorts,
  {
    detection,
    sealingKey,
    diskMiBKept,
  }: Pick<Secrets, "sealingKey"> & { readonly detection: GpuDetection; readonly diskMiBKept: number },
): Promise<OfferParts> {
  const machine = await detectMachine(owner.live.dataDir);
  reportGpus(detection, logger, owner.live);
  const hasGpus = detection.kind === "gpus" && detection.gpus.length > 0;
  return {
    machine: { ...machine, diskMiBFree: Math.max(0, Math.floor(machine.diskMiBFree - diskMiBKept)) },
    detection,
    gpusUnsafe: await areGpusUnsafe(hasGpus, logger),
    terms: owner.terms(),
    pauses: owner.pauses(),
    withheldGpus: new Set(),
    features: new Set<OfferedFeature>([
      "earnings",
      "image-digest",
      "image-upload",
      "moves",
      "stalls",
      "ticks",
      "usage",
      ...(sealingKey === undefined ? [] : (["secrets"] as const)),
      ...(owner.live.direct ? (["direct"] as const) : []),
    ]),
    sealingKey,
  };
}

function reportGpus(detection: GpuDetection, logger: Logger, config: StartConfig): void {
  if (detection.kind === "gpus" && detection.gpus.length > 0 && config.pricePerGpuHour === undefined) {
    logger.warn(
      { event: "gpu_unpriced", gpus: detection.gpus.length },
      "GPUs are not offered without --price-per-gpu-hour",
    );
  }
}

/** Makes sure that the Engine answers, and says how many cores it grants and where it keeps its images. */
async function probeEngine(engine: Engine): Promise<{ readonly hostCpus: number; readonly engineDir?: string }> {
  const info = (await engine.call("tell about itself", LOOK_TIMEOUT_MS, () => engine.docker.info())) as {
    NCPU?: number;
    SecurityOptions?: readonly string[];
    DockerRootDir?: string;
  };
  assertSeccomp(info.SecurityOptions);
  const { NCPU: hostCpus = 1, DockerRootDir: engineDir } = info;
  return { hostCpus, ...(engineDir === undefined ? {} : { engineDir }) };
}

/** The orchestrator's store, as a job of this worker sees it. */
function storeOf(bulk: BulkLink, jobId: JobId): ChunkPort {
  return {
    missing: (cids, signal) => bulk.missing(jobId, cids, signal),
    put: (cid, stored, signal) => bulk.put(jobId, cid, stored, signal),
    get: (cid, signal) => bulk.get(jobId, cid, signal),
  };
}

function linkIdentity(ports: AgentPorts): LinkIdentity {
  const { url, workerId, orchestratorId } = ports.identity;
  return { url, workerId, orchestratorId, agentVersion: ports.agentVersion, key: ports.key };
}

function journalBroken(cause: unknown): QubixError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new QubixError(
    "journal_failed",
    `The journal cannot be written (${why}); the agent stops so that it does nothing it would forget. Containers run on: make room on the disk and start it again.`,
    { category: "provider", cause },
  );
}
