// What the core holds in memory: the tables (the state proper), indexes that are functions of the tables, and volatile facts that no row is written for.
import type { AccountId, AttemptId, JobId, SessionId, StandbyId, TransferId, WorkerId } from "@qubix/shared/domain";
import type { CoreConfig } from "./config.ts";
import type { DeadlineHeap } from "./deadline-heap.ts";
import type { Effect, Incident, Reply } from "./events.ts";
import type { Machine, Usage } from "./machine.ts";
import type { Market, OfferRequest } from "./market.ts";
import type {
  EnrolmentRecord,
  EventRecord,
  LogRecord,
  MetaRecord,
  Put,
  TableName,
  Tables,
  TransferRecord,
  SettledRecord,
  TickRecord,
} from "./model.ts";
import type { JobQueue, Signature } from "./queue.ts";
import type { RecentMap } from "./recent-map.ts";

export interface CoreState {
  readonly config: CoreConfig;
  readonly meta: Meta;
  readonly rows: { readonly [T in TableName]: Map<string, Tables[T]> };
  readonly ix: Indexes;
  readonly volatile: Volatile;
  readonly deadlines: DeadlineHeap;
  readonly step: StepScratch;
  /** Time of the step under way, or of the last one. */
  nowMs: number;
}

/** {@link MetaRecord}, writable. */
export type Meta = { -readonly [K in keyof MetaRecord]: MetaRecord[K] };

/** Functions of the tables, kept up by every put; a rollback puts the old rows back and so restores them. */
export interface Indexes {
  readonly apiKeyByHash: Map<string, string>;
  readonly enrolmentByTokenHash: Map<string, EnrolmentRecord["id"]>;
  readonly workerByPublicKey: Map<string, WorkerId>;
  readonly links: Map<JobId, JobLinks>;
  readonly machines: Map<WorkerId, Machine>;
  /** What each consumer's active attempts and standbys take. */
  readonly usage: Map<AccountId, Usage>;
  /** What online workers have. */
  readonly totals: Usage;
  readonly queue: JobQueue;
  /** Hot jobs that run without a standby. */
  readonly wantedStandbys: Set<JobId>;
  readonly market: Market;
  readonly workersByImage: Map<string, Set<Machine>>;
  readonly jobsByPhase: Map<string, number>;
  readonly workersByPhase: Map<string, number>;
  /** What all jobs of an account that are not settled may cost at the most, by `ACCOUNT CURRENCY`. */
  readonly mayCost: Map<string, bigint>;
}

export interface JobLinks {
  readonly attempts: Set<AttemptId>;
  readonly standbys: Set<StandbyId>;
}

/** What the last heartbeat said of an attempt. */
export interface LiveAttempt {
  ranMs: number;
  progress: number | null;
  phase: string | null;
  measures: LiveMeasures | null;
  /** It was said once that it may have stalled. */
  stallSuspected: boolean;
}
export interface LiveMeasures {
  readonly cpuPercent?: number | undefined;
  readonly memoryMiB?: number | undefined;
  readonly gpuPercent?: number | undefined;
  readonly gpuMemoryMiB?: number | undefined;
}

export interface JobLogs {
  bytes: number;
  /** The marker that says so was written. */
  full: boolean;
  /** Per `ATTEMPT_ID STREAM`: the next offset. */
  readonly cursors: Map<string, number>;
  /** Of the newest line, as the worker stamped it. */
  lastTime: string;
}

export interface Counters {
  promotions: number;
  failovers: number;
  moves: number;
  stalls: number;
  retries: number;
  undos: number;
  staleRefused: number;
  jobsCreated: number;
  jobsSucceeded: number;
  jobsFailed: number;
  jobsCancelled: number;
  workersLost: number;
  massSilences: number;
  heartbeats: number;
  challenges: number;
  proofsPassed: number;
  proofsFailed: number;
  /** Canaries that were given; and jobs after which one was due, and none was left that its worker had not had. */
  canariesGiven: number;
  canariesMissing: number;
  /** Jobs that were chosen to be checked, and what came of them. */
  verificationsBegun: number;
  verificationsPassed: number;
  verificationsFailed: number;
  verificationsInconclusive: number;
}

export interface StandbyFailure {
  /** In a row. */
  readonly count: number;
  readonly retryAtMs: number;
}

/** What a worker was told last of its peer for a job, and in which session. */
export interface DirectTold {
  readonly sessionId: SessionId;
  readonly text: string;
}

/** So many workers fell silent at once that we suspect ourselves: losses of those it covers wait until it is over. */
export interface SilenceHold {
  /** `fleet`, or the network that is silent. */
  readonly scope: string;
  readonly beganAtMs: number;
  /** Comes nearer when most are back. */
  untilMs: number;
  /** Those it keeps from being suspected further, as far as they are not back; and how many there ever were. */
  readonly held: Set<Machine>;
  heldInAll: number;
  /** Those that would have been given up, and of whose jobs that was said. */
  readonly told: Set<Machine>;
  /** Of those the silence was counted among. */
  readonly workers: number;
}

export interface MassSilence {
  /** By scope. */
  readonly holds: Map<string, SilenceHold>;
  /** Silence that began before this was held once, and is not held again. */
  doneUntilMs: number;
  /** When the newest few of those came back that were there before we started: as many as make a mass. */
  readonly returnsMs: number[];
  /** When the fleet was last counted, and the networks that were since: not with every silent worker anew. */
  judgedAtMs: number;
  readonly judged: Set<string>;
}

export interface Volatile {
  /** Pairs of primary and standby that were told of each other. */
  readonly direct: Map<JobId, ReadonlyMap<WorkerId, DirectTold>>;
  readonly live: Map<AttemptId, LiveAttempt>;
  readonly logs: Map<JobId, JobLogs>;
  /** Of the wanted standbys: those to be looked for, where it is known with the machines beside which none fits; and those for which there was no offer until capacity is gained. */
  readonly openStandbys: Map<JobId, Set<Machine> | null>;
  readonly blockedStandbys: Map<JobId, OfferRequest>;
  /** Machines that gained capacity since blocked signatures were judged for them; and the one that is at it, with the signatures that are left. */
  readonly gained: Set<Machine>;
  judging: { readonly machine: Machine; readonly rest: Iterator<Signature> } | null;
  /** Machines that are kept for jobs that have waited long, by job. */
  readonly keptPlaces: Map<JobId, Machine>;
  /** Jobs that could not be placed because of a fault: until their deadline they are in no queue, whatever phase they come to. */
  readonly setAside: Set<JobId>;
  /** `standby_unavailable` was said. */
  readonly standbyNoted: Set<JobId>;
  /** `storage_refused` was said with this code since the newest checkpoint. */
  readonly storageNoted: Map<JobId, string>;
  readonly standbyFailures: Map<JobId, StandbyFailure>;
  /** Explanations of a moment ago: many jobs end for the same reason at once. */
  readonly explained: { atMs: number; looked: number; readonly texts: Map<string, string> };
  /** Machines under challenges, and those that wait for one to end: first what is unproven, then what is shown again. */
  readonly proving: Set<Machine>;
  readonly proofsWaiting: { readonly first: Set<Machine>; readonly again: Set<Machine> };
  /** Failed challenges by code; bounded. */
  readonly proofFailures: Map<string, number>;
  /** The calendar month (UTC) as the shell told it last, `2026-11`; empty before it has. */
  month: string;
  /** Jobs of whose frozen pay it was decided, with the newest event before that; the newest few. */
  readonly payDecided: Map<JobId, number>;
  /** The newest transfers that callers named, by id; {@link NAMED_RECENT_MAX} at least. */
  readonly named: RecentMap<TransferId, TransferRecord>;
  /** How long we did not listen, in all, since this process started. */
  lagMs: number;
  /** When we last began to listen again after a stall that is worth noticing. */
  stalledUntilMs: number;
  readonly mass: MassSilence;
  /** When this life of the orchestrator began. */
  bootedAtMs: number;
  /** A dispatch met its bound and has more to do. */
  dispatchPending: boolean;
  readonly counters: Counters;
}

/** What the step under way did so far, and how to undo it. Emptied between steps. */
export interface StepScratch {
  readonly undo: (() => void)[];
  readonly touched: Map<string, Put>;
  events: EventRecord[];
  transfers: TransferRecord[];
  logs: LogRecord[];
  ticks: TickRecord[];
  settled: SettledRecord[];
  effects: Effect[];
  fired: string[];
  incidents: Incident[];
  reply: Reply;
  /** Jobs that ended: they leave memory when the step is done. */
  ended: JobId[];
  /** …and payouts. */
  payoutsEnded: string[];
  /** Jobs whose verification was decided: it leaves memory as well. */
  decided: JobId[];
  /** …and cases. */
  endedCases: string[];
  /** What the store has of the transfers that the event names. */
  known: ReadonlyMap<TransferId, TransferRecord>;
  /** The deadline being handled, or what is being placed. */
  handling: string | null;
  /** The last written meta record. */
  meta: MetaRecord;
}
