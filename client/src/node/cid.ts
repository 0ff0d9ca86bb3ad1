// Chunk ids: CIDv1, raw codec, sha2-256, in base32 (multiformats.io/cid): the bytes 01 55 12 20 and the digest.
import { createHash } from "node:crypto";

const CID_PREFIX = Uint8Array.of(0x01, 0x55, 0x12, 0x20);
/** RFC 4648, lower case, no padding; multibase prefix `b`. */
const BASE32_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

/** The id under which these bytes are stored. */
export function cidOf(bytes: Uint8Array): string {
  const digest = createHash("sha256").update(bytes).digest();
  return `b${base32(Buffer.concat([CID_PREFIX, digest]))}`;
}

function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32_ALPHABET[(value >> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + BASE32_ALPHABET[(value << (5 - bits)) & 31] : text;
}
