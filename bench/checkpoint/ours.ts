// Saves and restores states as the worker and the orchestrator do, in one process: from the file in the job's folder to the committed, durable store.
// usage: ours.ts FOLDER save STATE [STATE…]     prints one line of JSON for each save
//        ours.ts FOLDER restore MANIFEST        of the last one, in a process of its own as the other tools do it
import { copyFileSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { createChunkStore } from "../../orchestrator/dist/checkpoints/index.js";
import { openKeyRing, openMasterKey } from "../../orchestrator/dist/vault/index.js";
import { createThreads } from "../../worker/dist/checkpoint/encode/threads.js";
import { type ShippedTree, shipTree } from "../../worker/dist/checkpoint/pack.js";
import { createParent, type Parent } from "../../worker/dist/checkpoint/parent.js";
import { fetchManifest, unpackTree } from "../../worker/dist/checkpoint/unpack.js";
import { walkTree } from "../../worker/dist/checkpoint/walk.js";

// For the threads, as worker/bin/qubix-worker.js does; the other settings come with the command.
setFlagsFromString("--initial-heap-size=64");

const ACCOUNT = "acc-bench" as AccountId;
const HOLDER = "job-bench";
const signal = new AbortController().signal;
const [folder = "", mode = "", ...operands] = process.argv.slice(2);
const job = join(folder, "job");
mkdirSync(job, { recursive: true });
const store = createChunkStore({
  root: join(folder, "chunks"),
  owners: { uses: () => true, all: () => [] },
  keys: openKeyRing(folder, openMasterKey(join(folder, "master.key"))),
  clock: { nowMs: () => performance.now() },
  logger: createLogger("bench", "warn"),
});
await store.start();
store.warm();
const sink = {
  missing: async (cids: Parameters<typeof store.missing>[2]) => new Set(await store.missing(ACCOUNT, HOLDER, cids)),
  put: (cid: Parameters<typeof store.put>[2], stored: Uint8Array) => store.put(ACCOUNT, HOLDER, cid, stored),
};
const source = {
  async get(cid: Parameters<typeof store.get>[1], _signal: AbortSignal, memory?: ArrayBuffer) {
    const bytes = await store.get(ACCOUNT, cid, memory);
    if (bytes === undefined) throw new Error(`no chunk ${cid}`);
    return bytes;
  },
};
const threads = createThreads();
try {
  if (mode === "restore") await restore(operands[0] as ChunkCid);
  else await save(operands);
} finally {
  await threads.stop();
  await store.stop();
}

async function save(states: readonly string[]): Promise<void> {
  let parent: Parent | null = null;
  for (const [index, state] of states.entries()) {
    const name = `state-${index}`;
    // As the agent does when the job begins to write.
    threads.warm();
    copyFileSync(state, join(job, `${name}.tmp`));
    renameSync(join(job, `${name}.tmp`), join(job, name));
    let last: ShippedTree | undefined;
    const cost = await measured(async () => {
      const walked = await walkTree(job, name, () => true);
      last = await shipTree(job, walked, sink, signal, { threads, parent });
      const verdict = await store.admitTree(ACCOUNT, HOLDER, last.tree);
      if (verdict.kind !== "ok") throw new Error(verdict.message);
      store.settleTree(ACCOUNT, HOLDER, last.tree.manifestCid, true);
    });
    if (last === undefined) throw new Error("nothing was saved");
    await parent?.close();
    parent = createParent(job, last, last.open);
    if (index > 0) rmSync(join(job, `state-${index - 1}`));
    console.log(JSON.stringify({ ...cost, bytesMoved: last.tree.bytesMoved, manifestCid: last.tree.manifestCid }));
  }
  await parent?.close();
}

async function restore(manifestCid: ChunkCid): Promise<void> {
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const cost = await measured(async () => {
    const manifest = await fetchManifest(manifestCid, source, signal);
    await unpackTree(manifest, join(folder, "restored"), source, { owner, threads, signal });
  });
  console.log(JSON.stringify(cost));
}

async function measured(work: () => Promise<void>) {
  const [begunMs, before] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(before);
  return {
    seconds: (performance.now() - begunMs) / 1000,
    cpuSeconds: (user + system) / 1e6,
    memoryMb: process.resourceUsage().maxRSS * 1.024e-3,
  };
}
