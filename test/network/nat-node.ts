// One program of the lab of the direct path, in a namespace of its own: a worker's direct path, or the orchestrator's relay. Told what to do by lines of JSON.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { startRelay } from "../../orchestrator/src/relay/relay.ts";
import { cidOf } from "@qubix/shared/chunks";
import { createDirect } from "../../worker/src/direct/direct.ts";
import { createKey } from "../../worker/src/link/keys.ts";
import { createUplinkPacer } from "../../worker/src/link/pacer.ts";

const JOB = "job-0000001-k3f9" as JobId;
const CHUNK_BYTES = 200_000;
const logger = createLogger("nat-node", "info");
const folder = mkdtempSync(join(tmpdir(), "qubix-nat-"));
const never = new AbortController().signal;

/** The same in every process: what the orchestrator's store would have. */
function chunksOf(count: number) {
  return Array.from({ length: count }, (_, index) => {
    const stored = new Uint8Array(CHUNK_BYTES).map((_byte, at) => (at * 31 + index * 7) & 0xff);
    stored.set(new Uint8Array(Uint32Array.of(index).buffer));
    return { cid: cidOf(stored), stored };
  });
}

function makeWorker() {
  const key = createKey(join(folder, "key.pem"));
  let addresses: readonly string[] = [];
  const direct = createDirect(
    {
      key,
      logger,
      pacer: createUplinkPacer(() => null),
      reachable: (now) => void (addresses = now),
      nowMs: () => performance.now(),
    },
    { host: "0.0.0.0", port: 0 },
  );
  const storeOf = (chunks: ReturnType<typeof chunksOf>) => ({
    missing: async (cids: readonly ChunkCid[]) => new Set(cids),
    put: async () => undefined,
    get: async (cid: ChunkCid) => Uint8Array.from(chunks.find((chunk) => chunk.cid === cid)?.stored ?? []),
  });
  return {
    key: async () => key.publicKey,
    addresses: async () => addresses,
    async name(as: "primary" | "standby", publicKey: string, at: readonly string[], relays: readonly string[]) {
      direct.order({ kind: "direct.peer", jobId: JOB, peer: { as, publicKey, addresses: at }, relays } as never);
      await direct.settled();
    },
    async ship(count: number) {
      const port = direct.checkpoints(JOB, folder, storeOf([]));
      for (const { cid, stored } of chunksOf(count)) await port.put(cid, stored, never);
    },
    /** Bytes by the way they came. */
    async fetch(count: number) {
      const chunks = chunksOf(count);
      const port = direct.checkpoints(JOB, folder, storeOf(chunks));
      for (const { cid, stored } of chunks) {
        if (Buffer.compare(await port.get(cid, never), stored) !== 0) throw new Error("other bytes than were shipped");
      }
      return port.fetched();
    },
  };
}

async function makeRelay(listen: string) {
  const pairs = new Set<string>();
  const workers = new Set<string>();
  const gate = {
    admits: (key: string) => workers.has(key),
    joins: (one: string, other: string) => pairs.has([one, other].toSorted().join(" ")),
  };
  const keyFile = join(folder, "relay-key.pem");
  const relay = await startRelay({ listen, announce: undefined, keyFile }, gate, logger);
  return {
    addresses: async () => relay.addresses,
    /** What the orchestrator knows of workers and pairs. */
    async admit(keys: readonly string[], arePair: boolean) {
      for (const key of keys) workers.add(key);
      if (arePair) pairs.add(keys.toSorted().join(" "));
    },
  };
}

const [kind, listen = ""] = process.argv.slice(2);
const calls = (kind === "relay" ? await makeRelay(listen) : makeWorker()) as unknown as Record<
  string,
  (...args: readonly unknown[]) => Promise<unknown>
>;
process.stdout.write('{"ready":true}\n');
for await (const line of createInterface(process.stdin)) {
  const { id, call, args } = JSON.parse(line) as { id: number; call: string; args: readonly unknown[] };
  const answer = await calls[call]?.(...args).then(
    (result) => ({ id, result }),
    (error: unknown) => ({ id, error: String(error) }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
