// Names of chunks: CIDv1, raw codec, sha2-256, base32. The name is a function of the stored bytes.
import { createHash } from "node:crypto";
import { CID } from "multiformats/cid";
import * as digest from "multiformats/hashes/digest";
import type { ChunkCid } from "@qubix/shared/domain";

const RAW_CODEC = 0x55;
const SHA2_256 = 0x12;

/** The CID of these bytes. */
export function cidOf(bytes: Uint8Array): ChunkCid {
  const hash = createHash("sha256").update(bytes).digest();
  return CID.createV1(RAW_CODEC, digest.create(SHA2_256, hash)).toString() as ChunkCid;
}
