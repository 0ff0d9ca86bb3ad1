// Verdicts, made in a thread of their own: an answer takes up to half a second, and the orchestrator's loop must not stand still for it.
// The shell that holds challenges calls `verify` once the bytes of an answer have come; what it does to the market is not decided here.
import { Worker } from "node:worker_threads";
import { QubixError } from "@qubix/shared/runtime";
import type { ProofCase, ProofVerdict } from "./verify.ts";

/** Answers that wait for their verdict. Each holds up to 40 MiB; who is turned away is asked again later. */
const QUEUE_MAX = 16;
/** A verdict takes half a second; a thread that is silent for this long is hanging. */
const VERDICT_TIMEOUT_MS = 60_000;

export interface Verifier {
  /** Rejects with `verifier_busy` when too many wait, and with `verifier_failed` when the thread broke; neither is a verdict on the worker. */
  verify(proof: ProofCase): Promise<ProofVerdict>;
  /** Waiting for a verdict now. */
  waiting(): number;
  stop(): Promise<void>;
}

interface Job {
  readonly proof: ProofCase;
  resolve(verdict: ProofVerdict): void;
  reject(error: Error): void;
}

/** What the thread answers. */
export type ThreadAnswer =
  | { readonly kind: "verdict"; readonly verdict: ProofVerdict }
  | { readonly kind: "broken"; readonly message: string };

/** The thread is started by the first answer. */
export function createVerifier(): Verifier {
  const queue: Job[] = [];
  let thread: Worker | null = null;
  let current: Job | null = null;
  let timer: NodeJS.Timeout | null = null;
  let stopped = false;

  function next(): void {
    if (current !== null) return;
    const job = queue.shift();
    if (job === undefined) return;
    current = job;
    timer = setTimeout(() => fail(`no verdict within ${VERDICT_TIMEOUT_MS / 1000} s`), VERDICT_TIMEOUT_MS);
    thread ??= start();
    thread.ref();
    thread.postMessage(job.proof, []);
  }

  function start(): Worker {
    // Whatever this file runs as, the thread's does too: TypeScript from the sources, JavaScript once built.
    const file = new URL(
      import.meta.url.endsWith(".ts") ? "./verify-thread.ts" : "./verify-thread.js",
      import.meta.url,
    );
    const execArgv = file.pathname.endsWith(".ts") ? ["--conditions=qubix-source"] : [];
    const own = new Worker(file, { execArgv });
    own.on("message", (answer: ThreadAnswer) => {
      if (own !== thread) return;
      if (answer.kind === "broken") fail(answer.message);
      else take()?.resolve(answer.verdict);
      settle();
    });
    own.on("error", (error: Error) => {
      if (own === thread) fail(error.message);
    });
    return own;
  }

  /** The job in hand, which is so no more. */
  function take(): Job | null {
    const job = current;
    current = null;
    if (timer !== null) clearTimeout(timer);
    timer = null;
    return job;
  }

  function settle(): void {
    next();
    // An idle thread does not keep the program from ending.
    if (current === null) thread?.unref();
  }

  /** The thread cannot be trusted any more; the next answer gets a new one. */
  function fail(why: string): void {
    const broken = thread;
    thread = null;
    void broken?.terminate();
    take()?.reject(new QubixError("verifier_failed", `The verifier broke: ${why}`, { category: "internal" }));
    settle();
  }

  return {
    verify(proof) {
      if (stopped || queue.length >= QUEUE_MAX) {
        const message = "Too many proofs wait for their verdict; this one is asked for again later.";
        return Promise.reject(new QubixError("verifier_busy", message, { category: "platform", retryable: true }));
      }
      return new Promise((resolve, reject) => {
        queue.push({ proof, resolve, reject });
        next();
      });
    },
    waiting: () => queue.length + (current === null ? 0 : 1),
    async stop() {
      stopped = true;
      const ending = thread;
      thread = null;
      const gone = new QubixError("verifier_busy", "The orchestrator stops.", {
        category: "platform",
        retryable: true,
      });
      take()?.reject(gone);
      for (const job of queue.splice(0)) job.reject(gone);
      await ending?.terminate();
    },
  };
}
