// From the files an operator names to the keys: opened at the start, and put under another master key while the orchestrator is stopped.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { QubixError } from "@qubix/shared/runtime";
import { hasKeyRing, type KeyRing, openKeyRing, rotateKeyRing } from "./key-ring.ts";
import { masterKeyFile, openMasterKey } from "./master-key.ts";

/** Opens the keys of a data directory; the first time of all it makes them. Throws `master_key_unusable`, `master_key_wrong`, `key_damaged`. */
export function openKeys(dataDir: string, masterKey: string | undefined): KeyRing {
  const file = masterKeyFile(dataDir, masterKey);
  if (hasKeyRing(dataDir)) needFile(file);
  return openKeyRing(dataDir, openMasterKey(file));
}

export interface Rotation {
  /** How many keys are under the new master key now. */
  readonly keys: number;
  readonly from: string;
  readonly to: string;
}

/**
 * Wraps the keys of a data directory under the master key in `newFile`, which is made where there is none. Whenever it is killed, either the old master
 * key opens all of them or the new one does; then it is to be called again. The caller holds the directory's lock.
 */
export function rotateKeys(dataDir: string, masterKey: string | undefined, newFile: string): Rotation {
  const from = masterKeyFile(dataDir, masterKey);
  const to = resolve(newFile);
  needFile(from);
  if (from === to) {
    throw new QubixError("master_key_unusable", `${to} is the master key in use; name another file for the new one.`, {
      category: "user",
    });
  }
  return { keys: rotateKeyRing(dataDir, openMasterKey(from), openMasterKey(to)), from, to };
}

/** A missing file must not become a new key: nothing would be readable under it. */
function needFile(file: string): void {
  if (existsSync(file)) return;
  throw new QubixError(
    "master_key_unusable",
    `There is no master key ${file}, and what is stored here was encrypted under one. Bring the file back, or name it with --master-key-file.`,
    { category: "platform" },
  );
}
