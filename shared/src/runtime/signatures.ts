// Ed25519 signatures of workers: a raw public key of 32 bytes, base64url, as it was enrolled.
import { createPublicKey, verify } from "node:crypto";

/** SubjectPublicKeyInfo of an Ed25519 key (RFC 8410) up to the key itself. */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const RAW_KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/** False for a wrong signature and for anything that is not a key or a signature at all. */
export function verifySignature(publicKey: string, text: string, signature: string): boolean {
  const raw = Buffer.from(publicKey, "base64url");
  const bytes = Buffer.from(signature, "base64url");
  if (raw.length !== RAW_KEY_BYTES || bytes.length !== SIGNATURE_BYTES) return false;
  try {
    const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: "der", type: "spki" });
    return verify(null, Buffer.from(text, "utf8"), key, bytes);
  } catch {
    return false;
  }
}
