// Names of chunks: CIDv1, raw codec, sha2-256, base32, so that an IPFS node can serve them as they lie. Written out here, because threads begin with it:
// the library that reads every kind of CID takes them 20 ms to load.
import { hash } from "node:crypto";
import type { ChunkCid } from "../domain/ids.ts";

/** Version 1; codec raw; multihash sha2-256, 32 bytes long. */
const PREFIX = [0x01, 0x55, 0x12, 0x20];
const MULTIBASE_BASE32 = "b";
/** RFC 4648, lower case, not padded. */
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const DIGIT_BITS = 5;
const DIGIT_MASK = 0x1f;

/** The name of these bytes. */
export function cidOf(bytes: Uint8Array): ChunkCid {
  return cidOfSum(hash("sha256", bytes, "buffer"));
}

/** The name of bytes with this SHA-256. */
export function cidOfSum(sum: Uint8Array): ChunkCid {
  let text = MULTIBASE_BASE32;
  let bits = 0;
  let held = 0;
  for (const byte of [...PREFIX, ...sum]) {
    held = ((held << 8) | byte) & 0xfff;
    for (bits += 8; bits >= DIGIT_BITS; bits -= DIGIT_BITS) {
      text += ALPHABET[(held >>> (bits - DIGIT_BITS)) & DIGIT_MASK];
    }
  }
  if (bits > 0) text += ALPHABET[(held << (DIGIT_BITS - bits)) & DIGIT_MASK];
  return text as ChunkCid;
}
