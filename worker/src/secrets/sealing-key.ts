// The worker's X25519 key, to which secrets are sealed: made at the first start, kept in a file that only its owner can read.
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type SealingKey, sealingKeyText } from "@qubix/shared/protocol";
import { QubixError, rawSealingKey } from "@qubix/shared/runtime";
import type { WorkerKey } from "../link/keys.ts";
import { writeKeyFile } from "../link/keys.ts";

const FILE = "sealing-key.pem";

/** Reads the key, or makes it. Throws `key_unreadable`. */
export function loadSealingKey(dataDir: string): KeyObject {
  const file = join(dataDir, FILE);
  if (!existsSync(file)) {
    const { privateKey } = generateKeyPairSync("x25519");
    writeKeyFile(file, privateKey);
    return privateKey;
  }
  try {
    const key = createPrivateKey(readFileSync(file));
    rawSealingKey(key);
    return key;
  } catch (cause) {
    throw new QubixError(
      "key_unreadable",
      `Cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}. Mend its permissions, or delete it: the next start makes another, and only secrets that are on their way are lost.`,
      { category: "provider", cause },
    );
  }
}

/** As it is told to the orchestrator, signed by the key the worker was enrolled with. */
export function signedSealingKey(sealingKey: KeyObject, workerId: string, key: WorkerKey): SealingKey {
  const publicKey = rawSealingKey(sealingKey);
  return { publicKey, signature: key.sign(sealingKeyText(workerId, publicKey)) };
}
