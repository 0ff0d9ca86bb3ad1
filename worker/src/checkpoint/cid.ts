// Names of chunks: CIDv1, raw codec, sha2-256, base32. The name is that of the stored bytes, so an IPFS node can serve them as they lie. Written out here,
// because threads begin with this file: the library that reads every kind of CID takes them 20 ms to load.
import { hash, webcrypto } from "node:crypto";
import type { ChunkCid } from "@qubix/shared/domain";

/** Version 1; codec raw; multihash sha2-256, 32 bytes long. */
const PREFIX = [0x01, 0x55, 0x12, 0x20];
const MULTIBASE_BASE32 = "b";
/** RFC 4648, lower case, not padded. */
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const BITS = 5;

export function cidOf(bytes: Uint8Array): ChunkCid {
  return cidOfDigest(hash("sha256", bytes, "buffer"));
}

/** Whether this is the name of these bytes; computed beside the main thread, which has lines to serve. */
export async function isNamed(cid: ChunkCid, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  return cidOfDigest(new Uint8Array(await webcrypto.subtle.digest("SHA-256", bytes))) === cid;
}

function cidOfDigest(digest: Uint8Array): ChunkCid {
  let text = MULTIBASE_BASE32;
  let bits = 0;
  let held = 0;
  for (const byte of [...PREFIX, ...digest]) {
    held = ((held << 8) | byte) & 0xfff;
    for (bits += 8; bits >= BITS; bits -= BITS) text += ALPHABET[(held >>> (bits - BITS)) & 0x1f];
  }
  if (bits > 0) text += ALPHABET[(held << (BITS - bits)) & 0x1f];
  return text as ChunkCid;
}
