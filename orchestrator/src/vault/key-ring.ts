// The keys that things at rest are encrypted under, each wrapped by the master key: a root for what is the orchestrator's own, and one for each consumer.
// A new master key wraps these anew, in one transaction; what they encrypt stays as it lies.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import BetterSqlite3 from "better-sqlite3";
import type { AccountId } from "@qubix/shared/domain";
import { QubixError } from "@qubix/shared/runtime";
import type { MasterKey } from "./master-key.ts";

/** The consumers' keys, as far as the chunk store needs them. */
export interface ConsumerKeys {
  /** The account's key; made, durably, at the first call. */
  ofConsumer(accountId: AccountId): Buffer;
  /** Whether this account has a key: what lies in its folder without one was not written under these keys. */
  hasConsumer(accountId: AccountId): boolean;
}

/** `derive` gives keys of the orchestrator itself; they outlive the master key. */
export interface KeyRing extends MasterKey, ConsumerKeys {
  /** Callable twice. */
  close(): void;
}

const FILE = "keys.db";
const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Accounts' names begin with `acc-`. */
const ROOT = "root";

export function hasKeyRing(dataDir: string): boolean {
  return existsSync(join(dataDir, FILE));
}

/** Throws `keys_lost` where there is none. */
export function needKeyRing(dataDir: string): void {
  if (hasKeyRing(dataDir)) return;
  throw new QubixError(
    "keys_lost",
    `There is no ${join(dataDir, FILE)}. Name the data directory of an orchestrator that ran before (--data-dir), or bring that file back from a backup.`,
    { category: "user" },
  );
}

/** Opens the ring in the data directory, or makes it where there is none. Throws `master_key_wrong`, `key_damaged`. */
export function openKeyRing(dataDir: string, master: MasterKey): KeyRing {
  const file = join(dataDir, FILE);
  const wrapping = wrappingKey(master);
  const db = openDatabase(file);
  try {
    const find = db.prepare("SELECT wrapped FROM keys WHERE name = ?").pluck();
    const insert = db.prepare("INSERT INTO keys (name, wrapped) VALUES (?, ?)");
    const known = new Map<string, Buffer>();
    const keyOf = (name: string): Buffer => {
      const cached = known.get(name);
      if (cached !== undefined) return cached;
      const wrapped = find.get(name) as Buffer | undefined;
      const key = wrapped === undefined ? randomBytes(KEY_BYTES) : unwrap(wrapping, name, wrapped);
      if (key === undefined) throw name === ROOT ? wrongMaster(file) : damaged(file, name);
      if (wrapped === undefined) insert.run(name, wrap(wrapping, name, key));
      known.set(name, key);
      return key;
    };
    const root = keyOf(ROOT);
    return {
      derive: (purpose, bytes) => Buffer.from(hkdfSync("sha256", root, "", `qubix ${purpose}`, bytes)),
      ofConsumer: keyOf,
      hasConsumer: (accountId) => known.has(accountId) || find.get(accountId) !== undefined,
      close: () => void db.close(),
    };
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Wraps every key of the ring under another master key: all of them or none. Done already: does nothing. The caller holds the lock of the data
 * directory. Returns how many keys there are. Throws `keys_lost`, `master_key_wrong`, `key_damaged`.
 */
export function rotateKeyRing(dataDir: string, from: MasterKey, to: MasterKey): number {
  needKeyRing(dataDir);
  const file = join(dataDir, FILE);
  const [before, after] = [wrappingKey(from), wrappingKey(to)];
  const db = openDatabase(file);
  try {
    const rows = () =>
      db.prepare("SELECT name, wrapped FROM keys ORDER BY name = ? DESC").all(ROOT) as readonly WrappedRow[];
    const update = db.prepare("UPDATE keys SET wrapped = ? WHERE name = ?");
    return db
      .transaction(() => {
        const all = rows();
        const root = all.find(({ name }) => name === ROOT);
        if (root !== undefined && unwrap(after, ROOT, root.wrapped) !== undefined) return all.length;
        for (const { name, wrapped } of all) {
          const key = unwrap(before, name, wrapped);
          if (key === undefined) throw name === ROOT ? wrongMaster(file) : damaged(file, name);
          update.run(wrap(after, name, key), name);
        }
        return all.length;
      })
      .immediate();
  } finally {
    db.close();
  }
}

interface WrappedRow {
  readonly name: string;
  readonly wrapped: Buffer;
}

/** A commit is on the disk when it returns, its folder's entry included; what it replaced is overwritten. */
function openDatabase(file: string): BetterSqlite3.Database {
  const db = new BetterSqlite3(file);
  db.pragma("journal_mode = DELETE");
  db.pragma("synchronous = EXTRA");
  db.pragma("fullfsync = 1");
  db.pragma("secure_delete = ON");
  db.exec("CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID");
  return db;
}

function wrappingKey(master: MasterKey): Buffer {
  return master.derive("key wrapping", KEY_BYTES);
}

/** The name is authenticated too: one account's key cannot be put in the place of another's. */
function wrap(wrapping: Buffer, name: string, key: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, wrapping, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(name));
  return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()]);
}

/** Undefined where it was not wrapped with this key under this name, or was changed. */
function unwrap(wrapping: Buffer, name: string, wrapped: Buffer): Buffer | undefined {
  if (wrapped.length !== NONCE_BYTES + KEY_BYTES + TAG_BYTES) return undefined;
  const nonce = wrapped.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(CIPHER, wrapping, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(name));
  decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function wrongMaster(file: string): QubixError {
  return new QubixError(
    "master_key_wrong",
    `The keys in ${file} are wrapped under another master key. Name the file of that key with --master-key-file; after rotate-key it is the new one. Without it the checkpoints and secrets that are stored here cannot be read.`,
    { category: "platform" },
  );
}

function damaged(file: string, name: string): QubixError {
  return new QubixError(
    "key_damaged",
    `The key of ${name} in ${file} is damaged. Bring the file back from a backup; the master key stays the one it is.`,
    { category: "platform" },
  );
}
