// The parts of secrets put together for an agent: where they lie, the key they are sealed to, and whether jobs that need them can be offered a place.
import type { SealingKey } from "@qubix/shared/protocol";
import type { Logger } from "@qubix/shared/runtime";
import type { WorkerKey } from "../link/keys.ts";
import { makeMemoryFolder, memoryFolderCandidates } from "./memory-folder.ts";
import { loadSealingKey, signedSealingKey } from "./sealing-key.ts";
import { createNoSecretStore, createSecretStore, type SecretStore } from "./secret-store.ts";
import { swapsFound } from "./swap.ts";

export interface Secrets {
  readonly store: SecretStore;
  /** Undefined where there is no folder in memory: then none can be taken. */
  readonly sealingKey: SealingKey | undefined;
}

export interface SecretsInput {
  readonly dataDir: string;
  readonly workerId: string;
  readonly orchestratorId: string;
  readonly key: WorkerKey;
  readonly logger: Logger;
}

/** Throws `key_unreadable`. */
export function openSecrets({ dataDir, workerId, orchestratorId, key, logger }: SecretsInput): Secrets {
  const folder = makeMemoryFolder(memoryFolderCandidates(process.env), secretsFolderName(workerId));
  if (folder === undefined) {
    logger.warn({ event: "secrets_unavailable" }, "no folder lies in memory: jobs with secrets are not taken");
    return { store: createNoSecretStore(logger), sealingKey: undefined };
  }
  if (swapsFound()) logger.info({ event: "secrets_may_swap" }, "memory with secrets may be written to swap");
  const sealingKey = loadSealingKey(dataDir);
  return {
    store: createSecretStore({ folder, key: sealingKey, orchestratorId, workerId, logger }),
    sealingKey: signedSealingKey(sealingKey, workerId, key),
  };
}

export function secretsFolderName(workerId: string): string {
  return `qubix-${workerId}`;
}
