// A gateway on a real port over a real writer and core, and workers that speak the protocol by hand: for tests.
import { generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket, type RawData } from "ws";
import type { AccountId, ApiKeyId, JobId, WorkerId } from "@qubix/shared/domain";
import { authText, jobSpecSchema, PROTOCOL_VERSION, type JobSpecInput } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import { createWriter, type Writer } from "../../app/writer.ts";
import { createChunkStore, createTreeOwners, type ChunkStore } from "../../checkpoints/index.ts";
import {
  type CoreConfig,
  createState,
  DEFAULT_CORE_CONFIG,
  nextDeadlineMs,
  step,
  type Reply,
} from "../../core/index.ts";
import { createProofService } from "../../proofs/service.ts";
import { createVerifier } from "../../proofs/verifier.ts";
import { createMemoryStore, type Store } from "../../store/index.ts";
import { openKeyRing, openMasterKey } from "../../vault/index.ts";
import { createWorkerGateway, DEFAULT_GATEWAY_CONFIG, type GatewayConfig, type WorkerGateway } from "../index.ts";

export const ORCHESTRATOR_ID = "orc-test";
const ADMIN_HASH = "ab".repeat(32);

export interface Rig {
  readonly url: string;
  readonly writer: Writer;
  readonly store: Store;
  readonly chunks: ChunkStore;
  readonly gateway: WorkerGateway;
  /** Commits fail while this is above zero; each failure counts it down. */
  failCommits: number;
  readonly consumer: AccountId;
  enrol(name: string): Promise<Identity>;
  submitJob(spec?: Partial<JobSpecInput>): Promise<JobId>;
  stop(): Promise<void>;
}

export interface Identity {
  readonly workerId: WorkerId;
  readonly key: KeyObject;
  sign(text: string): string;
}

export async function startRig(
  config: Partial<GatewayConfig> = {},
  core: Partial<CoreConfig> = {},
  bytesPerAccountMax = Number.MAX_SAFE_INTEGER,
): Promise<Rig> {
  const dir = mkdtempSync(join(tmpdir(), "qubix-gateway-"));
  const logger = createLogger("test", "silent");
  const inner = createMemoryStore();
  const store: Store = {
    ...inner,
    commit: (batch, wallMs) => {
      if (rig.failCommits > 0) {
        rig.failCommits -= 1;
        throw new Error("the disk is full");
      }
      inner.commit(batch, wallMs);
    },
  };
  const clock = { nowMs: () => Math.floor(performance.now()) };
  const writer = createWriter({
    store,
    clock,
    logger,
    core: {
      create: (snapshot, nowMs) =>
        createState({
          snapshot,
          config: { ...DEFAULT_CORE_CONFIG, ...core },
          nowMs,
          seed: 1,
          orchestratorId: ORCHESTRATOR_ID,
        }),
      step,
      nextDeadlineMs,
    },
  });
  const keys = openKeyRing(dir, openMasterKey(join(dir, "master.key")));
  const owners = createTreeOwners(store);
  const root = join(dir, "chunks");
  const chunks = createChunkStore({ root, owners, keys, bytesPerAccountMax, clock, logger });
  await chunks.start();
  const proofs = createProofService({
    submit: (event) => writer.submit(event),
    send: (...message) => gateway.send(...message),
    publicKeyOf: (workerId) => writer.state().rows.workers.get(workerId)?.publicKey,
    verifier: createVerifier(),
    random: { bytes: (count) => randomBytes(count) },
    logger,
    nowMs: () => performance.now(),
  });
  const gateway = createWorkerGateway(
    { writer, chunks, proofs, logger, orchestratorId: ORCHESTRATOR_ID },
    { ...DEFAULT_GATEWAY_CONFIG, ...config },
  );
  writer.setSink({
    send: (...effect) => gateway.send(...effect),
    disconnect: (...effect) => gateway.disconnect(...effect),
    flush: () => gateway.flush(),
    reset: () => gateway.reset(),
    challenge: (effect) => proofs.challenge(effect),
    chain: () => {},
    collect: (...effect) => chunks.collect(...effect),
    compare: () => {},
    shred: () => {},
  });
  const server = createServer();
  server.on("upgrade", (request, socket, head) => {
    if (!gateway.handleUpgrade(request, socket, head)) socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const rig: Rig = {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    writer,
    store: inner,
    chunks,
    gateway,
    failCommits: 0,
    consumer: "acc-none" as AccountId,
    enrol: (name) => enrol(writer, name),
    submitJob: (spec) => submitJob(rig, spec),
    stop: async () => {
      await gateway.stop();
      await writer.stop();
      await proofs.stop();
      await chunks.stop();
      keys.close();
      server.closeAllConnections();
      server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  writer.start({ keyId: "key-admin" as ApiKeyId, keyHash: ADMIN_HASH });
  const consumer = await createAccount(writer, "consumer", "consumer");
  await expectKind(
    writer.submit({
      kind: "deposit",
      actor: admin(writer),
      accountId: consumer,
      amount: 10n ** 12n,
      currency: "USD",
      reference: "",
    }),
    "transfer",
  );
  return Object.assign(rig, { consumer });
}

function admin(writer: Writer) {
  const [accountId] = writer.state().rows.accounts.keys();
  return { accountId: accountId as AccountId, role: "admin" as const };
}

async function expectKind<K extends Reply["kind"]>(
  reply: Promise<Reply>,
  kind: K,
): Promise<Reply & { readonly kind: K }> {
  const got = await reply;
  if (got.kind !== kind) throw new Error(`expected ${kind}, got ${JSON.stringify(got)}`);
  return got as Reply & { readonly kind: K };
}

async function createAccount(writer: Writer, name: string, role: "consumer" | "provider"): Promise<AccountId> {
  const event = { kind: "account.create" as const, actor: admin(writer), name, role };
  return (await expectKind(writer.submit(event), "account")).account.id;
}

async function enrol(writer: Writer, name: string): Promise<Identity> {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const accountId = await createAccount(writer, `${name}-owner`, "provider");
  const tokenHash = Buffer.from(name).toString("hex").padEnd(64, "0");
  await expectKind(
    writer.submit({
      kind: "enrolment.create",
      actor: admin(writer),
      accountId,
      enrolmentId: `enr-${name}` as never,
      tokenHash,
      ttlMs: 60_000,
    }),
    "enrolment",
  );
  const raw = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64url");
  const { worker } = await expectKind(
    writer.submit({ kind: "enrolment.redeem", tokenHash, name, publicKey: raw }),
    "worker",
  );
  return {
    workerId: worker.id,
    key: privateKey,
    sign: (text) => sign(null, Buffer.from(text), privateKey).toString("base64url"),
  };
}

async function submitJob(rig: Rig, spec: Partial<JobSpecInput> = {}): Promise<JobId> {
  const parsed = jobSpecSchema.parse({
    image: "docker.io/library/busybox:1",
    priceMaxPerHour: { amount: "1000000", currency: "USD" },
    durationMaxS: 600,
    ...spec,
  });
  const actor = { accountId: rig.consumer, role: "consumer" as const };
  return (await expectKind(rig.writer.submit({ kind: "job.create", actor, spec: parsed }), "job")).jobId;
}

// ── A worker's side of a socket ──

export type Message = { readonly kind: string } & Readonly<Record<string, unknown>>;

export interface Peer {
  readonly ws: WebSocket;
  /** Everything that came and was not yet taken by `next`. */
  readonly inbox: (Message | Buffer)[];
  send(message: unknown): void;
  /** The next frame of this kind; those before it are dropped. */
  next(kind: string): Promise<Message>;
  nextBytes(): Promise<Buffer>;
  /** Code and reason with which the orchestrator closes. */
  closed: Promise<{ readonly code: number; readonly reason: string }>;
}

/** A socket that has done nothing yet. */
export async function dial(rig: Rig, path: "/v1/worker" | "/v1/worker/bulk"): Promise<Peer> {
  const ws = new WebSocket(`${rig.url}${path}`, { perMessageDeflate: false });
  const inbox: (Message | Buffer)[] = [];
  let notify = (): void => {};
  ws.on("message", (data: RawData, isBinary: boolean) => {
    inbox.push(isBinary ? (data as Buffer) : (JSON.parse((data as Buffer).toString()) as Message));
    notify();
  });
  ws.on("error", () => {});
  const closed = once(ws, "close").then(([code, reason]) => ({
    code: code as number,
    reason: (reason as Buffer).toString(),
  }));
  void closed.then(() => notify());
  await once(ws, "open");
  const take = async (): Promise<Message | Buffer> => {
    for (;;) {
      const frame = inbox.shift();
      if (frame !== undefined) return frame;
      if (ws.readyState === ws.CLOSED) throw new Error("the socket closed");
      await new Promise<void>((resolve) => {
        notify = resolve;
      });
    }
  };
  return {
    ws,
    inbox,
    closed,
    send: (message) => ws.send(JSON.stringify(message)),
    next: async (kind) => {
      for (;;) {
        const frame = await take();
        if (!Buffer.isBuffer(frame) && frame.kind === kind) return frame;
      }
    },
    nextBytes: async () => {
      for (;;) {
        const frame = await take();
        if (Buffer.isBuffer(frame)) return frame;
      }
    },
  };
}

/** Answers the challenge; `with` replaces fields of the `auth`. */
export async function authenticateAs(
  peer: Peer,
  purpose: "control" | "bulk",
  identity: Identity,
  replaced: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const { orchestratorId, nonce } = await peer.next("challenge");
  const text = authText(purpose, String(orchestratorId), String(nonce), identity.workerId);
  peer.send({
    kind: "auth",
    protocol: PROTOCOL_VERSION,
    workerId: identity.workerId,
    signature: identity.sign(text),
    agentVersion: "test",
    ...replaced,
  });
}

export const OFFER = {
  gpus: [],
  cpus: 4,
  memoryMiB: 8192,
  diskMiB: 100_000,
  pricePerCpuHour: { amount: "1000", currency: "USD" },
};

/** A worker that has said hello and was acknowledged. */
export async function connect(rig: Rig, identity: Identity, offer: object = OFFER): Promise<Peer> {
  const peer = await dial(rig, "/v1/worker");
  await authenticateAs(peer, "control", identity);
  await peer.next("welcome");
  peer.send({ kind: "hello", msg: 0, offer, attempts: [], standbys: [] });
  await peer.next("ack");
  return peer;
}

/** An authenticated bulk socket. */
export async function connectBulk(rig: Rig, identity: Identity): Promise<Peer> {
  const peer = await dial(rig, "/v1/worker/bulk");
  await authenticateAs(peer, "bulk", identity);
  await peer.next("welcome");
  return peer;
}
