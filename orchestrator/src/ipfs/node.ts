// An IPFS node within the orchestrator: serves the stored files, which are ciphertext, over bitswap to whoever dials and knows a CID, and fetches files that
// were lost here from named peers. It tells nobody that it is there: no DHT, no bootstrap, no discovery, no relays.
import { withBitswap } from "@helia/bitswap";
import { withLibp2pLight } from "@helia/libp2p";
import { noise } from "@libp2p/noise";
import { identify } from "@libp2p/identify";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createHeliaLight } from "helia";
import { CID } from "multiformats/cid";
import { QubixError, type Logger } from "@qubix/shared/runtime";
import type { StoredBlocks, StoredCid } from "../checkpoints/index.ts";
import { createNodeBlockstore } from "./node-blockstore.ts";
import { openNodeKey } from "./node-key.ts";

/** Each may want blocks of a MiB at once. */
const CONNECTIONS_MAX = 64;
const PENDING_CONNECTIONS_MAX = 8;
/** Streams of a connection, and what a peer may want at once; that many blocks are looked up for one message. */
const STREAMS_MAX = 16;
const WANTS_MAX = 256;
/** A block of a MiB over a line of 1 Mbit/s takes 9 s. */
const FETCH_MS = 15_000;
const DIAL_MS = 5_000;
/** Blocks of a MiB in memory at once. */
const FETCHES_MAX = 8;
const FETCHES_WAITING_MAX = 256;
/** Of the 10 s that the whole program has for it. */
const STOP_MS_MAX = 5_000;

export interface IpfsNodePorts {
  readonly blocks: StoredBlocks;
  readonly dataDir: string;
  /** Multiaddr to listen on; without it the node only fetches. */
  readonly listen?: string | undefined;
  /** Multiaddrs, with the peer's id, of nodes that may have what is lost here. */
  readonly peers: readonly string[];
  readonly logger: Logger;
}

export interface IpfsNode {
  /** With the peer id. */
  readonly addresses: readonly string[];
  /** Asks the named peers; undefined where none has it, or not in time. Checked against its name. Does not reject. */
  fetch(stored: StoredCid): Promise<Uint8Array | undefined>;
  gauges(): Readonly<Record<string, number>>;
  /** Callable twice. */
  stop(): Promise<void>;
}

/** Rejects with `ipfs_listen_failed` or `ipfs_key_unusable`. */
export async function startIpfsNode({ blocks, dataDir, listen, peers, logger }: IpfsNodePorts): Promise<IpfsNode> {
  const fetching = new Map<StoredCid, Promise<Uint8Array | undefined>>();
  const slots = createSlots(FETCHES_MAX, FETCHES_WAITING_MAX);
  const leaving = new AbortController();
  let fetched = 0;

  const blockstore = createNodeBlockstore(blocks, (stored) => fetching.has(stored));
  const helia = withBitswap(
    withLibp2pLight(createHeliaLight({ blockstore, holdGcLock: false }), {
      privateKey: await openNodeKey(dataDir),
      addresses: { listen: listen === undefined ? [] : [listen] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      connectionManager: {
        maxConnections: CONNECTIONS_MAX,
        maxIncomingPendingConnections: PENDING_CONNECTIONS_MAX,
      },
      services: { identify: identify() },
    }),
    { maxInboundStreams: STREAMS_MAX, maxOutboundStreams: STREAMS_MAX, maxWantlistSize: WANTS_MAX },
  );
  try {
    await helia.start();
  } catch (cause) {
    await helia.stop().catch(() => {});
    throw listenFailed(listen, cause);
  }
  const addresses = helia.libp2p.getMultiaddrs().map((address) => address.toString());
  logger.info({ event: "ipfs_ready", addresses, peerId: helia.libp2p.peerId.toString() }, "the IPFS node is ready");

  /** A peer that is connected already is not dialled again. One that cannot be reached is left out. */
  const connect = async (): Promise<void> => {
    await Promise.all(
      peers.map(async (peer) => {
        const signal = AbortSignal.any([leaving.signal, AbortSignal.timeout(DIAL_MS)]);
        await helia.libp2p.dial(multiaddr(peer), { signal }).catch((error: unknown) => {
          logger.warn({ event: "ipfs_peer_unreachable", peer, err: error }, "an IPFS peer cannot be reached");
        });
      }),
    );
  };

  const ask = async (stored: StoredCid): Promise<Uint8Array | undefined> => {
    const release = await slots.take();
    if (release === undefined) return undefined;
    try {
      await connect();
      const signal = AbortSignal.any([leaving.signal, AbortSignal.timeout(FETCH_MS)]);
      const parts: Uint8Array[] = [];
      for await (const part of helia.blockstore.get(CID.parse(stored), { signal })) parts.push(part);
      fetched += 1;
      logger.info({ event: "ipfs_fetched", stored }, "a file that was lost here was fetched from a peer");
      return Buffer.concat(parts);
    } catch (error) {
      logger.warn({ event: "ipfs_fetch_failed", stored, err: error }, "a file that was lost here could not be fetched");
      return undefined;
    } finally {
      release();
    }
  };

  let stopping: Promise<void> | undefined;
  return {
    addresses,
    fetch(stored) {
      if (peers.length === 0 || leaving.signal.aborted) return Promise.resolve(undefined);
      let same = fetching.get(stored);
      if (same === undefined) {
        same = ask(stored).finally(() => fetching.delete(stored));
        fetching.set(stored, same);
      }
      return same;
    },
    gauges: () => ({ ipfsConnections: helia.libp2p.getConnections().length, ipfsBlocksFetchedTotal: fetched }),
    stop() {
      leaving.abort();
      stopping ??= within(STOP_MS_MAX, helia.stop()).catch((error: unknown) => {
        logger.warn({ event: "ipfs_stop_failed", err: error }, "the IPFS node did not stop in order");
      });
      return stopping;
    },
  };
}

/** So many at once; so many wait for that, and others are turned away. */
function createSlots(countMax: number, waitingMax: number) {
  const waiting: (() => void)[] = [];
  let count = 0;
  const release = (): void => {
    const next = waiting.shift();
    if (next === undefined) count -= 1;
    else next();
  };
  return {
    /** Undefined when too many wait already. */
    async take(): Promise<(() => void) | undefined> {
      if (count >= countMax) {
        if (waiting.length >= waitingMax) return undefined;
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else {
        count += 1;
      }
      return release;
    },
  };
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`it took longer than ${ms} ms`)), ms);
  try {
    await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function listenFailed(listen: string | undefined, cause: unknown): QubixError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new QubixError(
    "ipfs_listen_failed",
    `The IPFS node cannot start on ${listen ?? "no address"} (${why}). Choose another address with --ipfs-listen.`,
    { category: "platform", cause },
  );
}
