// The tables of the SQLite store and how a database of an older version becomes one of today's.
import type BetterSqlite3 from "better-sqlite3";
import { assert, QubixError } from "@qubix/shared/runtime";
import { accountBlockTables } from "./account-blocks.ts";
import { accountTables } from "./accounts.ts";

/** "QBIX": marks the file as ours, so that a foreign database is refused instead of changed. */
const APPLICATION_ID = 0x51424958;

const appendOnly = (table: string) => `
CREATE TRIGGER ${table}_no_update BEFORE UPDATE ON ${table} BEGIN SELECT RAISE(ABORT, '${table} is append-only'); END;
CREATE TRIGGER ${table}_no_delete BEFORE DELETE ON ${table} BEGIN SELECT RAISE(ABORT, '${table} is append-only'); END;`;

/** A row is written once: REPLACE would put another in its place without asking the triggers above. */
const onceOnly = (table: string, same: string) => `
CREATE TRIGGER ${table}_once BEFORE INSERT ON ${table} WHEN EXISTS (SELECT 1 FROM ${table} WHERE ${same})
BEGIN SELECT RAISE(ABORT, '${table} is append-only'); END;`;

const keyed = (table: string) =>
  `CREATE TABLE ${table} (key TEXT PRIMARY KEY, data TEXT NOT NULL CHECK (json_valid(data))) STRICT, WITHOUT ROWID;`;

/** One string per version, never edited once released; the last one leads to the newest. */
export const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), data TEXT NOT NULL) STRICT;
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), boot_id TEXT NOT NULL, offset_ms INTEGER NOT NULL) STRICT;
${["accounts", "api_keys", "enrolments", "workers", "uploads", "idempotency"].map(keyed).join("\n")}

-- A job's specification never changes: it is written once, beside the record that changes often.
CREATE TABLE job_specs (job_id TEXT PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- ended_phase is null until the job ends: what happens to a living job touches no index.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  ended_phase TEXT CHECK (ended_phase IN ('succeeded','failed','cancelled')),
  data TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_account ON jobs (account_id, id);
CREATE INDEX jobs_live ON jobs (id) WHERE ended_phase IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_phase, id) WHERE ended_phase IS NOT NULL;
CREATE INDEX jobs_ended_by_account ON jobs (account_id, ended_phase, id) WHERE ended_phase IS NOT NULL;

-- Keys are JOB/REPLICA/EPOCH and JOB/sN: a job's own are a range of keys.
CREATE TABLE attempts (id TEXT PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE standbys (id TEXT PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE balances (
  account TEXT NOT NULL,
  currency TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK (amount >= 0 OR account LIKE 'external:%'),
  PRIMARY KEY (account, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE transfers (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('deposit','hold','settlement')),
  job_id TEXT,
  currency TEXT NOT NULL,
  memo TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX transfers_by_job ON transfers (job_id) WHERE job_id IS NOT NULL;
CREATE TABLE postings (
  transfer_seq INTEGER NOT NULL REFERENCES transfers (seq),
  n INTEGER NOT NULL CHECK (n >= 0),
  account TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (transfer_seq, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX postings_by_account ON postings (account, transfer_seq);

CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL,
  channel TEXT NOT NULL CHECK (channel IN ('jobs','offers','workers','wallet','system')),
  kind TEXT NOT NULL,
  account_id TEXT,
  provider_id TEXT,
  job_id TEXT,
  worker_id TEXT,
  data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_job ON events (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX events_by_account ON events (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX events_by_provider ON events (provider_id) WHERE provider_id IS NOT NULL;

CREATE TABLE logs (
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  replica INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  stream TEXT NOT NULL CHECK (stream IN ('stdout','stderr','marker')),
  offset INTEGER NOT NULL CHECK (offset >= 0),
  text TEXT NOT NULL,
  time TEXT NOT NULL
) STRICT;
CREATE INDEX logs_by_job ON logs (job_id);
-- Where each stream stands and how much of it is kept, so that a start need not read the texts.
CREATE TABLE log_cursors (
  attempt_id TEXT NOT NULL,
  stream TEXT NOT NULL,
  next INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, stream)
) STRICT, WITHOUT ROWID;
${["transfers", "postings", "events"].map(appendOnly).join("")}`,
  `
-- Statistics of recoveries look at these few alone.
CREATE INDEX events_resumed ON events (seq, wall_ms, account_id) WHERE kind = 'resumed';`,
  `
-- More kinds of transfers than a CHECK could be taught in place.
CREATE TABLE transfers_3 (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN
    ('deposit','hold','settlement','release','freeze','resolution','stake','unstake','slash','payout','check','adjustment')),
  -- Of a transfer in two phases. What ends one bears the id of what began it and "/end": so it ends once.
  step TEXT CHECK (step IN ('reserve','post','void')),
  job_id TEXT,
  currency TEXT NOT NULL,
  memo TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL
) STRICT;
INSERT INTO transfers_3 SELECT seq, id, kind, NULL, job_id, currency, memo, at_ms, wall_ms FROM transfers;
DROP TABLE transfers;
ALTER TABLE transfers_3 RENAME TO transfers;
-- A job's hold and settlement are found by their ids, JOB/hold and JOB/end: only what else there is of a job needs a place here.
CREATE INDEX transfers_by_job ON transfers (job_id) WHERE job_id IS NOT NULL AND id NOT GLOB 'job-*/*';
${appendOnly("transfers")}${onceOnly("transfers", "id = NEW.id OR seq = NEW.seq")}
CREATE TABLE postings_3 (
  transfer_seq INTEGER NOT NULL REFERENCES transfers (seq),
  n INTEGER NOT NULL CHECK (n >= 0),
  account TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK (amount <> 0),
  PRIMARY KEY (transfer_seq, n)
) STRICT, WITHOUT ROWID;
INSERT INTO postings_3 SELECT transfer_seq, n, account, amount FROM postings;
DROP TABLE postings;
ALTER TABLE postings_3 RENAME TO postings;
-- What is set aside is found by its job or id: most postings of jobs need no place here.
CREATE INDEX postings_by_account ON postings (account, transfer_seq)
  WHERE account NOT GLOB 'escrow:*' AND account NOT GLOB 'reserved:*';
${appendOnly("postings")}${onceOnly("postings", "transfer_seq = NEW.transfer_seq AND n = NEW.n")}
${["reservations", "releases", "chain_pays", "payout_addresses", "deposit_addresses", "payouts", "budgets", "spending", "verifications"].map(keyed).join("\n")}
CREATE INDEX payouts_open ON payouts (key) WHERE data ->> '$.phase' = 'requested';
CREATE INDEX payouts_by_account ON payouts (data ->> '$.accountId', key);
CREATE INDEX verifications_open ON verifications (key) WHERE json_extract(data, '$.decidedAtMs') IS NULL;
-- Ratings, disputes, slashes, unstakes; the core needs those that are open.
CREATE TABLE cases (id TEXT PRIMARY KEY, kind TEXT NOT NULL, open INTEGER NOT NULL CHECK (open IN (0, 1)), data TEXT NOT NULL CHECK (json_valid(data))) STRICT, WITHOUT ROWID;
CREATE INDEX cases_by_kind ON cases (kind, id);
CREATE INDEX cases_open ON cases (kind, id) WHERE open = 1;
CREATE TABLE case_parties (account_id TEXT NOT NULL, kind TEXT NOT NULL, case_id TEXT NOT NULL REFERENCES cases (id), PRIMARY KEY (account_id, kind, case_id)) STRICT, WITHOUT ROWID;
${accountTables(appendOnly, onceOnly)}`,
  accountBlockTables(appendOnly),
];

export const SCHEMA_VERSION = MIGRATIONS.length;

/**
 * Brings the database to the newest version, in one transaction: after a crash it is either the old one or the new one.
 * `migrations` are others only in tests. Throws `schema_newer` for a database that a later version made, `database_foreign` for one that is not ours; both stay untouched.
 */
export function migrate(db: BetterSqlite3.Database, path: string, migrations: readonly string[] = MIGRATIONS): void {
  const newest = migrations.length;
  const version = db.pragma("user_version", { simple: true }) as number;
  const application = db.pragma("application_id", { simple: true }) as number;
  const tables = db.prepare("SELECT count(*) AS n FROM sqlite_schema").get() as { readonly n: number };
  if (application !== APPLICATION_ID && tables.n > 0) {
    throw new QubixError(
      "database_foreign",
      `${path} is a database, but not one of Qubix. Name another data directory.`,
      { category: "user" },
    );
  }
  if (version > newest) {
    throw new QubixError(
      "schema_newer",
      `${path} was written by a newer Qubix (schema ${version}; this program knows up to ${newest}). Start the newer version, or name another data directory; nothing was changed.`,
      { category: "user" },
    );
  }
  if (version === newest) return;
  // A table that others refer to can only be made anew without their references being watched; what came of it is checked before it counts.
  const foreignKeys = db.pragma("foreign_keys", { simple: true }) as number;
  db.pragma("foreign_keys = OFF");
  try {
    db.transaction(() => {
      for (const sql of migrations.slice(version)) db.exec(sql);
      const broken = db.pragma("foreign_key_check") as readonly unknown[];
      assert(broken.length === 0, `${path}: ${broken.length} references would lead nowhere; nothing was changed`);
      db.pragma(`application_id = ${APPLICATION_ID}`);
      db.pragma(`user_version = ${newest}`);
    }).immediate();
  } finally {
    db.pragma(`foreign_keys = ${foreignKeys}`);
  }
}
