// Ed25519 identities of benchmark workers.
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

const RAW_KEY_BYTES = 32;

export interface WorkerKey {
  /** Raw public key, base64url. */
  readonly publicKey: string;
  sign(text: string): string;
}

export function createWorkerKey(): WorkerKey {
  const pair: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync("ed25519");
  // The last 32 bytes of the SPKI encoding are the raw key.
  const encoded = pair.publicKey.export({ type: "spki", format: "der" });
  return {
    publicKey: encoded.subarray(encoded.length - RAW_KEY_BYTES).toString("base64url"),
    sign: (text) => sign(null, Buffer.from(text), pair.privateKey).toString("base64url"),
  };
}
