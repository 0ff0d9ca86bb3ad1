// `qubix-orchestrator rotate-key`: another master key, while the orchestrator is stopped.
import { lockDataDir } from "../store/index.ts";
import { needKeyRing, rotateKeys, type Rotation } from "../vault/index.ts";

export interface RotateOptions {
  readonly dataDir: string;
  readonly masterKeyFile?: string | undefined;
  readonly newMasterKeyFile: string;
}

/** Throws `data_dir_in_use` while an orchestrator runs, and what {@link rotateKeys} throws. */
export function rotateKey({ dataDir, masterKeyFile, newMasterKeyFile }: RotateOptions): Rotation {
  needKeyRing(dataDir);
  const lock = lockDataDir(dataDir);
  try {
    return rotateKeys(dataDir, masterKeyFile, newMasterKeyFile);
  } finally {
    lock.close();
  }
}
