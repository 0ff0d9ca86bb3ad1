// Sums of plain pieces: whether bytes that were decoded, or that still lie on a disk, are those that were saved. A sum is the GMAC of the bytes (AES-128-GCM
// without text, NIST SP 800-38D) under a key that everybody knows: whatever becomes of the bytes by accident goes unnoticed once in 2^128, and it takes a
// twelfth of the time of SHA-256. It keeps nobody from making other bytes with the same sum on purpose. What comes from elsewhere is told by names, which
// are SHA-256 of stored bytes; with the bytes behind a sum only the job that wrote them could do so, and would deceive itself alone.
import { createCipheriv, createSecretKey } from "node:crypto";

const CIPHER = "aes-128-gcm";
const KEY = createSecretKey(new Uint8Array(16));
const NONCE = new Uint8Array(12);
const TAG_BYTES = 16;

/** As a manifest has it: base64url. */
export function sumOf(plain: Uint8Array): string {
  const mac = createCipheriv(CIPHER, KEY, NONCE, { authTagLength: TAG_BYTES });
  mac.setAAD(plain);
  mac.final();
  return mac.getAuthTag().toString("base64url");
}
