// Seals chunks: to hash and encrypt one takes some milliseconds, and the orchestrator's loop must not stand still for it. Large ones go to threads, in
// memory that is shared with them and used again and again; small ones are not worth the way.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { CHUNK_STORED_BYTES_MAX } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { BODY_AT, copyInto, SEAL_BYTES, sealInPlace } from "./chunk-cipher.ts";

/** Chunks in work at a time: enough to keep a disk's queue busy, few enough that memory stays at some tens of MiB. */
const SLOTS_MAX = 16;
/** Two threads seal faster than most disks write. */
const THREADS_MAX = 2;
/** Up to here it takes less than a quarter of a millisecond. */
const INLINE_BYTES_MAX = 64 * 1024;

export interface SealedFile {
  /** Valid while `use` runs. */
  readonly file: Uint8Array;
  /** SHA-256 of the file. */
  readonly sum: Uint8Array;
}

export interface Sealer {
  /** `use` is called with the file of a chunk that should have this SHA-256, or with undefined when it has another. The others wait their turn. */
  seal<T>(
    plain: readonly Uint8Array[],
    key: Uint8Array,
    sum: Uint8Array,
    use: (sealed: SealedFile | undefined) => Promise<T>,
  ): Promise<T>;
  /** What is under way fails. Callable twice. */
  stop(): Promise<void>;
}

export interface SealTask {
  readonly id: number;
  /** The plain bytes begin at {@link BODY_AT}. */
  readonly memory: SharedArrayBuffer;
  readonly bytes: number;
  readonly key: Uint8Array;
  /** Of the plain bytes. */
  readonly sum: Uint8Array;
}

/** `stored`: SHA-256 of the file; undefined: the plain bytes have another than was said. */
export type SealAnswer =
  | { readonly id: number; readonly stored: Uint8Array | undefined }
  | { readonly id: number; readonly broken: string };

interface Thread {
  readonly worker: Worker;
  readonly tasks: Map<number, { resolve(stored: Uint8Array | undefined): void; reject(error: Error): void }>;
}

/** Threads and memory are made when they are first needed. */
export function createSealer(): Sealer {
  const free: SharedArrayBuffer[] = [];
  let slots = 0;
  const waiting: ((memory: SharedArrayBuffer) => void)[] = [];
  const threads: Thread[] = [];
  const threadsMax = Math.min(THREADS_MAX, availableParallelism());
  let tasks = 0;
  let stopped = false;

  const take = async (): Promise<SharedArrayBuffer> => {
    const memory = free.pop();
    if (memory !== undefined) return memory;
    if (slots >= SLOTS_MAX) return await new Promise((resolve) => waiting.push(resolve));
    slots += 1;
    return new SharedArrayBuffer(CHUNK_STORED_BYTES_MAX + SEAL_BYTES);
  };
  const giveBack = (memory: SharedArrayBuffer): void => {
    const next = waiting.shift();
    if (next === undefined) free.push(memory);
    else next(memory);
  };

  const fail = (thread: Thread, why: string): void => {
    const at = threads.indexOf(thread);
    if (at !== -1) threads.splice(at, 1);
    void thread.worker.terminate();
    for (const task of thread.tasks.values()) task.reject(broken(why));
    thread.tasks.clear();
  };

  const start = (): Thread => {
    // Whatever this file runs as, the thread's does too: TypeScript from the sources, JavaScript once built.
    const file = new URL(import.meta.url.endsWith(".ts") ? "./seal-thread.ts" : "./seal-thread.js", import.meta.url);
    const execArgv = file.pathname.endsWith(".ts") ? ["--conditions=qubix-source"] : [];
    const thread: Thread = { worker: new Worker(file, { execArgv }), tasks: new Map() };
    thread.worker.unref();
    thread.worker.on("message", (answer: SealAnswer) => {
      const task = thread.tasks.get(answer.id);
      thread.tasks.delete(answer.id);
      // An idle thread does not keep the program from ending.
      if (thread.tasks.size === 0) thread.worker.unref();
      if ("broken" in answer) task?.reject(broken(answer.broken));
      else task?.resolve(answer.stored);
    });
    thread.worker.on("error", (error) => fail(thread, error instanceof Error ? error.message : String(error)));
    threads.push(thread);
    return thread;
  };

  const sealInThread = (task: Omit<SealTask, "id">): Promise<Uint8Array | undefined> => {
    if (stopped) return Promise.reject(broken("it was stopped"));
    const idle = threads.find((thread) => thread.tasks.size === 0);
    const thread =
      idle ?? (threads.length < threadsMax ? start() : threads.reduce((a, b) => (b.tasks.size < a.tasks.size ? b : a)));
    const id = (tasks += 1);
    return new Promise((resolve, reject) => {
      thread.tasks.set(id, { resolve, reject });
      thread.worker.ref();
      thread.worker.postMessage({ id, ...task }, []);
    });
  };

  return {
    async seal(plain, key, sum, use) {
      const memory = await take();
      try {
        const bytes = lengthOf(plain);
        const file = new Uint8Array(memory, 0, bytes + SEAL_BYTES);
        let at = BODY_AT;
        for (const part of plain) {
          copyInto(file, at, part);
          at += part.length;
        }
        const stored =
          bytes <= INLINE_BYTES_MAX
            ? sealInPlace(file, bytes, key, sum)
            : await sealInThread({ memory, bytes, key: Uint8Array.from(key), sum: Uint8Array.from(sum) });
        return await use(stored === undefined ? undefined : { file, sum: stored });
      } finally {
        giveBack(memory);
      }
    },
    async stop() {
      stopped = true;
      const ending = threads.splice(0);
      for (const thread of ending) fail(thread, "it was stopped");
      await Promise.all(ending.map(({ worker }) => worker.terminate()));
    },
  };
}

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function broken(why: string): QubixError {
  return new QubixError("seal_failed", `A piece could not be encrypted: ${why}.`, { category: "internal" });
}
