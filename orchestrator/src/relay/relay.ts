// A circuit relay (libp2p) for primaries and standbys that are both behind NAT. It takes only workers that are one of a pair now, and brings together only such a
// pair; what it carries is encrypted from end to end between the two. Loaded only where the operator named an address for it.
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { circuitRelayServer } from "@libp2p/circuit-relay-v2";
import { privateKeyFromRaw } from "@libp2p/crypto/keys";
import { identify } from "@libp2p/identify";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p, type Libp2p } from "libp2p";
import { DIRECT_RELAYS_MAX } from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";

type PeerId = Libp2p["peerId"];

/** Both ends of some hundred hot jobs: each holds a connection. */
const RESERVATIONS_MAX = 512;
/** A reservation, and one that is being renewed. */
const CONNECTIONS_MAX = 2 * RESERVATIONS_MAX;
/** Connections that have not shown their key yet. */
const UNPROVEN_MAX = 32;
/** Of one relayed connection, after which its ends begin anew or go the other way: some full states of a large model, and an hour of differences. */
const DATA_BYTES_MAX = 16n * 1024n ** 3n;
const DURATION_MS_MAX = 60 * 60_000;
/** Reservations are renewed in this time, and judged anew then. */
const RESERVATION_MS = 30 * 60_000;

/** Who may use it, by raw Ed25519 public key (base64url). */
export interface RelayGate {
  /** A worker that is one of some pair now. */
  admits(publicKey: string): boolean;
  /** These two are a pair now. */
  joins(one: string, other: string): boolean;
}

export interface RelayOptions {
  /** Multiaddress, e.g. `/ip4/0.0.0.0/tcp/4001`. */
  readonly listen: string;
  /** As workers reach it, where that is another one: behind a port forwarding, say. */
  readonly announce: string | undefined;
  /** Its own key, made at the first start: workers know the relay by it. */
  readonly keyFile: string;
}

export interface Relay {
  /** Multiaddresses with `/p2p/ID`, as workers are told. */
  readonly addresses: readonly string[];
  stop(): Promise<void>;
}

/** Throws `relay_listen`. */
export async function startRelay(options: RelayOptions, gate: RelayGate, logger: Logger): Promise<Relay> {
  const isRefused = (peer: PeerId): boolean => !gate.admits(keyOf(peer));
  const node = await createLibp2p({
    start: false,
    privateKey: loadKey(options.keyFile),
    addresses: { listen: [options.listen], announce: options.announce === undefined ? [] : [options.announce] },
    transports: [tcp({ maxConnections: CONNECTIONS_MAX })],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { maxConnections: CONNECTIONS_MAX, maxIncomingPendingConnections: UNPROVEN_MAX },
    connectionMonitor: { enabled: false },
    connectionGater: {
      // It answers; it calls nobody.
      denyDialPeer: () => true,
      denyDialMultiaddr: () => true,
      denyInboundEncryptedConnection: isRefused,
      denyInboundRelayReservation: isRefused,
      denyOutboundRelayedConnection: (from, to) => !gate.joins(keyOf(from), keyOf(to)),
    },
    services: {
      identify: identify(),
      relay: circuitRelayServer({
        reservations: {
          maxReservations: RESERVATIONS_MAX,
          reservationTtl: RESERVATION_MS,
          defaultDataLimit: DATA_BYTES_MAX,
          defaultDurationLimit: DURATION_MS_MAX,
        },
      }),
    },
  });
  try {
    await node.start();
  } catch (cause) {
    await node.stop();
    throw cannotListen(options.listen, cause);
  }
  const addresses = told(node.getMultiaddrs().map((address) => address.toString()));
  logger.info({ event: "relay_ready", addresses }, "a relay for pairs behind NAT");
  return { addresses, stop: async () => node.stop() };
}

/** The loopback only where there is nothing else: a relay of workers on this machine. */
function told(all: readonly string[]): readonly string[] {
  const outward = all.filter((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address));
  return (outward.length > 0 ? outward : all).slice(0, DIRECT_RELAYS_MAX);
}

function keyOf(peer: PeerId): string {
  return peer.publicKey === undefined ? "" : Buffer.from(peer.publicKey.raw).toString("base64url");
}

function loadKey(file: string): ReturnType<typeof privateKeyFromRaw> {
  if (!existsSync(file)) {
    const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
    writeFileSync(`${file}.new`, pem, { mode: 0o600, flush: true });
    renameSync(`${file}.new`, file);
  }
  return rawOf(createPrivateKey(readFileSync(file)));
}

function rawOf(key: KeyObject): ReturnType<typeof privateKeyFromRaw> {
  const { d, x } = key.export({ format: "jwk" });
  return privateKeyFromRaw(Buffer.concat([Buffer.from(d ?? "", "base64url"), Buffer.from(x ?? "", "base64url")]));
}

function cannotListen(listen: string, cause: unknown): QubixError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new QubixError(
    "relay_listen",
    `The relay cannot listen on ${listen} (${why}). Name a free address with --relay-listen, or leave it out.`,
    { category: "user", cause },
  );
}
