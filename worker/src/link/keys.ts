// The worker's Ed25519 key: made once at enrolment, kept in a file that only its owner can read, and never sent anywhere.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { QubixError } from "@qubix/shared/runtime";

export interface WorkerKey {
  /** Raw 32-byte public key, base64url. */
  readonly publicKey: string;
  /** Ed25519 signature of the text (UTF-8), base64url. */
  sign(text: string): string;
  /** The private key, raw (32 bytes): only for the node of the direct path, in this process, whose peer id this key is. */
  seed(): Uint8Array;
}

/** An Ed25519 public key in SPKI DER is this prefix and 32 raw bytes (RFC 8410). */
const SPKI_PREFIX_BYTES = 12;
const ED25519_SEED_BYTES = 32;

/** Makes a key and keeps it in `file` (mode 0600). */
export function createKey(file: string): WorkerKey {
  const { privateKey } = generateKeyPairSync("ed25519");
  writeKeyFile(file, privateKey);
  return toWorkerKey(privateKey);
}

/** Whole or not at all: half a key, left by a crash, would be refused at every start. */
export function writeKeyFile(file: string, key: KeyObject): void {
  const pem = key.export({ type: "pkcs8", format: "pem" });
  writeFileSync(`${file}.new`, pem, { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
}

/** Throws `key_unreadable`. */
export function loadKey(file: string): WorkerKey {
  try {
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyType !== "ed25519") throw new Error("not an Ed25519 key");
    return toWorkerKey(key);
  } catch (cause) {
    throw new QubixError(
      "key_unreadable",
      `Cannot read the worker's key ${file}: ${cause instanceof Error ? cause.message : String(cause)}. Enrol again into a new data directory if it is lost.`,
      { category: "provider", cause },
    );
  }
}

function toWorkerKey(key: KeyObject): WorkerKey {
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  return {
    publicKey: spki.subarray(SPKI_PREFIX_BYTES).toString("base64url"),
    sign: (text) => sign(null, Buffer.from(text), key).toString("base64url"),
    // The private key in PKCS #8 DER is a prefix and its 32 raw bytes (RFC 8410).
    seed: () => key.export({ type: "pkcs8", format: "der" }).subarray(-ED25519_SEED_BYTES),
  };
}
