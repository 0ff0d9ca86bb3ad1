// Seals chunks and writes their files, reads and opens them, all in threads: to hash and encrypt one takes some milliseconds, a disk takes as long, and the
// orchestrator's loop must not stand still for either. Large chunks lie in memory that is shared with the threads and used again and again; small ones go with their question.
// What comes while the threads work is asked together next, and shares the syncs of folders.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { AccountId } from "@qubix/shared/domain";
import { CHUNK_STORED_BYTES_MAX } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { BODY_AT, copyInto, SEAL_BYTES } from "./chunk-cipher.ts";
import type { StoredCid } from "./port.ts";

/** Large chunks in work at a time: enough to keep a disk's queue busy, few enough that memory stays at some tens of MiB. */
const SLOTS_MAX = 16;
/** Two threads seal faster than most disks write. */
const THREADS_MAX = 2;
/** Up to here a chunk is copied into the question. */
const SMALL_BYTES_MAX = 64 * 1024;
/** Asked together at most: a quarter of the large ones, so that both threads have one batch in work and one before them. */
const BATCH_LARGE = SLOTS_MAX / 4;
const BATCH_SMALL = 64;
/** Batches that a thread has been asked: one that the disk makes durable, one in work, and one so that it never waits for the loop. */
const BATCHES_MAX = 3;

export interface Sealer {
  /** Starts the threads, so that the first chunk does not wait for that (some 40 ms of CPU each). Without it they start when they are needed. */
  warm(): void;
  /**
   * Makes the file of a chunk that should have this SHA-256, durable when it resolves with its name; undefined: the bytes have another sum. Rejects with
   * `seal_failed` or an error of the file system.
   */
  write(
    accountId: AccountId,
    plain: readonly Uint8Array[],
    key: Uint8Array,
    sum: Uint8Array,
  ): Promise<StoredCid | undefined>;
  /**
   * The plain bytes of such a file, in `into` (whose memory goes away from it) where there is one. "damaged": it is, bit for bit, no file of a chunk with
   * this SHA-256.
   */
  read(
    chunk: { readonly accountId: AccountId; readonly stored: StoredCid; readonly bytes: number },
    key: Uint8Array,
    sum: Uint8Array,
    into?: ArrayBuffer,
  ): Promise<Buffer<ArrayBuffer> | "none" | "damaged">;
  /** What is under way fails. Callable twice. */
  stop(): Promise<void>;
}

export type ThreadTask = SealTask | OpenTask;

export interface OpenTask {
  readonly kind: "open";
  readonly accountId: AccountId;
  readonly stored: StoredCid;
  /** Of the plain bytes. */
  readonly bytes: number;
  readonly key: Uint8Array;
  readonly sum: Uint8Array;
  readonly into: ArrayBuffer;
}

export interface SealTask {
  readonly kind: "seal";
  readonly accountId: AccountId;
  /** The plain bytes begin at {@link BODY_AT}; null where they are `plain`. */
  readonly memory: SharedArrayBuffer | null;
  readonly plain: Uint8Array;
  readonly bytes: number;
  readonly key: Uint8Array;
  /** Of the plain bytes. */
  readonly sum: Uint8Array;
}

/** `stored`: the file; undefined: the plain bytes have another sum than was said. */
export type ThreadAnswer =
  | { readonly stored: StoredCid | undefined }
  | { readonly opened: ArrayBuffer | "none" | "damaged" }
  | { readonly failed: { readonly code: string | undefined; readonly message: string } };

type Done = Exclude<ThreadAnswer, { readonly failed: object }>;

interface Waiting {
  readonly task: ThreadTask;
  resolve(answer: Done): void;
  reject(error: Error): void;
}

interface Thread {
  readonly worker: Worker;
  /** In the order they were asked, which is that of the answers. */
  readonly batches: (readonly Waiting[])[];
}

const NOTHING = new Uint8Array(0);

/** Threads and memory are made when they are first needed, threads also before. `root`: the folder of the chunks. */
export function createSealer(root: string): Sealer {
  const free: SharedArrayBuffer[] = [];
  let slots = 0;
  const waitingForMemory: ((memory: SharedArrayBuffer) => void)[] = [];
  const threads: Thread[] = [];
  const threadsMax = Math.min(THREADS_MAX, availableParallelism());
  let waiting: Waiting[] = [];
  let stopped = false;

  const take = async (): Promise<SharedArrayBuffer> => {
    const memory = free.pop();
    if (memory !== undefined) return memory;
    if (slots >= SLOTS_MAX) return await new Promise((resolve) => waitingForMemory.push(resolve));
    slots += 1;
    return new SharedArrayBuffer(CHUNK_STORED_BYTES_MAX + SEAL_BYTES);
  };
  const giveBack = (memory: SharedArrayBuffer): void => {
    const next = waitingForMemory.shift();
    if (next === undefined) free.push(memory);
    else next(memory);
  };

  const fail = (thread: Thread, why: string): void => {
    const at = threads.indexOf(thread);
    if (at !== -1) threads.splice(at, 1);
    void thread.worker.terminate();
    for (const waiter of thread.batches.splice(0).flat()) waiter.reject(broken(why));
    ask();
  };

  const startThread = (): Thread => {
    // Whatever this file runs as, the thread's does too: TypeScript from the sources, JavaScript once built.
    const file = new URL(import.meta.url.endsWith(".ts") ? "./seal-thread.ts" : "./seal-thread.js", import.meta.url);
    const execArgv = file.pathname.endsWith(".ts") ? ["--conditions=qubix-source"] : [];
    const thread: Thread = { worker: new Worker(file, { execArgv, workerData: root }), batches: [] };
    thread.worker.unref();
    thread.worker.on("message", (answers: readonly ThreadAnswer[]) => {
      const batch = thread.batches.shift() ?? [];
      // An idle thread does not keep the program from ending.
      if (thread.batches.length === 0) thread.worker.unref();
      ask();
      batch.forEach((waiter, index) => settle(waiter, answers[index] as ThreadAnswer));
    });
    thread.worker.on("error", (error) => fail(thread, error instanceof Error ? error.message : String(error)));
    threads.push(thread);
    return thread;
  };

  /** The thread that has least to do, if it may be asked more. */
  const nextThread = (): Thread | undefined => {
    const least = threads.toSorted((a, b) => a.batches.length - b.batches.length)[0];
    if (least?.batches.length === 0) return least;
    if (threads.length < threadsMax) return startThread();
    return least !== undefined && least.batches.length < BATCHES_MAX ? least : undefined;
  };

  const ask = (): void => {
    if (stopped) return;
    while (waiting.length > 0) {
      const thread = nextThread();
      if (thread === undefined) return;
      const batch = firstBatch(waiting);
      waiting = waiting.slice(batch.length);
      thread.batches.push(batch);
      thread.worker.ref();
      const tasks = batch.map(({ task }) => task);
      const given = tasks.flatMap((task) => (task.kind === "open" ? [task.into] : []));
      thread.worker.postMessage(tasks, given);
    }
  };

  const done = (task: ThreadTask): Promise<Done> => {
    if (stopped) return Promise.reject(broken("it was stopped"));
    return new Promise((resolve, reject) => {
      waiting.push({ task, resolve, reject });
      // What is asked in the same turn goes together.
      if (waiting.length === 1) queueMicrotask(ask);
    });
  };

  return {
    warm() {
      if (stopped) return;
      while (threads.length < threadsMax) startThread();
    },
    async write(accountId, parts, key, sum) {
      const bytes = lengthOf(parts);
      const about = { kind: "seal", accountId, bytes, key: Uint8Array.from(key), sum: Uint8Array.from(sum) } as const;
      if (bytes <= SMALL_BYTES_MAX) {
        return storedOf(await done({ ...about, memory: null, plain: joined(parts, new Uint8Array(bytes), 0) }));
      }
      const memory = await take();
      try {
        joined(parts, new Uint8Array(memory), BODY_AT);
        return storedOf(await done({ ...about, memory, plain: NOTHING }));
      } finally {
        giveBack(memory);
      }
    },
    async read({ accountId, stored, bytes }, key, sum, into = new ArrayBuffer(bytes)) {
      const about = { kind: "open", accountId, stored, bytes } as const;
      const answer = await done({ ...about, key: Uint8Array.from(key), sum: Uint8Array.from(sum), into });
      const opened = "opened" in answer ? answer.opened : "none";
      return typeof opened === "string" ? opened : Buffer.from(opened, 0, bytes);
    },
    async stop() {
      stopped = true;
      for (const waiter of waiting.splice(0)) waiter.reject(broken("it was stopped"));
      const ending = threads.splice(0);
      for (const thread of ending) fail(thread, "it was stopped");
      await Promise.all(ending.map(({ worker }) => worker.terminate()));
    },
  };
}

/** As many of the first as are asked together. */
function firstBatch(waiting: readonly Waiting[]): readonly Waiting[] {
  let large = 0;
  const end = waiting.findIndex(({ task }, index) => {
    if (task.kind === "open" || task.memory !== null) large += 1;
    return large > BATCH_LARGE || index >= BATCH_SMALL;
  });
  return end === -1 ? waiting : waiting.slice(0, end);
}

function storedOf(answer: Done): StoredCid | undefined {
  return "stored" in answer ? answer.stored : undefined;
}

function settle(waiter: Waiting, answer: ThreadAnswer): void {
  if (!("failed" in answer)) return waiter.resolve(answer);
  const { code, message } = answer.failed;
  waiter.reject(code === undefined ? broken(message) : Object.assign(new Error(message), { code }));
}

function joined(parts: readonly Uint8Array[], memory: Uint8Array, from: number): Uint8Array {
  let at = from;
  for (const part of parts) {
    copyInto(memory, at, part);
    at += part.length;
  }
  return memory;
}

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function broken(why: string): QubixError {
  return new QubixError("seal_failed", `A piece could not be encrypted or decrypted: ${why}.`, {
    category: "internal",
  });
}
