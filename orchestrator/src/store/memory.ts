// The store in memory: for the simulator and for tests. The same promises as the durable one, short of surviving the process.
import type { Currency, JobId, TransferId } from "@qubix/shared/domain";
import { attemptId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import type { CaseRecord } from "../core/case-records.ts";
import {
  type AttemptRecord,
  type BalanceRecord,
  type Changes,
  forEachTable,
  type JobRecord,
  KEYED_TABLES,
  type KeyedTable,
  type MetaRecord,
  type Put,
  type StandbyRecord,
  type TableName,
  type Tables,
} from "../core/model.ts";
import { isSpent } from "../core/ledger-accounts.ts";
import { auditSums, checkBalance, checkTransfer, hasEnded, logTextBytes } from "./checks.ts";
import { createMemoryAccounts, type MemoryAccounts } from "./memory-accounts.ts";
import type { CaseFilter, ClockRecord, Snapshot, Store, StoredEvent, StoredLog, StoredTransfer } from "./port.ts";

type TableMaps = { readonly [T in TableName]: Map<string, Tables[T]> };

interface Data {
  meta: MetaRecord | null;
  clock: ClockRecord | null;
  readonly tables: TableMaps;
  /** Ascending. */
  readonly jobIds: JobId[];
  readonly liveJobs: Set<JobId>;
  readonly attemptsOf: Map<JobId, Set<string>>;
  readonly standbysOf: Map<JobId, Set<string>>;
  readonly events: StoredEvent[];
  readonly eventsOf: Map<JobId, StoredEvent[]>;
  readonly transfers: StoredTransfer[];
  readonly transferIndex: Map<TransferId, number>;
  readonly logs: StoredLog[];
  readonly logsOf: Map<JobId, StoredLog[]>;
  readonly logCursors: Map<JobId, Map<string, number>>;
  readonly logBytes: Map<JobId, number>;
  readonly accounts: MemoryAccounts;
}

/** Creates an empty store that lives as long as the object. */
export function createMemoryStore(): Store {
  const data = createData();
  return {
    ...data.accounts.reads,
    load: () => load(data),
    meta: () => data.meta,
    commit: (batch, wallMs) => commit(data, batch, wallMs),
    job: (id) => {
      const job = data.tables.jobs.get(id);
      return job && { job, attempts: attemptsOf(data, id), standbys: standbysOf(data, id) };
    },
    verification: (id) => data.tables.verifications.get(id),
    jobs: (filter) => listJobs(data, filter),
    events: (filter) => listEvents(data, filter),
    recoveries: (filter) => listRecoveries(data, filter),
    logs: ({ jobId, after, limit }) => {
      const logs = data.logsOf.get(jobId) ?? [];
      const from = firstAfter(logs, (log) => log.id, after);
      return logs.slice(from, from + limit);
    },
    transfers: (filter) => listTransfers(data, filter),
    case: (id) => data.tables.cases.get(id),
    cases: (filter) => listCases(data, filter),
    transfer: (id) => {
      const at = data.transferIndex.get(id);
      return at === undefined ? undefined : data.transfers[at];
    },
    payout: (id) => data.tables.payouts.get(id),
    payouts: ({ account, before, limit }) =>
      sorted(data.tables.payouts)
        .filter(
          ({ id, accountId }) =>
            (account === undefined || accountId === account) && (before === undefined || id < before),
        )
        .toReversed()
        .slice(0, limit),
    balances: (accounts, currency) => listBalances(data, accounts, currency),
    clock: () => data.clock,
    saveClock: (clock) => {
      data.clock = clock;
    },
    audit: () => audit(data),
    close: () => {},
  };
}

// ── Writing ──

function commit(data: Data, batch: readonly Changes[], wallMs: number): void {
  check(data, batch);
  for (const changes of batch) {
    for (const put of changes.puts) applyPut(data, put);
    for (const event of changes.events) {
      const stored = { ...event, wallMs };
      data.events.push(stored);
      if (event.jobId !== null) listOf(data.eventsOf, event.jobId).push(stored);
    }
    for (const transfer of changes.transfers) {
      data.transferIndex.set(transfer.id, data.transfers.length);
      data.transfers.push({ ...transfer, wallMs });
    }
    for (const log of changes.logs) applyLog(data, { ...log, id: data.logs.length + 1 });
    for (const tick of changes.ticks) data.accounts.addTick(tick, wallMs);
    for (const settled of changes.settled) data.accounts.addSettled(settled, wallMs);
    data.meta = changes.meta;
  }
}

/** All that could fail comes before the first change: a commit happens wholly or not at all. */
function check(data: Data, batch: readonly Changes[]): void {
  let seq = data.events.at(-1)?.seq ?? 0;
  const newTransfers = new Set<TransferId>();
  data.accounts.checkTicks(batch.flatMap((changes) => changes.ticks));
  for (const changes of batch) {
    for (const event of changes.events) {
      assert(event.seq > seq, () => `event ${event.seq} comes after ${seq}`);
      seq = event.seq;
    }
    for (const transfer of changes.transfers) {
      checkTransfer(transfer);
      assert(
        !data.transferIndex.has(transfer.id) && !newTransfers.has(transfer.id),
        () => `transfer ${transfer.id} repeats`,
      );
      newTransfers.add(transfer.id);
    }
    for (const put of changes.puts) {
      if (put.table === "balances" && put.record !== null) checkBalance(put.record);
      if (put.table === "cases") checkCase(data.tables.cases.get(put.key), put.key, put.record);
    }
  }
}

function checkCase(before: CaseRecord | undefined, id: string, record: CaseRecord | null): void {
  assert(record !== null, `case ${id} cannot be removed`);
  const isOver = before !== undefined && before.endedAtMs !== null && before.kind !== "rating";
  assert(!isOver, `case ${id} has ended and cannot change`);
}

function applyPut(data: Data, put: Put): void {
  const { table, key, record } = put;
  if (table === "jobs") applyJob(data, key as JobId, record);
  else if (table === "attempts") applyOwned(data.tables.attempts, data.attemptsOf, key, record);
  else if (table === "standbys") applyOwned(data.tables.standbys, data.standbysOf, key, record);
  else if (table === "balances") {
    const spent = record !== null && isSpent(record.account, record.amount);
    applyRow(data.tables.balances, key, spent ? null : record);
  } else applyRow(data.tables[table] as Map<string, unknown>, key, record);
}

function applyRow<T>(rows: Map<string, T>, key: string, record: T | null): void {
  if (record === null) rows.delete(key);
  else rows.set(key, record);
}

function applyJob(data: Data, id: JobId, job: JobRecord | null): void {
  if (job !== null && !data.tables.jobs.has(id)) {
    const last = data.jobIds.at(-1);
    data.jobIds.push(id);
    if (last !== undefined && last > id) data.jobIds.sort();
  }
  if (job === null && data.tables.jobs.has(id)) data.jobIds.splice(data.jobIds.indexOf(id), 1);
  applyRow(data.tables.jobs, id, job);
  if (job === null || hasEnded(job.phase)) data.liveJobs.delete(id);
  else data.liveJobs.add(id);
}

function applyOwned<T extends { readonly jobId: JobId }>(
  rows: Map<string, T>,
  owners: Map<JobId, Set<string>>,
  key: string,
  record: T | null,
): void {
  const jobId = (record ?? rows.get(key))?.jobId;
  applyRow(rows, key, record);
  if (jobId === undefined) return;
  const owned = owners.get(jobId) ?? new Set();
  if (record === null) owned.delete(key);
  else owned.add(key);
  owners.set(jobId, owned);
}

function applyLog(data: Data, log: StoredLog): void {
  data.logs.push(log);
  listOf(data.logsOf, log.jobId).push(log);
  if (log.stream === "marker") return;
  const bytes = logTextBytes(log);
  const cursors = data.logCursors.get(log.jobId) ?? new Map<string, number>();
  data.logCursors.set(log.jobId, cursors);
  cursors.set(`${attemptId(log)} ${log.stream}`, log.offset + bytes);
  data.logBytes.set(log.jobId, (data.logBytes.get(log.jobId) ?? 0) + bytes);
}

// ── Reading ──

function load(data: Data): Snapshot {
  const live = [...data.liveJobs].sort();
  const logCursors = new Map<string, number>();
  const logBytes = new Map<JobId, number>();
  for (const id of live) {
    for (const [key, next] of data.logCursors.get(id) ?? []) logCursors.set(key, next);
    const bytes = data.logBytes.get(id);
    if (bytes !== undefined) logBytes.set(id, bytes);
  }
  const { tables } = data;
  const keyed = Object.fromEntries(
    KEYED_TABLES.map((table) => [table, sorted<unknown>(tables[table])]),
  ) as unknown as Pick<Snapshot["rows"], KeyedTable>;
  return {
    meta: data.meta,
    rows: {
      ...keyed,
      payouts: keyed.payouts.filter(({ phase }) => phase === "requested"),
      jobs: live.map((id) => tables.jobs.get(id) as JobRecord),
      attempts: live.flatMap((id) => attemptsOf(data, id)),
      standbys: live.flatMap((id) => standbysOf(data, id)),
      verifications: sorted(tables.verifications).filter(({ decidedAtMs }) => decidedAtMs === null),
      balances: sorted(tables.balances),
      cases: sorted(tables.cases).filter(({ endedAtMs }) => endedAtMs === null),
    },
    logCursors,
    logBytes,
  };
}

function attemptsOf(data: Data, id: JobId): readonly AttemptRecord[] {
  const keys = [...(data.attemptsOf.get(id) ?? [])];
  const rows = keys.map((key) => data.tables.attempts.get(key) as AttemptRecord);
  return rows.sort((a, b) => a.replica - b.replica || a.epoch - b.epoch);
}

function standbysOf(data: Data, id: JobId): readonly StandbyRecord[] {
  const keys = [...(data.standbysOf.get(id) ?? [])];
  const rows = keys.map((key) => data.tables.standbys.get(key) as StandbyRecord);
  return rows.sort((a, b) => a.id.length - b.id.length || (a.id < b.id ? -1 : 1));
}

function listJobs(data: Data, filter: Parameters<Store["jobs"]>[0]): readonly JobRecord[] {
  const found: JobRecord[] = [];
  for (let at = data.jobIds.length - 1; at >= 0 && found.length < filter.limit; at--) {
    const id = data.jobIds[at] as JobId;
    if (filter.before !== undefined && id >= filter.before) continue;
    const job = data.tables.jobs.get(id) as JobRecord;
    if (filter.account !== undefined && (job.accountId !== filter.account || job.check !== undefined)) continue;
    if (filter.phase !== undefined && job.phase !== filter.phase) continue;
    found.push(job);
  }
  return found;
}

function listEvents(data: Data, filter: Parameters<Store["events"]>[0]): readonly StoredEvent[] {
  const events = filter.jobId === undefined ? data.events : (data.eventsOf.get(filter.jobId) ?? []);
  const found: StoredEvent[] = [];
  for (let at = firstAfter(events, (event) => event.seq, filter.after); at < events.length; at++) {
    if (found.length >= filter.limit) break;
    const event = events[at] as StoredEvent;
    if (filter.channels && !filter.channels.includes(event.channel)) continue;
    const { account } = filter;
    if (account !== undefined && event.accountId !== account && event.providerId !== account) continue;
    found.push(event);
  }
  return found;
}

function listRecoveries(data: Data, filter: Parameters<Store["recoveries"]>[0]): readonly StoredEvent[] {
  const { account, sinceWallMs, limit } = filter;
  const found = data.events.filter(
    ({ kind, wallMs, accountId }) =>
      kind === "resumed" && wallMs >= sinceWallMs && (account === undefined || accountId === account),
  );
  return found.toReversed().slice(0, limit);
}

function listTransfers(data: Data, filter: Parameters<Store["transfers"]>[0]): readonly StoredTransfer[] {
  const found: StoredTransfer[] = [];
  const before = filter.before === undefined ? undefined : (data.transferIndex.get(filter.before) ?? 0);
  for (let at = (before ?? data.transfers.length) - 1; at >= 0 && found.length < filter.limit; at--) {
    const transfer = data.transfers[at] as StoredTransfer;
    if (filter.jobId !== undefined && transfer.jobId !== filter.jobId) continue;
    const { accounts } = filter;
    if (accounts && !transfer.postings.some((posting) => accounts.includes(posting.account))) continue;
    found.push(transfer);
  }
  return found;
}

function listCases(data: Data, { kind, account, open, before, limit }: CaseFilter): readonly CaseRecord[] {
  const found = [...data.tables.cases.values()].filter(
    (each) =>
      each.kind === kind &&
      (account === undefined || each.parties.includes(account)) &&
      (open !== true || each.endedAtMs === null) &&
      (before === undefined || each.id < before),
  );
  return found.toSorted((a, b) => (a.id < b.id ? 1 : -1)).slice(0, limit);
}

function listBalances(
  data: Data,
  accounts: Parameters<Store["balances"]>[0],
  currency?: Currency,
): readonly BalanceRecord[] {
  const wanted = new Map(accounts.map((account, at) => [account as string, at]));
  const found = [...data.tables.balances.values()].filter(
    (row) => wanted.has(row.account) && (currency === undefined || row.currency === currency),
  );
  const rank = (row: BalanceRecord) => wanted.get(row.account) ?? 0;
  return found.sort((a, b) => rank(a) - rank(b) || (a.currency < b.currency ? -1 : 1));
}

function audit(data: Data): ReturnType<Store["audit"]> {
  const posted = data.transfers.flatMap(({ currency, postings }) =>
    postings.map((posting) => ({ ...posting, currency })),
  );
  return auditSums(posted, [...data.tables.balances.values()]);
}

// ── Small things ──

function createData(): Data {
  const tables = forEachTable<TableMaps>(() => new Map());
  const transfers: StoredTransfer[] = [];
  return {
    meta: null,
    clock: null,
    tables,
    jobIds: [],
    liveJobs: new Set(),
    attemptsOf: new Map(),
    standbysOf: new Map(),
    events: [],
    eventsOf: new Map(),
    transfers,
    transferIndex: new Map(),
    logs: [],
    logsOf: new Map(),
    logCursors: new Map(),
    logBytes: new Map(),
    accounts: createMemoryAccounts(transfers, (jobId) => tables.jobs.get(jobId)?.spec.name ?? null),
  };
}

function listOf<K, V>(lists: Map<K, V[]>, key: K): V[] {
  let list = lists.get(key);
  if (list === undefined) {
    list = [];
    lists.set(key, list);
  }
  return list;
}

function sorted<T>(rows: ReadonlyMap<string, T>): readonly T[] {
  return [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

/** Index of the first item whose number is above `after`; the numbers ascend. */
function firstAfter<T>(items: readonly T[], numberOf: (item: T) => number, after: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numberOf(items[middle] as T) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}
