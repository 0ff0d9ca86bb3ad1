// The libp2p node of the direct path: TCP, Noise, yamux, and the worker's own Ed25519 key, so that its peer id is the key that the orchestrator enrolled.
// The only module that loads libp2p, and loaded only when a job has a peer: a worker without one does not carry it.
import { noise } from "@libp2p/noise";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { privateKeyFromRaw, publicKeyFromRaw } from "@libp2p/crypto/keys";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import { QubixError } from "@qubix/shared/runtime";
import { dialable, type ListenAt, listenMultiaddr } from "./addresses.ts";
import { CHUNKS_PROTOCOL } from "./wire.ts";

type PeerId = Libp2p["peerId"];
type Connection = ReturnType<Libp2p["getConnections"]>[number];
export type DirectStream = Awaited<ReturnType<Libp2p["dialProtocol"]>>;

/** How bytes come from another worker: straight, or through a relay. */
export type DirectPath = "direct" | "relay";

/** A worker has few jobs with a peer at a time; each peer needs one connection, and a second while both dial. */
const CONNECTIONS_MAX = 64;
/** Of one peer on one connection: one for each job that both share, and one that is being replaced. */
const STREAMS_IN_MAX = 32;
/** Connections that have not shown their key yet. */
const UNPROVEN_MAX = 8;
/** Without a byte either way for so long a stream is closed: longer than the longest checkpoint interval is not worth holding. */
const IDLE_STREAM_MS = 10 * 60_000;
/** A window that a gigabit over 100 ms fills. What has not been read yet waits in our memory, so it is a bound of that, too. */
const WINDOW_BYTES_FIRST = 1024 * 1024;
const WINDOW_BYTES_MAX = 16 * 1024 * 1024;

/** One address of a peer, and all those at which it may be reached straight: then a relay is tried. */
const ADDRESS_MS_MAX = 2_000;
const STRAIGHT_MS_MAX = 5_000;
/** libp2p's `FaultTolerance.NO_FATAL`. */
const NO_FATAL = 1;

export interface NodeOptions {
  /** Raw private key: 32 bytes of seed. */
  readonly seed: Uint8Array;
  /** Raw public key, base64url. */
  readonly publicKey: string;
  readonly listen: ListenAt;
  /** Of the orchestrator, with `/p2p/ID`: a place is reserved there, so that peers who cannot reach this machine can call it. */
  readonly relays: readonly string[];
  /** Whether this key (raw, base64url) was named by the orchestrator. */
  admits(publicKey: string): boolean;
  /** A named peer wants chunks. */
  serve(publicKey: string, path: DirectPath, stream: DirectStream): void;
  /** Where it listens changed. */
  moved(): void;
}

export interface DirectNode {
  /** Where it can be reached, as multiaddresses without the peer id. */
  addresses(): readonly string[];
  /** The port it listens on; 0 for none. */
  port(): number;
  /** Makes sure that there is a connection. Throws when there is none to be had. */
  connect(publicKey: string, addresses: readonly string[], signal: AbortSignal): Promise<void>;
  /** A stream to a peer that is connected already. Throws when it is not. */
  open(publicKey: string, signal: AbortSignal): Promise<{ readonly stream: DirectStream; readonly path: DirectPath }>;
  /** Ends what this peer has here. */
  drop(publicKey: string): void;
  stop(): Promise<void>;
}

/** Starts it. Throws `direct_listen` when it cannot listen there. */
export async function startNode(options: NodeOptions): Promise<DirectNode> {
  const publicKey = Buffer.from(options.publicKey, "base64url");
  const relayIds = new Set(options.relays.map((relay) => /\/p2p\/([^/]+)$/.exec(relay)?.[1]));
  const isRefused = (peer: PeerId): boolean => !relayIds.has(peer.toString()) && !options.admits(keyOf(peer));
  const { transports, services } = await relaying(options.relays);
  const node = await createLibp2p({
    start: false,
    privateKey: privateKeyFromRaw(Buffer.concat([options.seed, publicKey])),
    addresses: {
      listen: [listenMultiaddr(options.listen), ...options.relays.map((relay) => `${relay}/p2p-circuit`)],
    },
    transports: [tcp({ maxConnections: CONNECTIONS_MAX }), ...transports],
    services,
    // A relay that is away is no reason not to listen oneself; whether that worked is looked at below.
    transportManager: { faultTolerance: NO_FATAL },
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({
        streamOptions: {
          initialStreamWindowSize: WINDOW_BYTES_FIRST,
          maxStreamWindowSize: WINDOW_BYTES_MAX,
          maxReadBufferLength: WINDOW_BYTES_MAX,
          inactivityTimeout: IDLE_STREAM_MS,
        },
      }),
    ],
    connectionManager: {
      maxConnections: CONNECTIONS_MAX,
      maxIncomingPendingConnections: UNPROVEN_MAX,
      addressDialTimeout: ADDRESS_MS_MAX,
    },
    // Each pings its peer twice a minute, for nobody: a dead line shows on its streams.
    connectionMonitor: { enabled: false },
    connectionGater: {
      denyDialPeer: isRefused,
      denyInboundEncryptedConnection: isRefused,
      denyOutboundEncryptedConnection: isRefused,
      denyOutboundRelayedConnection: (_from, to) => isRefused(to),
      denyInboundRelayedConnection: (_relay, peer) => isRefused(peer),
      // The orchestrator's relays, and where a worker may well be; libp2p's own rules know nothing of a provider's network.
      denyDialMultiaddr: (address) =>
        !options.relays.includes(address.toString()) && dialable([withoutPeer(address)], options.listen).length === 0,
    },
  });
  await node.handle(
    CHUNKS_PROTOCOL,
    (stream, connection) => options.serve(keyOf(connection.remotePeer), pathOf(connection), stream),
    { maxInboundStreams: STREAMS_IN_MAX, runOnLimitedConnection: true },
  );
  node.addEventListener("self:peer:update", () => options.moved());
  try {
    await node.start();
    if (node.getMultiaddrs().every((address) => isRelayed(address.toString()))) throw new Error("nothing listens");
  } catch (cause) {
    await node.stop();
    throw cannotListen(options.listen, cause);
  }

  function connectionTo(peer: PeerId): Connection | undefined {
    const open = node.getConnections(peer).filter(({ status }) => status === "open");
    return open.find((connection) => pathOf(connection) === "direct") ?? open[0];
  }

  return {
    addresses: () => node.getMultiaddrs().map((address) => withoutPeer(address)),
    port: () =>
      node
        .getMultiaddrs()
        .map(portOf)
        .find((port) => port > 0) ?? 0,
    async connect(key, addresses, signal) {
      const peer = peerOf(key);
      if (connectionTo(peer) !== undefined) return;
      const listed = dialable(addresses, options.listen).map((text) => multiaddr(`${text}/p2p/${peer.toString()}`));
      const straight = listed.filter((address) => !isRelayed(address.toString()));
      const relayed = listed.filter((address) => isRelayed(address.toString()));
      if (listed.length === 0) throw unreachable(key);
      try {
        if (straight.length === 0) throw unreachable(key);
        await node.dial(straight, { signal: AbortSignal.any([signal, AbortSignal.timeout(STRAIGHT_MS_MAX)]) });
      } catch (error) {
        // A peer that comes by itself meanwhile is as good.
        if (connectionTo(peer) !== undefined) return;
        if (relayed.length === 0 || signal.aborted) throw error;
        await node.dial(relayed, { signal });
      }
    },
    async open(key, signal) {
      const connection = connectionTo(peerOf(key));
      if (connection === undefined) throw unreachable(key);
      const stream = await connection.newStream(CHUNKS_PROTOCOL, { signal, runOnLimitedConnection: true });
      return { stream, path: pathOf(connection) };
    },
    drop(key) {
      void node.hangUp(peerOf(key)).catch(() => undefined);
    },
    stop: async () => node.stop(),
  };
}

function peerOf(publicKey: string): PeerId {
  return peerIdFromPublicKey(publicKeyFromRaw(Buffer.from(publicKey, "base64url")));
}

/** Raw, base64url; empty for a peer whose id does not hold its key, which is none of ours. */
function keyOf(peer: PeerId): string {
  return peer.publicKey === undefined ? "" : Buffer.from(peer.publicKey.raw).toString("base64url");
}

function pathOf(connection: Connection): DirectPath {
  return connection.limits !== undefined || isRelayed(connection.remoteAddr.toString()) ? "relay" : "direct";
}

function isRelayed(address: string): boolean {
  return address.includes("/p2p-circuit");
}

/** What a node with relays needs beyond; the others do without it. */
async function relaying(relays: readonly string[]) {
  if (relays.length === 0) return { transports: [], services: {} };
  const [{ circuitRelayTransport }, { identify }] = await Promise.all([
    import("@libp2p/circuit-relay-v2"),
    import("@libp2p/identify"),
  ]);
  return { transports: [circuitRelayTransport()], services: { identify: identify() } };
}

function withoutPeer(address: Multiaddr): string {
  return address.toString().replace(/\/p2p\/[^/]+$/, "");
}

function portOf(address: Multiaddr): number {
  return Number(/^\/ip[46]\/[^/]+\/tcp\/(\d+)/.exec(address.toString())?.[1] ?? 0);
}

function unreachable(publicKey: string): QubixError {
  return new QubixError("direct_unreachable", `There is no connection to the worker with the key ${publicKey}`, {
    category: "provider",
    retryable: true,
  });
}

function cannotListen({ host, port }: ListenAt, cause: unknown): QubixError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new QubixError(
    "direct_listen",
    `Other workers cannot connect here: nothing listens on ${host}:${port} (${why}). Name a free address with --direct-listen, or use --no-direct.`,
    { category: "provider", cause },
  );
}
