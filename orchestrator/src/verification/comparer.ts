// Compares the outputs of two runs of a job, file by file, within the tolerance that the job allows; one pair at a time, and each within bounds of bytes and time.
// What cannot be told is told as such: it is nobody's fault.
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { AccountId } from "@qubix/shared/domain";
import type { Tolerance, TreeManifest } from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import type { ChunkStore } from "../checkpoints/index.ts";
import type { CoreEvent, Effect } from "../core/index.ts";

/** Of a pair of files that differ, together: both are held in memory while they are compared. */
const PAIR_BYTES_MAX = 256 * 1024 * 1024;
/** Of all such pairs of two trees. */
const TREES_BYTES_MAX = 4 * PAIR_BYTES_MAX;
/** Half a gigabyte of text takes some ten seconds. */
const PAIR_TIMEOUT_MS = 120_000;
/** The writer is full, or cannot commit: the answer is given again after this time. */
const RETRY_MS = 5_000;

export type CompareEffect = Extract<Effect, { kind: "compare" }>;

/** What the thread is given. */
export interface FilePair {
  readonly path: string;
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  readonly tolerance: Tolerance;
}
export interface PairAnswer {
  readonly isSame: boolean | null;
  readonly why?: string;
}

export interface Comparer {
  /** Answers by an event `check.compared`. The same pair while it is in hand: does nothing. */
  compare(effect: CompareEffect): void;
  /** Nothing is read before: the chunk store must have started. */
  start(): void;
  /** What is in hand is dropped: it is asked for again at the next start. */
  stop(): Promise<void>;
}

export interface ComparerPorts {
  readonly chunks: Pick<ChunkStore, "readManifest" | "openFile">;
  readonly submit: (event: CoreEvent) => Promise<unknown>;
  readonly logger: Logger;
}

export function createComparer(ports: ComparerPorts): Comparer {
  const inHand = new Map<string, CompareEffect>();
  const stopping = new AbortController();
  let working: Promise<void> | null = null;
  let isStarted = false;

  const wake = (): void => {
    if (!isStarted) return;
    working ??= work().finally(() => {
      working = null;
    });
  };

  const work = async (): Promise<void> => {
    for (let next = first(inHand); next !== undefined && !stopping.signal.aborted; next = first(inHand)) {
      const [key, effect] = next;
      const answer = await compareTrees(ports, effect, stopping.signal);
      if (stopping.signal.aborted) return;
      const [a, b] = effect.runs;
      const { jobId } = effect;
      ports.logger.info({ event: "results_compared", jobId, runs: effect.runs, ...answer }, "results compared");
      await give(
        ports,
        { kind: "check.compared", jobId, comparison: { a, b, isSame: answer.isSame } },
        stopping.signal,
      );
      inHand.delete(key);
    }
  };

  return {
    compare(effect) {
      const key = `${effect.jobId} ${effect.runs.join(" ")}`;
      if (stopping.signal.aborted || inHand.has(key)) return;
      inHand.set(key, effect);
      wake();
    },
    start() {
      isStarted = true;
      wake();
    },
    async stop() {
      stopping.abort();
      await working;
    },
  };
}

function first<K, V>(map: ReadonlyMap<K, V>): [K, V] | undefined {
  return map.entries().next().value;
}

async function give({ submit, logger }: ComparerPorts, event: CoreEvent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await submit(event);
      return;
    } catch (error) {
      logger.warn({ event: "comparison_not_taken", err: error }, "said again in a moment");
      await delay(RETRY_MS, undefined, { signal, ref: false }).catch(() => {});
    }
  }
}

/** Whether two trees hold the same files. Does not reject. */
export async function compareTrees(
  { chunks }: Pick<ComparerPorts, "chunks">,
  { accountId, trees, tolerance }: Pick<CompareEffect, "accountId" | "trees" | "tolerance">,
  signal?: AbortSignal,
): Promise<PairAnswer> {
  try {
    const [one, other] = await Promise.all(trees.map((tree) => chunks.readManifest(accountId, tree.manifestCid)));
    if (one === undefined || other === undefined) return { isSame: null, why: "no manifest" };
    const [files, others] = [filesOf(one), filesOf(other)];
    if (files.size !== others.size) return { isSame: false, why: "other files" };
    let left = TREES_BYTES_MAX;
    for (const [path, file] of files) {
      const its = others.get(path);
      if (its === undefined) return { isSame: false, why: `${path} is in one of them only` };
      if (file.sha256 !== undefined && file.sha256 === its.sha256) continue;
      const bytes = file.bytes + its.bytes;
      left -= bytes;
      if (bytes > PAIR_BYTES_MAX || left < 0) return { isSame: null, why: `${path} is too large to be compared` };
      const a = await readAll(chunks, accountId, one, path);
      const b = await readAll(chunks, accountId, other, path);
      const answer = await inThread({ path, a, b, tolerance }, signal);
      if (answer.isSame !== true) return { ...answer, why: answer.why ?? `${path} differs` };
    }
    return { isSame: true };
  } catch (error) {
    return { isSame: null, why: error instanceof QubixError ? error.code : String(error) };
  }
}

type FileEntry = Extract<TreeManifest["entries"][number], { kind: "file" }>;

function filesOf({ entries }: TreeManifest): ReadonlyMap<string, FileEntry> {
  return new Map(entries.flatMap((entry) => (entry.kind === "file" ? [[entry.path, entry] as const] : [])));
}

async function readAll(
  chunks: ComparerPorts["chunks"],
  accountId: AccountId,
  manifest: TreeManifest,
  path: string,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of chunks.openFile(accountId, manifest, path)) parts.push(Uint8Array.from(part));
  return new Uint8Array(Buffer.concat(parts));
}

/** A thread for each pair: few jobs are compared like this, and what one leaves behind harms no other. */
async function inThread(pair: FilePair, signal?: AbortSignal): Promise<PairAnswer> {
  const isSource = import.meta.url.endsWith(".ts");
  const file = new URL(isSource ? "./compare-thread.ts" : "./compare-thread.js", import.meta.url);
  const transferList = [pair.a.buffer, pair.b.buffer] as ArrayBuffer[];
  const thread = new Worker(file, {
    workerData: pair,
    transferList,
    execArgv: isSource ? ["--conditions=qubix-source"] : [],
  });
  const timeout = AbortSignal.timeout(PAIR_TIMEOUT_MS);
  try {
    return await new Promise<PairAnswer>((resolve) => {
      const giveUp = () => resolve({ isSame: null, why: `${pair.path} took too long` });
      timeout.addEventListener("abort", giveUp);
      signal?.addEventListener("abort", giveUp);
      thread.once("message", resolve);
      thread.once("error", (error) => resolve({ isSame: null, why: error.message }));
    });
  } finally {
    await thread.terminate();
  }
}
