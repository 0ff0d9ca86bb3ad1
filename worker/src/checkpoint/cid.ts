// Names of chunks: CIDv1, raw codec, sha2-256, base32. The name is that of the stored bytes, so an IPFS node can serve them as they lie.
import { createHash, webcrypto } from "node:crypto";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { create as createDigest } from "multiformats/hashes/digest";
import type { ChunkCid } from "@qubix/shared/domain";

/** Multihash code of sha2-256. */
const SHA2_256 = 0x12;

export function cidOf(bytes: Uint8Array): ChunkCid {
  return cidOfDigest(createHash("sha256").update(bytes).digest());
}

/** Whether this is the name of these bytes; computed beside the main thread, which has lines to serve. */
export async function isNamed(cid: ChunkCid, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  return cidOfDigest(new Uint8Array(await webcrypto.subtle.digest("SHA-256", bytes))) === cid;
}

function cidOfDigest(digest: Uint8Array): ChunkCid {
  return CID.createV1(raw.code, createDigest(SHA2_256, digest)).toString() as ChunkCid;
}
