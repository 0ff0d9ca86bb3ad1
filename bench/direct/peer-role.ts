// One end of the benchmark of the direct path, in a process of its own: a primary that gives, a standby that fetches, by each of the ways.
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { cidOf } from "@qubix/shared/chunks";
import { createDirect, type Direct } from "../../worker/src/direct/direct.ts";
import { createBulkLink } from "../../worker/src/link/bulk.ts";
import { createKey, type WorkerKey } from "../../worker/src/link/keys.ts";
import { createUplinkPacer } from "../../worker/src/link/pacer.ts";
import { serveRole } from "../harness/roles.ts";

const JOB = "job-0000001-k3f9" as JobId;
const CHUNK_BYTES = 1024 * 1024;
/** As a standby fetches: pieces ahead, in order. */
const AHEAD = 4;
const never = new AbortController().signal;
const logger = createLogger("bench", "silent");
/** Of the bare stream: what one call of send takes. */
const BARE_PROTOCOL = "/qubix/bench/1";

let key: WorkerKey;
let folder: string;
let direct: Direct | null = null;
let addresses: readonly string[] = [];

/** In this order each of them; resolves to the seconds that it took. */
async function fetchAll(cids: readonly ChunkCid[], get: (cid: ChunkCid) => Promise<Uint8Array>): Promise<number> {
  const begunMs = performance.now();
  const ahead: Promise<Uint8Array>[] = [];
  for (const cid of cids) {
    if (ahead.length === AHEAD) await ahead.shift();
    ahead.push(get(cid));
  }
  await Promise.all(ahead);
  return (performance.now() - begunMs) / 1000;
}

const noStore = {
  missing: async (cids: readonly ChunkCid[]) => new Set(cids),
  put: async () => undefined,
  get: async (cid: ChunkCid): Promise<Uint8Array> => {
    throw new Error(`${cid} did not come by the direct path`);
  },
};

function bareNode(listen: readonly string[]) {
  return createLibp2p({
    addresses: { listen: [...listen] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    connectionGater: { denyDialMultiaddr: () => false },
  });
}

const handlers = {
  open({ at }: { at: string }) {
    folder = at;
    mkdirSync(folder, { recursive: true });
    key = createKey(join(folder, "key.pem"));
    const ports = { key, logger, pacer: createUplinkPacer(() => null), nowMs: () => performance.now() };
    direct = createDirect({ ...ports, reachable: (now) => void (addresses = now) }, { host: "127.0.0.1", port: 0 });
    return key.publicKey;
  },
  async name({ as, publicKey, at }: { as: "primary" | "standby"; publicKey: string; at: readonly string[] }) {
    direct?.order({ kind: "direct.peer", jobId: JOB, peer: { as, publicKey, addresses: at }, relays: [] } as never);
    await direct?.settled();
    return addresses;
  },
  /** Keeps so many chunks as if it had just shipped them; resolves to their names. */
  async ship({ mib }: { mib: number }) {
    const port = direct?.checkpoints(JOB, folder, noStore);
    const cids: ChunkCid[] = [];
    for (let index = 0; index < mib; index += 1) {
      const stored = randomBytes(CHUNK_BYTES);
      const cid = cidOf(stored);
      cids.push(cid);
      await port?.put(cid, stored, never);
    }
    return cids;
  },
  async fetchDirect({ cids }: { cids: readonly ChunkCid[] }) {
    const port = direct?.checkpoints(JOB, folder, noStore);
    if (port === undefined) throw new Error("not opened");
    return fetchAll(cids, (cid) => port.get(cid, never));
  },
  /** Over the bulk socket of a server that answers from memory. */
  async fetchSocket({ url, orchestratorId, cids }: { url: string; orchestratorId: string; cids: readonly ChunkCid[] }) {
    const identity = { url, workerId: "wrk-00000001-bench0", orchestratorId, agentVersion: "bench", key } as never;
    const bulk = createBulkLink({ identity, logger, random: Math.random });
    try {
      return await fetchAll(cids, (cid) => bulk.get(JOB, cid, never));
    } finally {
      bulk.stop();
    }
  },
  async serveBare({ mib }: { mib: number }) {
    const node = await bareNode(["/ip4/127.0.0.1/tcp/0"]);
    const bytes = randomBytes(CHUNK_BYTES);
    await node.handle(BARE_PROTOCOL, async (stream) => {
      for (let sent = 0; sent < mib; sent += 1) if (!stream.send(bytes)) await stream.onDrain();
      await stream.close();
    });
    return node.getMultiaddrs()[0]?.toString() ?? "";
  },
  async fetchBare({ address, mib }: { address: string; mib: number }) {
    const node = await bareNode([]);
    const stream = await node.dialProtocol(multiaddr(address), BARE_PROTOCOL);
    const begunMs = performance.now();
    let left = mib * CHUNK_BYTES;
    await new Promise<void>((done) => {
      stream.addEventListener("message", ({ data }) => {
        left -= data.byteLength;
        if (left <= 0) done();
      });
    });
    const seconds = (performance.now() - begunMs) / 1000;
    await node.stop();
    return seconds;
  },
  /** As much CPU as it has taken so far, in seconds. */
  cpu() {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  },
  async close() {
    await direct?.stop();
  },
};
export type PeerHandlers = typeof handlers;

serveRole(handlers);
