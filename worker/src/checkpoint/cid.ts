// Names of chunks: CIDv1, raw codec, sha2-256, base32. The name is that of the stored bytes, so an IPFS node can serve them as they lie.
import { createHash } from "node:crypto";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { create as createDigest } from "multiformats/hashes/digest";
import type { ChunkCid } from "@qubix/shared/domain";

/** Multihash code of sha2-256. */
const SHA2_256 = 0x12;

export function cidOf(bytes: Uint8Array): ChunkCid {
  const digest = createDigest(SHA2_256, createHash("sha256").update(bytes).digest());
  return CID.createV1(raw.code, digest).toString() as ChunkCid;
}
