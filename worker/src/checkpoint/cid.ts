// Names of chunks, for bytes that came over a line.
import { webcrypto } from "node:crypto";
import { cidOfSum } from "@qubix/shared/chunks";
import type { ChunkCid } from "@qubix/shared/domain";

/** Whether this is the name of these bytes; computed beside the main thread, which has lines to serve. */
export async function isNamed(cid: ChunkCid, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  return cidOfSum(new Uint8Array(await webcrypto.subtle.digest("SHA-256", bytes))) === cid;
}
