// The outbox on disk: what shall happen on a chain, and every signed try of it, durable before it is sent. SQLite with full durability; one process at a time.
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { QubixError } from "@qubix/shared/runtime";
import type { Intent, Prepared } from "../port/intents.ts";

/** queued: nothing is signed. signed: may be on its way. applied, refused: final on the chain. */
export type IntentPhase = "queued" | "signed" | "applied" | "refused";

export interface StoredIntent {
  readonly id: string;
  readonly intent: Intent;
  readonly phase: IntentPhase;
  /** Every try, the newest last. */
  readonly tries: readonly Prepared[];
}

export type OutboxCounts = Readonly<Record<Exclude<IntentPhase, "applied">, number>>;

export interface OutboxStore {
  /** Whether it is new. Throws `intent_differs` where the id is known with another content. */
  add(id: string, intent: Intent): boolean;
  get(id: string): StoredIntent | undefined;
  /** How many there are in each phase that somebody may have to look at. */
  counts(): OutboxCounts;
  /** Those that are not final, oldest first. */
  open(limit: number): readonly StoredIntent[];
  /** The try with the highest place. */
  last(): Prepared | null;
  keep(id: string, prepared: Prepared): void;
  /** Forgets tries that can never be included. */
  reset(id: string): void;
  finish(id: string, phase: "applied" | "refused"): void;
  /** How far something was read; `null` before the first time. */
  mark(name: string): number | null;
  setMark(name: string, place: number): void;
  /** Why it stopped; `null` while it goes on. */
  halted(): string | null;
  halt(message: string | null): void;
  close(): void;
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS intents (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL,
  phase TEXT NOT NULL CHECK (phase IN ('queued', 'signed', 'applied', 'refused'))
) STRICT;
CREATE INDEX IF NOT EXISTS intents_open ON intents (seq) WHERE phase IN ('queued', 'signed');
CREATE INDEX IF NOT EXISTS intents_refused ON intents (phase) WHERE phase = 'refused';
CREATE TABLE IF NOT EXISTS tries (
  intent_seq INTEGER NOT NULL REFERENCES intents (seq),
  n INTEGER NOT NULL,
  raw TEXT NOT NULL,
  hash TEXT NOT NULL,
  place INTEGER NOT NULL,
  fee TEXT NOT NULL,
  PRIMARY KEY (intent_seq, n)
) STRICT;
CREATE INDEX IF NOT EXISTS tries_by_place ON tries (place);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS halt (message TEXT NOT NULL) STRICT;
`;

/** Opens the file, or makes it. Throws `outbox_in_use` while another process has it: two signers would take each other's places. */
export function openOutbox(file: string): OutboxStore {
  const db = new DatabaseSync(file);
  try {
    db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    db.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
  } catch (cause) {
    db.close();
    if (!/locked|busy/i.test((cause as Error).message)) throw cause;
    const message = `The outbox ${file} is in use by another process. Stop that one first: two signers would take each other's places.`;
    throw new QubixError("outbox_in_use", message, { category: "conflict", cause });
  }
  const sql = {
    add: db.prepare("INSERT INTO intents (id, body, phase) VALUES (?, ?, 'queued') ON CONFLICT (id) DO NOTHING"),
    get: db.prepare("SELECT seq, id, body, phase FROM intents WHERE id = ?"),
    open: db.prepare(
      "SELECT seq, id, body, phase FROM intents WHERE phase IN ('queued', 'signed') ORDER BY seq LIMIT ?",
    ),
    counts: db.prepare(
      `SELECT phase, count(*) AS n FROM intents WHERE phase IN ('queued', 'signed') GROUP BY phase
       UNION ALL SELECT 'refused', count(*) FROM intents WHERE phase = 'refused'`,
    ),
    tries: db.prepare("SELECT raw, hash, place, fee FROM tries WHERE intent_seq = ? ORDER BY n"),
    last: db.prepare("SELECT raw, hash, place, fee FROM tries ORDER BY place DESC, n DESC LIMIT 1"),
    keep: db.prepare(
      "INSERT INTO tries SELECT seq, (SELECT count(*) FROM tries WHERE intent_seq = seq), ?, ?, ?, ? FROM intents WHERE id = ?",
    ),
    forget: db.prepare("DELETE FROM tries WHERE intent_seq = (SELECT seq FROM intents WHERE id = ?)"),
    phase: db.prepare("UPDATE intents SET phase = ? WHERE id = ?"),
    mark: db.prepare("SELECT place FROM marks WHERE name = ?"),
    setMark: db.prepare("INSERT INTO marks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET place = excluded.place"),
    halted: db.prepare("SELECT message FROM halt LIMIT 1"),
    halt: db.prepare("INSERT INTO halt VALUES (?)"),
    unhalt: db.prepare("DELETE FROM halt"),
  };
  const together = (work: () => void) => {
    db.exec("BEGIN IMMEDIATE");
    try {
      work();
      db.exec("COMMIT");
    } catch (error) {
      db.exec("ROLLBACK");
      throw error;
    }
  };
  const full = (row: Row): StoredIntent => ({
    id: String(row["id"]),
    intent: readBody(String(row["body"])),
    phase: String(row["phase"]) as IntentPhase,
    tries: sql.tries.all(Number(row["seq"])).map(preparedOf),
  });

  return {
    add(id, intent) {
      const body = bodyOf(intent);
      if (sql.add.run(id, body).changes > 0) return true;
      if (sql.get.get(id)?.["body"] === body) return false;
      const message = `There is an intent ${id} already, and it is another one.`;
      throw new QubixError("intent_differs", message, { category: "conflict" });
    },
    get(id) {
      const row = sql.get.get(id);
      return row === undefined ? undefined : full(row);
    },
    counts() {
      const counts = { queued: 0, signed: 0, refused: 0 };
      for (const { phase, n } of sql.counts.all()) counts[String(phase) as keyof OutboxCounts] = Number(n);
      return counts;
    },
    open: (limit) => sql.open.all(limit).map(full),
    last() {
      const row = sql.last.get();
      return row === undefined ? null : preparedOf(row);
    },
    keep(id, { raw, hash, place, fee }) {
      together(() => {
        sql.keep.run(raw, hash, place, fee.toString(), id);
        sql.phase.run("signed", id);
      });
    },
    reset(id) {
      together(() => {
        sql.forget.run(id);
        sql.phase.run("queued", id);
      });
    },
    finish: (id, phase) => void sql.phase.run(phase, id),
    mark(name) {
      const row = sql.mark.get(name);
      return row === undefined ? null : Number(row["place"]);
    },
    setMark: (name, place) => void sql.setMark.run(name, place),
    halted: () => (sql.halted.get()?.["message"] as string | undefined) ?? null,
    halt(message) {
      together(() => {
        sql.unhalt.run();
        if (message !== null) sql.halt.run(message);
      });
    },
    close: () => db.close(),
  };
}

type Row = Record<string, SQLOutputValue>;

function preparedOf(row: Row): Prepared {
  return {
    raw: String(row["raw"]),
    hash: String(row["hash"]),
    place: Number(row["place"]),
    fee: BigInt(String(row["fee"])),
  };
}

/** Amounts as decimal strings under a name of their own: JSON has no integers of that size. */
function bodyOf(intent: Intent): string {
  return JSON.stringify(intent, (_key, value: unknown) =>
    typeof value === "bigint" ? { units: value.toString() } : value,
  );
}

function readBody(body: string): Intent {
  return JSON.parse(body, (_key, value: unknown) =>
    typeof value === "object" && value !== null && "units" in value ? BigInt(String(value.units)) : value,
  ) as Intent;
}
