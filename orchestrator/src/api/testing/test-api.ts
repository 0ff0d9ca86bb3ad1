// The whole API for tests, on a port of its own: real core, writer, store and chunk store; only the workers' sockets are replaced by direct messages.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import type { AccountId } from "@qubix/shared/domain";
import type { OrchestratorMessage, Role, TreeRef, WorkerOffer } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import { createApiKey } from "../../accounts/secrets.ts";
import { createOrchestratorClock } from "../../app/clock.ts";
import { createWallTimes } from "../../app/wall-times.ts";
import { createWriter } from "../../app/writer.ts";
import type { Writer } from "../../app/writer-port.ts";
import { createChunkStore, createTreeOwners, type ChunkStore } from "../../checkpoints/index.ts";
import {
  type Canary,
  type ChainSetting,
  type CoreEvent,
  createState,
  DEFAULT_CORE_CONFIG,
  nextDeadlineMs,
  step,
} from "../../core/index.ts";
import { type ChainPorts, createChain } from "../../settlement/chain.ts";
import { createChains } from "../../settlement/chains.ts";
import { createMemoryStore, openSqliteStore } from "../../store/index.ts";
import { createApiServer, type ApiServer } from "../server.ts";
import { driveWorker, type DrivenWorker } from "./driven-worker.ts";
import { createDelivery, createTextHash, openKeyRing, openMasterKey, openVault } from "../../vault/index.ts";
import { createCall, type Call } from "./http.ts";

export type StoreKind = "memory" | "sqlite";

export interface TestAccount {
  readonly id: AccountId;
  readonly key: string;
  readonly call: Call;
}

export interface TestApi extends AsyncDisposable {
  readonly url: string;
  readonly adminKey: string;
  readonly server: ApiServer;
  readonly writer: Writer;
  readonly chunks: ChunkStore;
  /** Holds the store and the vault. */
  readonly dir: string;
  readonly admin: Call;
  readonly anyone: Call;
  /** A new account with a key, and with this much money (USD micro-units). */
  account(role: Role, amount?: bigint): Promise<TestAccount>;
  /** A worker of 8 cores that is connected. */
  worker(provider: TestAccount, name: string, offer?: Partial<WorkerOffer>): Promise<DrivenWorker>;
  treeOfUpload(uploadId: string): Promise<TreeRef>;
  stop(): Promise<void>;
}

const SEED = 7;

export interface TestApiOptions {
  readonly store?: StoreKind;
  readonly bytesPerAccountMax?: number;
  readonly disputeWindowMs?: number;
  readonly canaries?: readonly Canary[];
  /** A chain's driver that is only asked what needs no node. */
  readonly chain?: Pick<ChainPorts, "driver" | "terms">;
}

export async function startTestApi({
  store: kind = "memory",
  bytesPerAccountMax = Number.MAX_SAFE_INTEGER,
  chain,
  disputeWindowMs = DEFAULT_CORE_CONFIG.disputeWindowMs,
  canaries = [],
}: TestApiOptions = {}): Promise<TestApi> {
  const dir = await mkdtemp(join(tmpdir(), "qubix-api-"));
  const logger = createLogger("test", "error");
  const store = kind === "memory" ? createMemoryStore() : openSqliteStore(dir);
  const clock = createOrchestratorClock(store);
  const random = { bytes: (count: number) => randomBytes(count) };
  const settings = chain === undefined ? {} : { [chain.terms.currency]: settingOf(chain) };
  const config = { ...DEFAULT_CORE_CONFIG, chains: settings, disputeWindowMs, canaries, canaryShare: 1 };
  const writer = createWriter({
    store,
    clock,
    logger,
    core: {
      create: (snapshot, nowMs) => createState({ snapshot, config, nowMs, seed: SEED, orchestratorId: "orc-test" }),
      step: (state, nowMs, event) => step(state, nowMs, event),
      nextDeadlineMs: (state) => nextDeadlineMs(state),
    },
  });
  const keys = openKeyRing(dir, openMasterKey(join(dir, "master.key")));
  const owners = createTreeOwners(store);
  const root = join(dir, "chunks");
  const chunks = createChunkStore({ root, owners, keys, bytesPerAccountMax, clock, logger });
  const vault = openVault(join(dir, "vault"), keys, logger);
  const delivery = createDelivery({ vault, orchestratorId: "orc-test", logger, state: () => writer.state() });
  const chainPorts = {
    submit: (event: CoreEvent) => writer.submit(event),
    state: () => writer.state(),
    file: join(dir, "outbox.db"),
    logger,
    clock: { nowMs: () => performance.now(), wallMs: () => Date.now() },
  };
  const chains = createChains(chain === undefined ? [] : [createChain({ ...chainPorts, ...chain })], {
    caps: () => ({ name: "ledger", enforced: "custodial", payeesMax: Infinity }),
  });
  const inbox = new Map<string, OrchestratorMessage[]>();
  writer.setSink({
    send: (workerId, _sessionId, message) => void inbox.get(workerId)?.push(delivery(workerId, message)),
    disconnect: () => {},
    challenge: () => {},
    chain: (id) => chains.consider(id),
    collect: (accountId, jobId, trees) => chunks.collect(accountId, jobId, trees),
    compare: () => {},
    shred: (vaultId) => vault.remove(vaultId),
    flush: () => {},
    reset: () => {},
  });
  const admin = createApiKey(random);
  const server = await createApiServer({
    writer,
    chunks,
    random,
    vault,
    hashText: createTextHash(keys),
    logger,
    orchestratorId: "orc-test",
    chains,
    wallOf: createWallTimes(store, { clockMs: clock.nowMs(), wallMs: Date.now() }),
    checkStorage: async () => {},
    gauges: () => ({}),
  });
  const url = await server.listen({ host: "127.0.0.1", port: 0 });
  writer.start({ keyId: admin.id, keyHash: admin.hash });
  await chunks.start();
  server.open();

  const adminCall = createCall(url, admin.secret);
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      await server.stop();
      await chains.stop();
      await writer.stop();
      await chunks.stop();
      keys.close();
      store.close();
      await rm(dir, { recursive: true, force: true });
    })();
    return stopping;
  };
  return {
    url,
    adminKey: admin.secret,
    server,
    writer,
    chunks,
    dir,
    admin: adminCall,
    anyone: createCall(url),
    account: (role, amount) => makeAccount(url, adminCall, role, amount),
    worker: (provider, name, offer) => driveWorker(writer, provider.call, inbox, name, offer),
    treeOfUpload: async (uploadId) => {
      const row = store.load().rows.uploads.find(({ id }) => id === uploadId);
      if (row === undefined) throw new Error(`no upload ${uploadId}`);
      return row.tree;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function settingOf({ driver, terms }: Pick<ChainPorts, "driver" | "terms">): ChainSetting {
  const { name, payeesMax } = driver.caps();
  return { driver: name, payeesMax, feeApart: terms.feeTo !== null };
}

async function makeAccount(url: string, admin: Call, role: Role, amount?: bigint): Promise<TestAccount> {
  const account = await admin("POST /v1/accounts", { name: `a ${role}`, role });
  const id = account.body["id"] as AccountId;
  const made = await admin("POST /v1/api-keys", { accountId: id });
  const key = String(made.body["key"]);
  if (amount !== undefined) {
    const deposit = { accountId: id, amount: { amount: amount.toString(), currency: "USD" } };
    const { status, text } = await admin("POST /v1/wallet/deposits", deposit);
    if (status !== 201) throw new Error(text);
  }
  return { id, key, call: createCall(url, key) };
}

/** A small job of one core: 100,000 micro-units an hour at most, for an hour. */
export function jobSpec(over: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    image: "docker.io/library/busybox:1",
    command: ["true"],
    priceMaxPerHour: { amount: "100000", currency: "USD" },
    durationMaxS: 3600,
    ...over,
  };
}

/** Of a wallet without pay or stake. */
export const NOTHING_EARNED = {
  earned: "0",
  pending: "0",
  payable: "0",
  staked: "0",
  settledBy: { driver: "ledger", enforced: "custodial" },
} as const;
