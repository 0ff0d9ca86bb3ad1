// Evidence of failed proofs that somebody hands in, worked out again: in a thread, because it may take seconds, and the orchestrator's loop must not stand still.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { QubixError } from "@qubix/shared/runtime";

/** At a time: only admins hand evidence in, and each piece takes a core for a moment. */
const UNDER_WAY_MAX = 2;
/** The largest work that a claim may be about takes a few seconds on one core. */
const TIMEOUT_MS = 60_000;

export interface EvidenceCase {
  /** Of the worker, raw Ed25519, base64url. */
  readonly publicKey: string;
  readonly evidence: unknown;
}

/** Says what `failedProofFault` says. Rejects with `overloaded` where others are being worked out. */
export type EvidenceCheck = (of: EvidenceCase) => Promise<string | null>;

export function createEvidenceCheck(): EvidenceCheck {
  let underWay = 0;
  return async (of) => {
    if (underWay >= UNDER_WAY_MAX) {
      const message = `${UNDER_WAY_MAX} pieces of evidence are worked out again already. Send yours in a minute.`;
      throw new QubixError("overloaded", message, { category: "platform", status: 503, retryable: true });
    }
    underWay += 1;
    try {
      return await inThread(of);
    } finally {
      underWay -= 1;
    }
  };
}

async function inThread(of: EvidenceCase): Promise<string | null> {
  // Whatever this file runs as, the thread's does too: TypeScript from the sources, JavaScript once built.
  const isSource = import.meta.url.endsWith(".ts");
  const file = new URL(isSource ? "./evidence-thread.ts" : "./evidence-thread.js", import.meta.url);
  const thread = new Worker(file, { workerData: of, execArgv: isSource ? ["--conditions=qubix-source"] : [] });
  try {
    // Rejects with the error of a thread that breaks.
    const [fault] = (await once(thread, "message", { signal: AbortSignal.timeout(TIMEOUT_MS) })) as [string | null];
    return fault;
  } finally {
    await thread.terminate();
  }
}
