// The composition root: store, clock, writer, chunk store, gateway, settlement and API put together; started and stopped in the order that loses nothing.
import { randomBytes } from "node:crypto";
import { access, constants, mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { createLedgerDriver } from "@qubix/contracts-bridge/ledger";
import type { AccountId } from "@qubix/shared/domain";
import { QubixError, type Logger, type RandomSource } from "@qubix/shared/runtime";
import { createApiKey } from "../accounts/secrets.ts";
import { createApiServer } from "../api/server.ts";
import { keepSources } from "../api/source-checkpoint.ts";
import { createChunkStore, createTreeOwners, type ChunkStore } from "../checkpoints/index.ts";
import {
  areIntroduced,
  type CoreConfig,
  type CoreState,
  createState,
  DEFAULT_CORE_CONFIG,
  isIntroduced,
  nextDeadlineMs,
  step,
  vaultIds,
} from "../core/index.ts";
import { createWorkerGateway, type WorkerGateway } from "../gateway/index.ts";
import { createProofService, type ProofService } from "../proofs/service.ts";
import { createVerifier } from "../proofs/verifier.ts";
import type { Relay, RelayGate } from "../relay/relay.ts";
import { type ChainPorts, createChain } from "../settlement/chain.ts";
import { type Chains, createChains } from "../settlement/chains.ts";
import { openSqliteStore, type Store } from "../store/index.ts";
import { readCanaries } from "../verification/canaries.ts";
import { type Comparer, createComparer } from "../verification/comparer.ts";
import {
  createDelivery,
  createTextHash,
  type Delivery,
  type KeyRing,
  openKeys,
  openVault,
  type Vault,
} from "../vault/index.ts";
import { type ChainSetUp, chainSettings, openChains } from "./chain-settings.ts";
import { createOrchestratorClock } from "./clock.ts";
import type { OrchestratorConfig } from "./config.ts";
import { createIpfs } from "./ipfs.ts";
import { createLoopLag } from "./loop-lag.ts";
import { createWallTimes } from "./wall-times.ts";
import { createWriter, type CorePort } from "./writer.ts";
import type { EffectSink, Writer } from "./writer-port.ts";

/** Below this the data folder is as good as full: a checkpoint would not fit. */
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const SEED_BYTES = 4;
const ID_BYTES = 10;

export interface Orchestrator {
  readonly url: string;
  /** Only after the first start of all. */
  readonly adminKey?: string;
  /** Takes no more requests, finishes what is under way, closes sockets and the store. Callable twice. */
  stop(): Promise<void>;
}

export interface StartPorts {
  readonly logger: Logger;
  /** At the first start of all, as soon as the key is durable: whatever comes then, it is made only once. */
  readonly onAdminKey?: (key: string) => void;
}

/** Starts everything. Throws with one clear sentence when the data folder or the address cannot be had; then nothing is left behind. */
export async function startOrchestrator(
  config: OrchestratorConfig,
  { logger, onAdminKey }: StartPorts,
): Promise<Orchestrator> {
  // What is wrong with the settings is told before anything is made or opened.
  const setUps = await openChains(config);
  await prepareFolder(config.dataDir);
  const store = openSqliteStore(config.dataDir);
  try {
    return await startOver({ store, setUps, onAdminKey }, config, logger);
  } catch (error) {
    store.close();
    throw error;
  }
}

interface Opened {
  readonly store: Store;
  readonly setUps: readonly ChainSetUp[];
  readonly onAdminKey: StartPorts["onAdminKey"];
}

async function startOver(opened: Opened, config: OrchestratorConfig, logger: Logger): Promise<Orchestrator> {
  const keys = openKeys(config.dataDir, config.masterKeyFile);
  try {
    return await startWith({ ...opened, keys }, config, logger);
  } catch (error) {
    keys.close();
    throw error;
  }
}

interface OpenedWithKeys extends Opened {
  readonly keys: KeyRing;
}

async function startWith(opened: OpenedWithKeys, config: OrchestratorConfig, logger: Logger): Promise<Orchestrator> {
  refuseTaken(opened.store, opened.setUps);
  let state = (): CoreState => {
    throw new QubixError("not_started", "The writer is not made yet.", { category: "internal" });
  };
  const relay = await openRelay(config, () => state(), logger);
  const made = (writer: Writer) => {
    state = () => writer.state();
  };
  try {
    return await startBeside({ ...opened, relay, made }, config, logger);
  } catch (error) {
    // It listens already, and would keep the program from ending.
    await relay?.stop();
    throw error;
  }
}

async function startBeside(
  {
    store,
    setUps,
    keys,
    onAdminKey,
    relay,
    made,
  }: OpenedWithKeys & { readonly relay: Relay | undefined; readonly made: (writer: Writer) => void },
  config: OrchestratorConfig,
  logger: Logger,
): Promise<Orchestrator> {
  const clock = createOrchestratorClock(store);
  const random: RandomSource = { bytes: (count) => randomBytes(count) };
  const orchestratorId = store.meta()?.orchestratorId ?? `orc-${randomBytes(ID_BYTES).toString("hex")}`;
  const vault = openVault(join(config.dataDir, "vault"), keys, logger);
  const core = createCore(config, orchestratorId, relay?.addresses ?? [], chainSettings(setUps));
  const lag = createLoopLag();
  const writer = createWriter({ store, clock, logger, core, lag });
  made(writer);
  const owners = createTreeOwners(store);
  const bytesPerAccountMax = config.storageMax;
  const root = join(config.dataDir, "chunks");
  const ipfs = createIpfs({ config, orchestratorId, logger });
  const chunks = createChunkStore({ root, owners, keys, bytesPerAccountMax, ...ipfs.hooks, clock, logger });
  const chains = openAll(setUps, config, (setUp) => ({
    submit: (event) => writer.submit(event),
    state: () => writer.state(),
    logger,
    clock: { nowMs: () => performance.now(), wallMs: () => Date.now() },
    driver: setUp.driver,
    terms: setUp.terms,
    file: setUp.outboxFile,
  }));
  const proofs = createProofService({
    submit: (event) => writer.submit(event),
    send: (workerId, sessionId, message) => gateway.send(workerId, sessionId, message),
    publicKeyOf: (workerId) => writer.state().rows.workers.get(workerId)?.publicKey,
    verifier: createVerifier(),
    random,
    logger,
    nowMs: () => performance.now(),
  });
  const comparer = createComparer({ chunks, submit: (event) => writer.submit(event), logger });
  const gateway = createWorkerGateway({ writer, chunks, proofs, logger, orchestratorId });
  const delivery = createDelivery({ vault, orchestratorId, logger, state: () => writer.state() });
  writer.setSink(createSink({ gateway, proofs, comparer, chains, chunks, vault, delivery }));

  const wallOf = createWallTimes(store, { clockMs: clock.nowMs(), wallMs: Date.now() });
  const api = await createApiServer(
    {
      writer,
      chunks,
      random,
      vault,
      hashText: createTextHash(keys),
      logger,
      orchestratorId,
      chains,
      wallOf,
      checkStorage: () => checkStorage(config.dataDir),
      gauges: () => ({ ...gateway.gauges(), ...ipfs.gauges(), ...chains.gauges() }),
    },
    (request, socket, head) => gateway.handleUpgrade(request, socket, head),
  );

  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      lag.stop();
      await Promise.all([api.stop(), gateway.stop()]);
      // What is final on a chain is posted by the writer.
      await chains.stop();
      await writer.stop();
      await proofs.stop();
      await comparer.stop();
      await ipfs.stop();
      await relay?.stop();
      await chunks.stop();
      keys.close();
      store.close();
    })();
    return stopping;
  };
  try {
    // The address comes first: a first start that cannot have it makes no admin key that nobody would ever see.
    const url = await api.listen(config.listen);
    const admin = createApiKey(random);
    lag.start();
    const { firstStart } = writer.start({ keyId: admin.id, keyHash: admin.hash });
    if (firstStart) onAdminKey?.(admin.secret);
    vault.sweep(vaultIds(writer.state()));
    await chunks.start();
    await ipfs.start(chunks);
    await keepSources(store, chunks);
    chains.start();
    comparer.start();
    api.open();
    chunks.warm();
    logger.info({ event: "ready", url, orchestratorId, dataDir: config.dataDir }, "ready");
    return { url, stop, ...(firstStart ? { adminKey: admin.secret } : {}) };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Only where the operator wants one: it brings libp2p into memory. */
async function openRelay(
  { relayListen, relayAnnounce, dataDir }: OrchestratorConfig,
  state: () => CoreState,
  logger: Logger,
): Promise<Relay | undefined> {
  if (relayListen === undefined) return undefined;
  const { startRelay } = await import("../relay/relay.ts");
  const workerOf = (publicKey: string) => state().ix.workerByPublicKey.get(publicKey);
  const gate = {
    admits(publicKey: string) {
      const id = workerOf(publicKey);
      return id !== undefined && isIntroduced(state(), id);
    },
    joins(one: string, other: string) {
      const [from, to] = [workerOf(one), workerOf(other)];
      return from !== undefined && to !== undefined && areIntroduced(state(), from, to);
    },
  };
  const options = { listen: relayListen, announce: relayAnnounce, keyFile: join(dataDir, "relay-key.pem") };
  return startRelay(options, closedWhileThereIsNoState(gate), logger);
}

/** While memory is rebuilt nobody knows who is a pair. */
function closedWhileThereIsNoState(gate: RelayGate): RelayGate {
  const orFalse = (look: () => boolean): boolean => {
    try {
      return look();
    } catch {
      return false;
    }
  };
  return {
    admits: (publicKey) => orFalse(() => gate.admits(publicKey)),
    joins: (one, other) => orFalse(() => gate.joins(one, other)),
  };
}

function createCore(
  {
    registryAllow,
    workerProofs,
    disputeWindowS,
    appealWindowS,
    decisionS,
    checkShare,
    canaries,
    canaryShare,
    checkReferees,
  }: OrchestratorConfig,
  orchestratorId: string,
  directRelays: readonly string[],
  chains: CoreConfig["chains"],
): CorePort {
  const config = {
    ...DEFAULT_CORE_CONFIG,
    registriesAllowed: registryAllow,
    workerProofs,
    directRelays,
    checkShare,
    canaries: canaries === undefined ? [] : readCanaries(canaries),
    canaryShare,
    checkReferees: checkReferees.map((id) => id as AccountId),
    disputeWindowMs: disputeWindowS * 1000,
    chains,
    appealWindowMs: appealWindowS * 1000,
    decisionMs: decisionS * 1000,
  };
  const seed = randomBytes(SEED_BYTES).readUInt32LE();
  return {
    create: (snapshot, nowMs) => createState({ snapshot, config, nowMs, seed, orchestratorId }),
    step: (state, nowMs, event) => step(state, nowMs, event),
    nextDeadlineMs: (state) => nextDeadlineMs(state),
  };
}

/** Opens the outbox of each; what was opened is closed where one cannot be. */
function openAll(
  setUps: readonly ChainSetUp[],
  { chainPollMs: pollMs }: OrchestratorConfig,
  portsOf: (setUp: ChainSetUp) => ChainPorts,
): Chains {
  const opened = setUps.map((setUp) => createChain(portsOf(setUp), { pollMs }));
  return createChains(opened, createLedgerDriver());
}

const CHAIN_DRIVERS: ReadonlySet<string> = new Set(["evm", "qubic"]);

/** Money lies where it came in: neither can a currency with other balances be given to a chain, nor one be taken from a chain on which it lies. */
function refuseTaken(store: Store, setUps: readonly ChainSetUp[]): void {
  const outside = ["ledger", ...CHAIN_DRIVERS].map((driver) => `external:${driver}` as const);
  const driverOf = (currency: string) =>
    setUps.find(({ terms }) => terms.currency === currency)?.terms.driver ?? "ledger";
  for (const { account, currency, amount } of store.balances(outside)) {
    const lies = account.slice("external:".length);
    const set = driverOf(currency);
    if (amount === 0n || lies === set) continue;
    const message = CHAIN_DRIVERS.has(lies)
      ? `There is money in ${currency} on ${lies}, and ${currency} is not set up there any more. Give it its settings back (--${lies}-currency ${currency} and the others).`
      : `There are balances in ${currency} already, and nothing of them lies on ${set}. Give the chain a currency of its own.`;
    throw new QubixError("chain_currency_taken", message, { category: "user" });
  }
}

interface SinkParts {
  readonly gateway: WorkerGateway;
  readonly proofs: ProofService;
  readonly chains: Chains;
  readonly comparer: Comparer;
  readonly chunks: ChunkStore;
  readonly vault: Vault;
  readonly delivery: Delivery;
}

function createSink({ gateway, proofs, comparer, chains, chunks, vault, delivery }: SinkParts): EffectSink {
  return {
    send: (workerId, sessionId, message) => gateway.send(workerId, sessionId, delivery(workerId, message)),
    disconnect: (workerId, sessionId, reason) => gateway.disconnect(workerId, sessionId, reason),
    challenge: (effect) => proofs.challenge(effect),
    chain: (id) => chains.consider(id),
    collect: (accountId, jobId, trees) => chunks.collect(accountId, jobId, trees),
    compare: (effect) => comparer.compare(effect),
    shred: (vaultId) => vault.remove(vaultId),
    flush: () => gateway.flush(),
    reset: () => {
      gateway.reset();
      chains.considerAll();
    },
  };
}

async function prepareFolder(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    const why = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new QubixError(
      "data_dir_unusable",
      `Cannot write to the data folder ${dataDir} (${why}). Choose another with --data-dir, or mend its permissions.`,
      { category: "platform", cause },
    );
  }
}

async function checkStorage(dataDir: string): Promise<void> {
  try {
    await access(dataDir, constants.W_OK);
    const { bavail, bsize } = await statfs(dataDir);
    if (bavail * bsize >= FREE_BYTES_MIN) return;
  } catch (cause) {
    throw storageError("storage_unusable", "The data folder cannot be written. The operator has to look at it.", cause);
  }
  throw storageError("storage_full", "The disk of the data folder is full. The operator has to make room.");
}

function storageError(code: string, message: string, cause?: unknown): QubixError {
  return new QubixError(code, message, { category: "platform", status: 503, cause });
}
