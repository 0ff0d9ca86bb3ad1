// Names of chunks: CIDv1, raw codec, sha2-256, base32. The name is a function of the bytes.
import { createHash } from "node:crypto";
import { CID } from "multiformats/cid";
import * as digest from "multiformats/hashes/digest";
import type { ChunkCid } from "@qubix/shared/domain";

const RAW_CODEC = 0x55;
const SHA2_256 = 0x12;

/** The CID of these bytes. */
export function cidOf(bytes: Uint8Array): ChunkCid {
  return cidOfSum(createHash("sha256").update(bytes).digest());
}

/** The CID of bytes with this SHA-256. */
export function cidOfSum(sum: Uint8Array): ChunkCid {
  return CID.createV1(RAW_CODEC, digest.create(SHA2_256, sum)).toString() as ChunkCid;
}

/** The SHA-256 in a CID. */
export function sumOfCid(cid: ChunkCid): Uint8Array {
  return CID.parse(cid).multihash.digest;
}

/** SHA-256 in a thread of its own: for bytes that are many, so that the event loop goes on meanwhile. They must not change before it resolves. */
export async function sumInBackground(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
