// The key that wraps those under which things at rest are encrypted: 32 random bytes in a file that only its owner can read. Whoever copies the data directory without
// it has names, not secrets; `--master-key-file` puts it elsewhere.
import { createHmac, hkdfSync, randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { QubixError } from "@qubix/shared/runtime";

export interface MasterKey {
  /** A key for one use, of this many bytes. */
  derive(purpose: string, bytes: number): Buffer;
}

const FILE = "master.key";
const KEY_BYTES = 32;
/** Others on the machine. */
const OTHERS = 0o077;

/** Where the key lies when nothing else is said. */
export function masterKeyFile(dataDir: string, named: string | undefined): string {
  return resolve(named ?? join(dataDir, FILE));
}

/** Reads the key, or makes it where there is none. Throws `master_key_unusable`. */
export function openMasterKey(file: string): MasterKey {
  const key = existsSync(file) ? read(file) : create(file);
  return { derive: (purpose, bytes) => Buffer.from(hkdfSync("sha256", key, "", `qubix ${purpose}`, bytes)) };
}

function read(file: string): Buffer {
  let text: string;
  try {
    if ((statSync(file).mode & OTHERS) !== 0) throw new Error("others may read it; chmod 600");
    text = readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw unusable(file, cause);
  }
  const key = Buffer.from(text, "base64url");
  if (key.length !== KEY_BYTES) throw unusable(file, new Error(`it holds no key of ${KEY_BYTES} bytes`));
  return key;
}

/** Whole or not at all, and durable before anything is encrypted under it. */
function create(file: string): Buffer {
  const key = randomBytes(KEY_BYTES);
  try {
    const fd = openSync(`${file}.new`, "w", 0o600);
    try {
      writeFileSync(fd, `${key.toString("base64url")}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(`${file}.new`, file);
    syncFolder(dirname(file));
  } catch (cause) {
    throw unusable(file, cause);
  }
  return key;
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A hash that tells two texts apart and lets nobody without the key try out what a text may be. */
export function createTextHash(master: MasterKey): (text: string) => string {
  const key = master.derive("request bodies", KEY_BYTES);
  return (text) => createHmac("sha256", key).update(text).digest("hex");
}

function unusable(file: string, cause: unknown): QubixError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new QubixError(
    "master_key_unusable",
    `Cannot use the master key ${file}: ${why}. Mend the file, or name another with --master-key-file; without it the secrets of waiting jobs cannot be read.`,
    { category: "platform", cause },
  );
}
