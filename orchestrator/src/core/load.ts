// The state from what the store kept.
import type { JobId } from "@qubix/shared/domain";
import type { CoreConfig } from "./config.ts";
import { DeadlineHeap } from "./deadline-heap.ts";
import { createIndexes } from "./indexes.ts";
import { NAMED_RECENT_MAX } from "./ledger-entries.ts";
import { forEachTable, type MetaRecord, type TableName, TABLES, type Tables } from "./model.ts";
import { RecentMap } from "./recent-map.ts";
import type { CoreState } from "./state.ts";
import { logsOf, replace } from "./tables.ts";

/** What a store gives at start; the store's port says the same in its own words. */
export interface StateSnapshot {
  readonly meta: MetaRecord | null;
  readonly rows: { readonly [T in TableName]: readonly Tables[T][] };
  /** Per `ATTEMPT_ID STREAM`: the offset at which the next log text is expected. */
  readonly logCursors: ReadonlyMap<string, number>;
  /** Per live job: bytes of log text kept. */
  readonly logBytes: ReadonlyMap<JobId, number>;
}

export interface CreateStateInput {
  readonly snapshot: StateSnapshot;
  readonly config: CoreConfig;
  /** On the orchestrator's clock, which runs on through restarts. */
  readonly nowMs: number;
  /** Of the generator, on the first start ever. */
  readonly seed: number;
  /** On the first start ever. */
  readonly orchestratorId: string;
}

/** Builds tables and indexes. The first event to be stepped must be `boot`. */
export function createState(input: CreateStateInput): CoreState {
  const { snapshot, config } = input;
  const meta = snapshot.meta ?? firstMeta(input);
  const state = emptyState(config, meta);
  for (const table of TABLES) {
    for (const record of snapshot.rows[table]) replace(state, table, keyOf(table, record), record);
  }
  loadLogs(state, snapshot);
  state.nowMs = Math.max(input.nowMs, meta.clockMs);
  return state;
}

function keyOf(table: TableName, record: object): string {
  if (table === "balances") {
    const { account, currency } = record as { readonly account: string; readonly currency: string };
    return `${account} ${currency}`;
  }
  return (record as { readonly id: string }).id;
}

function loadLogs(state: CoreState, snapshot: StateSnapshot): void {
  for (const [jobId, bytes] of snapshot.logBytes) {
    if (!state.rows.jobs.has(jobId)) continue;
    const logs = logsOf(state, jobId);
    logs.bytes = bytes;
    logs.full = bytes >= state.config.logBytesPerJobMax;
  }
  for (const [key, offset] of snapshot.logCursors) {
    const attempt = state.rows.attempts.get(key.slice(0, key.lastIndexOf(" ")));
    if (attempt !== undefined) logsOf(state, attempt.jobId).cursors.set(key, offset);
  }
}

function firstMeta({ nowMs, seed, orchestratorId }: CreateStateInput): MetaRecord {
  return {
    orchestratorId,
    random: seed | 0,
    jobCount: 0,
    workerCount: 0,
    accountCount: 0,
    transferCount: 0,
    eventSeq: 0,
    clockMs: nowMs,
  };
}

function emptyState(config: CoreConfig, meta: MetaRecord): CoreState {
  return {
    config,
    meta: { ...meta },
    rows: forEachTable<CoreState["rows"]>(() => new Map()),
    ix: createIndexes(),
    volatile: {
      live: new Map(),
      logs: new Map(),
      openStandbys: new Map(),
      blockedStandbys: new Map(),
      gained: new Set(),
      judging: null,
      keptPlaces: new Map(),
      setAside: new Set(),
      standbyNoted: new Set(),
      storageNoted: new Map(),
      direct: new Map(),
      standbyFailures: new Map(),
      explained: { atMs: 0, looked: 0, texts: new Map() },
      proving: new Set(),
      proofsWaiting: { first: new Set(), again: new Set() },
      payDecided: new Map(),
      proofFailures: new Map(),
      named: new RecentMap(NAMED_RECENT_MAX),
      lagMs: 0,
      month: "",
      stalledUntilMs: Number.NEGATIVE_INFINITY,
      mass: { holds: new Map(), doneUntilMs: -Infinity, returnsMs: [], judgedAtMs: -Infinity, judged: new Set() },
      bootedAtMs: 0,
      dispatchPending: false,
      counters: {
        promotions: 0,
        failovers: 0,
        moves: 0,
        stalls: 0,
        retries: 0,
        undos: 0,
        staleRefused: 0,
        jobsCreated: 0,
        jobsSucceeded: 0,
        jobsFailed: 0,
        jobsCancelled: 0,
        workersLost: 0,
        massSilences: 0,
        heartbeats: 0,
        challenges: 0,
        proofsPassed: 0,
        proofsFailed: 0,
        canariesGiven: 0,
        canariesMissing: 0,
        verificationsBegun: 0,
        verificationsPassed: 0,
        verificationsFailed: 0,
        verificationsInconclusive: 0,
      },
    },
    deadlines: new DeadlineHeap(),
    step: {
      undo: [],
      touched: new Map(),
      events: [],
      transfers: [],
      logs: [],
      ticks: [],
      settled: [],
      effects: [],
      fired: [],
      incidents: [],
      reply: { kind: "none" },
      ended: [],
      payoutsEnded: [],
      decided: [],
      endedCases: [],
      known: new Map(),
      handling: null,
      meta,
    },
    // The store's clock is the last time that anybody was surely alive; signs of life count from there.
    nowMs: meta.clockMs,
  };
}
