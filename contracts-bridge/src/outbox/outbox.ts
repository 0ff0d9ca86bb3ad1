// Makes intents come true on a chain, each once, whatever dies in between. A try is on disk before it is sent, so that after any crash the same bytes are
// sent again, and what the chain shows decides, not what we remember of sending. An intent that a stranger's transaction displaced halts everything.
import { type Logger, unreachable } from "@qubix/shared/runtime";
import type { ChainDriver, Intent, Prepared } from "../port/intents.ts";
import type { OutboxCounts, OutboxStore, StoredIntent } from "./store.ts";

/** Signed, and not in any block yet: a chain includes several of one signer in a block, and its nodes keep no more for one. */
const WAITING_MAX = 16;
/** Intents that are looked at: what is in a block waits a quarter of an hour to be final on some chains, and keeps nothing up meanwhile. */
const OPEN_MAX = 1_024;
/** What is in a block is looked at once in so many looks. */
const INCLUDED_LOOKS = 4;
/** Between two looks at what is under way: first, and longest while the node does not answer. */
const POLL_MS = 1_000;
const POLL_MS_MAX = 60_000;
/** One that is not included for so long is offered for a higher fee. */
const BUMP_MS = 60_000;

export interface OutboxPorts {
  readonly driver: ChainDriver;
  readonly store: OutboxStore;
  readonly logger: Logger;
  readonly clock: { readonly nowMs: () => number };
  /** An intent is final. Called again after a crash, at least once for each. */
  readonly finished: (id: string, intent: Intent, phase: "applied" | "refused") => void | Promise<void>;
  /** Why nothing may be signed; asked before the first look, and after a resumption. */
  readonly check?: () => Promise<string | null>;
  /** It stopped, and goes on only when a person resumes it. */
  readonly onHalt?: (reason: string) => void;
}

export interface OutboxOptions {
  readonly pollMs?: number;
  readonly bumpMs?: number;
}

export interface Outbox {
  /** Durable when this returns; the same id with the same content again changes nothing. Throws `intent_differs`. */
  add(id: string, intent: Intent): void;
  /** Whether it was added, whatever became of it. */
  has(id: string): boolean;
  counts(): OutboxCounts;
  start(): void;
  /** Waits for the look under way. */
  stop(): Promise<void>;
  /** Why nothing goes on any more; `null` while it does. */
  halted(): string | null;
  /** After a person has looked: goes on, behind what others signed in our place. */
  resume(): void;
}

export function createOutbox(ports: OutboxPorts, { pollMs = POLL_MS, bumpMs = BUMP_MS }: OutboxOptions = {}): Outbox {
  const { driver, store, logger, clock, finished } = ports;
  /** Since when a try waits for its inclusion, by hash: after a restart from then on. */
  const waitingSinceMs = new Map<string, number>();
  /** Of what is in a block, by intent: when to look again. */
  const lookFromMs = new Map<string, number>();
  /** accepts: a person has looked, so that for one look what others signed in our place is no reason to stop. */
  const life = { running: false, checked: false, accepts: false };
  let wake: () => void = () => {};
  let loop: Promise<void> = Promise.resolve();

  async function run(): Promise<void> {
    let failures = 0;
    while (life.running) {
      try {
        if (store.halted() === null && (await mayAct())) await look();
        failures = 0;
      } catch (error) {
        failures += 1;
        logger.warn(
          { event: "outbox_retry", failures, err: error },
          "the chain's node did not answer, or what is final could not be posted; it is tried again",
        );
      }
      await pause(Math.min(POLL_MS_MAX, pollMs * 2 ** Math.min(failures, 10)));
    }
  }

  async function mayAct(): Promise<boolean> {
    if (life.checked || ports.check === undefined) return true;
    const reason = await ports.check();
    life.checked = reason === null;
    if (reason !== null) stopAt(reason);
    return life.checked;
  }

  /**
   * One look at all that is under way. In order: a later place is never signed before an earlier one is on disk; and of one job nothing is signed before
   * what comes before it is final, because a chain may turn the order of two transactions round.
   */
  async function look(): Promise<void> {
    const jobs = new Set<string>();
    let waiting = 0;
    for (const row of store.open(OPEN_MAX)) {
      if (!life.running || store.halted() !== null) return;
      const { jobId } = row.intent as { readonly jobId?: string };
      const isBehind = jobId !== undefined && jobs.has(jobId);
      if (jobId !== undefined) jobs.add(jobId);
      if (isBehind || (row.tries.length === 0 && waiting >= WAITING_MAX)) continue;
      if ((lookFromMs.get(row.id) ?? 0) > clock.nowMs()) continue;
      if ((await advance(row)) === "waiting") waiting += 1;
    }
    life.accepts = false;
  }

  /** Whether it waits for a block. */
  async function advance(row: StoredIntent): Promise<"waiting" | "not waiting"> {
    const seen = await driver.observe(row.intent, row.tries);
    switch (seen.kind) {
      case "final":
        await finish(row, seen.applied ? "applied" : "refused");
        return "not waiting";
      case "included":
        lookFromMs.set(row.id, clock.nowMs() + pollMs * INCLUDED_LOOKS);
        return "not waiting";
      case "void":
        store.reset(row.id);
        return "not waiting";
      case "conflict":
        if (!life.accepts) {
          stopAt(seen.message, row.id);
          return "not waiting";
        }
        // Another one has its place for ever: it never comes, and may be signed anew.
        store.reset(row.id);
        await sign(row);
        return "waiting";
      case "pending":
        await (row.tries.length === 0 ? sign(row) : waitOn(row, seen.isKnown));
        return "waiting";
      default:
        return unreachable(seen);
    }
  }

  async function sign(row: StoredIntent): Promise<void> {
    const prepared = await driver.prepare(row.intent, store.last(), life.accepts);
    if ("conflict" in prepared) return stopAt(prepared.conflict, row.id);
    return sendNew(row, prepared);
  }

  function stopAt(reason: string, intentId: string | null = null): void {
    logger.error({ event: "outbox_halted", intentId, reason }, "somebody must look");
    store.halt(reason);
    ports.onHalt?.(reason);
  }

  async function sendNew(row: StoredIntent, prepared: Prepared): Promise<void> {
    store.keep(row.id, prepared);
    waitingSinceMs.set(prepared.hash, clock.nowMs());
    await driver.submit(prepared);
  }

  /** The newest try is sent again where the chain's node does not have it, and replaced where it offers too little. */
  async function waitOn(row: StoredIntent, isKnown: boolean): Promise<void> {
    const newest = row.tries.at(-1);
    if (newest === undefined) return;
    const sinceMs = waitingSinceMs.get(newest.hash) ?? clock.nowMs();
    waitingSinceMs.set(newest.hash, sinceMs);
    if (clock.nowMs() - sinceMs >= bumpMs) {
      const dearer = await driver.bump(row.intent, row.tries);
      if (dearer !== null) return sendNew(row, dearer);
    }
    if (!isKnown) await driver.submit(newest);
  }

  async function finish(row: StoredIntent, phase: "applied" | "refused"): Promise<void> {
    // First what depends on it: after a crash in between it is told again.
    await finished(row.id, row.intent, phase);
    store.finish(row.id, phase);
    for (const { hash } of row.tries) waitingSinceMs.delete(hash);
    lookFromMs.delete(row.id);
    logger.info({ event: "intent_final", intentId: row.id, kind: row.intent.kind, phase }, "final on the chain");
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  return {
    add(id, intent) {
      if (store.add(id, intent)) wake();
    },
    has: (id) => store.get(id) !== undefined,
    counts: () => store.counts(),
    start() {
      if (life.running) return;
      life.running = true;
      loop = run();
    },
    async stop() {
      life.running = false;
      wake();
      await loop;
    },
    halted: () => store.halted(),
    resume() {
      store.halt(null);
      life.checked = false;
      life.accepts = true;
      wake();
    },
  };
}
