// Names of chunks: CIDv1, raw codec, sha2-256, base32. The name is a function of the bytes.
import { CID } from "multiformats/cid";
import type { ChunkCid } from "@qubix/shared/domain";

export { cidOf, cidOfSum } from "@qubix/shared/chunks";

/** The SHA-256 in a CID. */
export function sumOfCid(cid: ChunkCid): Uint8Array {
  return CID.parse(cid).multihash.digest;
}

/** SHA-256 in a thread of its own: for bytes that are many, so that the event loop goes on meanwhile. They must not change before it resolves. */
export async function sumInBackground(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
