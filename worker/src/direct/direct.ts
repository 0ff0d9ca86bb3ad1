// The direct path: checkpoints go from a primary to its standby over libp2p where the two can reach each other. The orchestrator names, job by job, who may talk
// to whom; nobody else gets in. The libp2p node is there while some job has a peer, and is loaded only then.
import type { JobId } from "@qubix/shared/domain";
import type { Logger } from "@qubix/shared/runtime";
import type { ChunkSink } from "../checkpoint/send.ts";
import type { ChunkSource } from "../checkpoint/unpack.ts";
import type { WorkerKey } from "../link/keys.ts";
import type { Pacer } from "../link/pacer.ts";
import { dialable, type ListenAt } from "./addresses.ts";
import { type BytesByPath, type CheckpointPort, createCheckpointPort, type FetchPath } from "./chunk-port.ts";
import { createMovedPieces, type MovedPieces } from "./moved.ts";
import type { DirectNode } from "./node.ts";
import { createPeer, type DirectOrder, type Peer } from "./peer.ts";
import { serveChunks } from "./serve.ts";

export interface DirectPorts {
  readonly key: WorkerKey;
  readonly logger: Logger;
  /** The owner's cap on what leaves, shared with every other line. */
  readonly pacer: Pacer;
  /** Where other workers can connect to this one changed. */
  reachable(addresses: readonly string[]): void;
  nowMs(): number;
  readonly times?: Partial<typeof TIMES>;
}

const TIMES = {
  /** Without a peer the node stops: standbys come and go with the jobs of a busy worker, so not at once. */
  idleMs: 120_000,
  /** A new session names all peers anew, right after its hello. */
  confirmMs: 15_000,
  /** A connection that broke is opened again by whoever of the two can reach the other: looked at so often, tried as each peer's own pauses allow. */
  tendMs: 10_000,
};

export interface Direct {
  /** True when the message was for us. */
  order(message: { readonly kind: string }): boolean;
  /** A session began: what it does not name again is no peer any more. */
  opened(): void;
  /** The way to the chunks for one tree of this job. `folder`: where what moves may be kept. */
  checkpoints(jobId: JobId, folder: string, store: ChunkSink & ChunkSource): CheckpointPort;
  /** Since the start. */
  fetched(): BytesByPath;
  /** Bytes that were given to standbys. */
  served(): number;
  /** Resolves when each peer's connection, or that there is none, is settled. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

export function createDirect(ports: DirectPorts, listen: ListenAt): Direct {
  const { logger, key } = ports;
  const times = { ...TIMES, ...ports.times };
  const peers = new Map<JobId, Peer>();
  const budget = { memoryBytes: 0 };
  const fetched = { direct: 0, relay: 0, orchestrator: 0 };
  let served = 0;
  let node: Promise<DirectNode> | null = null;
  /** The node alone, once it runs. */
  let running: DirectNode | null = null;
  let told = "";
  /** Of an earlier node: the orchestrator knows it already. */
  let lastPort = 0;
  /** As the orchestrator named them last. */
  let relays: readonly string[] = [];
  let idle: NodeJS.Timeout | null = null;
  let confirm: NodeJS.Timeout | null = null;
  let tending: NodeJS.Timeout | null = null;
  let isOver = false;

  function nodeNow(): Promise<DirectNode> {
    if (node !== null) return node;
    const made = start();
    node = made;
    made.catch((error: unknown) => {
      if (node === made) node = null;
      logger.warn({ event: "direct_unavailable", err: error }, "no direct path from or to this worker");
    });
    return made;
  }

  async function start(): Promise<DirectNode> {
    const { startNode } = await import("./node.ts");
    const options = {
      seed: key.seed(),
      publicKey: key.publicKey,
      admits: (publicKey: string) => [...peers.values()].some(({ named }) => named.publicKey === publicKey),
      serve,
      moved: tell,
      relays,
    };
    const again = listen.port === 0 && lastPort !== 0 ? [{ ...listen, port: lastPort }] : [];
    const made = await [...again, listen].reduce<Promise<DirectNode>>(
      (earlier, at) => earlier.catch(() => startNode({ ...options, listen: at })),
      Promise.reject(new Error("not tried yet")),
    );
    if (isOver) {
      await made.stop();
      throw new Error("the agent stops");
    }
    running = made;
    lastPort = made.port();
    tell();
    return made;
  }

  function serve(publicKey: string, _path: string, stream: Parameters<typeof serveChunks>[0]): void {
    serveChunks(stream, {
      moved(jobId) {
        const peer = peers.get(jobId);
        if (peer === undefined || peer.named.publicKey !== publicKey || peer.named.as !== "primary") return undefined;
        return peer.moved ?? NOTHING;
      },
      pacer: ports.pacer,
      sent: (bytes) => void (served += bytes),
    });
  }

  /** Tells where this worker can be reached, when that is another place than before. */
  function tell(): void {
    const addresses = running === null ? [] : dialable(running.addresses(), listen).toSorted();
    if (addresses.join(" ") === told) return;
    told = addresses.join(" ");
    ports.reachable(addresses);
  }

  function name({ jobId, peer: named, relays: told }: DirectOrder): void {
    if (named !== null && told.join(" ") !== relays.join(" ")) {
      relays = told;
      // A node keeps the relays that it was made with.
      if (node !== null) void stopNode();
    }
    const known = peers.get(jobId);
    const isSame = known?.named.publicKey === named?.publicKey && known?.named.as === named?.as;
    if (known !== undefined && !isSame) forget(known);
    if (named === null) return;
    const peer = (isSame ? known : undefined) ?? createPeer(jobId, named, { ...ports, node: nodeNow });
    peer.confirmed = true;
    peer.renamed(named);
    peers.set(jobId, peer);
    if (idle !== null) clearTimeout(idle);
    idle = null;
    void peer.open();
    tending ??= setInterval(() => {
      for (const each of peers.values()) void each.open();
    }, times.tendMs).unref();
  }

  function forget(peer: Peer): void {
    peers.delete(peer.jobId);
    void peer.end();
    const { publicKey } = peer.named;
    if (![...peers.values()].some(({ named }) => named.publicKey === publicKey)) running?.drop(publicKey);
    if (peers.size > 0) return;
    if (tending !== null) clearInterval(tending);
    tending = null;
    if (isOver) return;
    idle ??= setTimeout(() => void stopNode(), times.idleMs);
    idle.unref();
  }

  async function stopNode(): Promise<void> {
    const stopping = node;
    node = null;
    running = null;
    idle = null;
    if (!isOver) tell();
    await (await stopping?.catch(() => undefined))?.stop();
  }

  function movedOf(jobId: JobId, folder: string): MovedPieces | undefined {
    const peer = peers.get(jobId);
    if (peer === undefined || peer.named.as !== "primary") return undefined;
    peer.moved ??= createMovedPieces(folder, budget);
    return peer.moved;
  }

  function count(path: FetchPath, bytes: number): void {
    fetched[path] += bytes;
  }

  return {
    order(message) {
      if (message.kind !== "direct.peer") return false;
      if (!isOver) name(message as DirectOrder);
      return true;
    },
    opened() {
      for (const peer of peers.values()) peer.confirmed = false;
      if (confirm !== null) clearTimeout(confirm);
      confirm = setTimeout(() => {
        for (const peer of peers.values()) if (!peer.confirmed) forget(peer);
      }, times.confirmMs);
      confirm.unref();
    },
    checkpoints: (jobId, folder, store) =>
      createCheckpointPort(store, {
        moved: () => movedOf(jobId, folder),
        fetch: async (cid) => peers.get(jobId)?.fetch(cid),
        count,
      }),
    fetched: () => ({ ...fetched }),
    served: () => served,
    async settled() {
      await Promise.all([...peers.values()].map((peer) => peer.open()));
    },
    async stop() {
      isOver = true;
      if (confirm !== null) clearTimeout(confirm);
      if (idle !== null) clearTimeout(idle);
      for (const peer of peers.values()) forget(peer);
      await stopNode();
    },
  };
}

/** A primary that has sent no tree since it was told of its standby. */
const NOTHING: Pick<MovedPieces, "answer"> = { answer: async () => undefined };
