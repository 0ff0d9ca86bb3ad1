// What nobody who names, encrypts and stores a state can do without: read it, SHA-256 of what is read, AES-256-GCM, SHA-256 of the ciphertext, a file of its
// own for each MiB, fdatasync. In calls of Node that do the work in C, in one thread a core, in memory that is used again; nothing is compressed.
// usage: limit.ts FOLDER STATE     prints one line of JSON
import { createCipheriv, createSecretKey, hash } from "node:crypto";
import { closeSync, fdatasyncSync, mkdirSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const PIECE_BYTES = 1024 * 1024;
const STEP_BYTES = 16 * 1024;
const THREADS_MAX = 2;

interface Share {
  readonly folder: string;
  readonly state: string;
  readonly first: number;
  readonly step: number;
}

if (isMainThread) await main();
else parentPort?.once("message", () => parentPort?.postMessage(save(workerData as Share), []));

async function main(): Promise<void> {
  const [folder = "", state = ""] = process.argv.slice(2);
  mkdirSync(folder, { recursive: true });
  const step = Math.min(THREADS_MAX, availableParallelism());
  const threads = Array.from({ length: step }, (_, first) => {
    return new Worker(fileURLToPath(import.meta.url), { workerData: { folder, state, first, step } satisfies Share });
  });
  await Promise.all(threads.map((thread) => new Promise((resolve) => thread.once("online", resolve))));
  const [begunMs, before] = [performance.now(), process.cpuUsage()];
  const bytes = await Promise.all(
    threads.map((thread) => {
      thread.postMessage("begin", []);
      return new Promise<number>((resolve) => thread.once("message", resolve));
    }),
  );
  const { user, system } = process.cpuUsage(before);
  const cost = {
    seconds: (performance.now() - begunMs) / 1000,
    cpuSeconds: (user + system) / 1e6,
    memoryMb: process.resourceUsage().maxRSS * 1.024e-3,
    bytesMoved: bytes.reduce((sum, share) => sum + share, 0),
  };
  console.log(JSON.stringify(cost));
}

/** Every `step`th piece. Returns the bytes written. */
function save({ folder, state, first, step }: Share): number {
  const { size } = statSync(state);
  const file = openSync(state, "r");
  const memory = Buffer.allocUnsafeSlow(PIECE_BYTES);
  const key = createSecretKey(new Uint8Array(32));
  const nonce = new Uint8Array(12);
  let written = 0;
  for (let at = first * PIECE_BYTES; at < size; at += step * PIECE_BYTES) {
    const plain = memory.subarray(0, readSync(file, memory, 0, PIECE_BYTES, at));
    hash("sha256", plain, "buffer").copy(nonce);
    const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
    for (let done = 0; done < plain.length; done += STEP_BYTES) {
      cipher.update(plain.subarray(done, done + STEP_BYTES)).copy(plain, done);
    }
    cipher.final();
    const out = openSync(join(folder, hash("sha256", plain, "hex")), "w");
    written += writeSync(out, plain);
    fdatasyncSync(out);
    closeSync(out);
  }
  closeSync(file);
  return written;
}
