// The threads that make and read pieces: started when there is work, ended when there has been none for a while, because an idle agent is to be small.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { QubixError } from "@qubix/shared/runtime";
import type { Answer, Ask, Reply, Request, TaskKind } from "./tasks.ts";

/** More do not help: the line or the disk is slower. */
const THREADS_MAX = 4;
/** Starting one takes some 50 ms; keeping one costs some 15 MB. */
const IDLE_MS = 10_000;
/** A small checkpoint needs no more of them, and a large one starts the others itself. */
const WARM_MAX = 2;

export interface Threads {
  readonly count: number;
  /**
   * Throws `file_changed`, `tree_corrupt`, or what reading a file throws. Questions wait for a free thread in the order they came.
   * `given`: memory of the question that nobody else needs any more; it goes to the thread.
   */
  ask<K extends TaskKind>(kind: K, ask: Ask<K>, given?: readonly ArrayBuffer[]): Promise<Answer<K>>;
  /** Work is about to come: the threads are started, so that it does not wait for that. */
  warm(): void;
  stop(): Promise<void>;
}

interface Waiting {
  readonly request: Request;
  readonly given: readonly ArrayBuffer[];
  resolve(answer: Answer<TaskKind>): void;
  reject(error: unknown): void;
}

export function createThreads(count = Math.min(THREADS_MAX, availableParallelism())): Threads {
  const free: Worker[] = [];
  const all = new Set<Worker>();
  const waiting: Waiting[] = [];
  let idle: NodeJS.Timeout | null = null;

  function next(): void {
    if (idle !== null) clearTimeout(idle);
    idle = null;
    while (waiting.length > 0) {
      const worker = free.pop() ?? (all.size < count ? startThread() : undefined);
      if (worker === undefined) return;
      run(worker, waiting.shift() as Waiting);
    }
    if (all.size === 0 || free.length < all.size) return;
    idle = setTimeout(() => void stop(), IDLE_MS);
    idle.unref();
  }

  function startThread(): Worker {
    // Whatever this file runs as, the threads do too: TypeScript from the sources, JavaScript once built.
    const fromSources = import.meta.url.endsWith(".ts");
    const file = new URL(fromSources ? "./thread.ts" : "./thread.js", import.meta.url);
    const worker = new Worker(file, fromSources ? { execArgv: ["--conditions=qubix-source"] } : {});
    // Work under way keeps the process alive, an idle thread does not.
    worker.unref();
    all.add(worker);
    // Whoever waits for an answer hears of it too; an idle one that ends is nobody's loss.
    worker.on("error", () => undefined).on("exit", () => forget(worker));
    return worker;
  }

  function forget(worker: Worker): void {
    all.delete(worker);
    const at = free.indexOf(worker);
    if (at !== -1) free.splice(at, 1);
  }

  function run(worker: Worker, waiter: Waiting): void {
    const answered = (reply: Reply): void => {
      done();
      free.push(worker);
      if (reply.kind === "answer") waiter.resolve(reply.answer);
      else waiter.reject(failure(reply));
      next();
    };
    const broken = (cause: unknown): void => {
      done();
      forget(worker);
      const message = "A thread that makes checkpoints ended";
      waiter.reject(new QubixError("thread_failed", message, { category: "internal", cause }));
      next();
    };
    const done = (): void => {
      worker.off("message", answered).off("error", broken).off("exit", broken);
      worker.unref();
    };
    worker.ref();
    worker.on("message", answered).on("error", broken).on("exit", broken);
    worker.postMessage(waiter.request, waiter.given);
  }

  async function stop(): Promise<void> {
    if (idle !== null) clearTimeout(idle);
    idle = null;
    const stopping = [...all];
    all.clear();
    free.length = 0;
    await Promise.all(stopping.map((worker) => worker.terminate()));
  }

  return {
    count,
    ask<K extends TaskKind>(kind: K, ask: Ask<K>, given: readonly ArrayBuffer[] = []) {
      return new Promise<Answer<K>>((resolve, reject) => {
        const request = { kind, ask } as Request;
        waiting.push({ request, given, resolve, reject });
        next();
      });
    },
    warm() {
      while (all.size < Math.min(count, WARM_MAX)) free.push(startThread());
      next();
    },
    stop,
  };
}

function failure({ code, message }: Extract<Reply, { kind: "failed" }>): Error {
  if (code === "file_changed") {
    return new QubixError(code, message, { category: "conflict", retryable: true });
  }
  if (code === "tree_corrupt") return new QubixError(code, message, { category: "platform" });
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}
