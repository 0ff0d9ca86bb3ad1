// CAR files, version 1: a header that names the root, then blocks, each after its length and its CID. https://ipld.io/specs/transport/car/carv1/
import { encode as encodeCbor } from "@ipld/dag-cbor";
import { varint } from "multiformats";
import type { CID } from "multiformats/cid";

export interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** The bytes of the file, as they are read; one block is in memory at a time. */
export async function* writeCar(root: CID, blocks: AsyncIterable<Block>): AsyncGenerator<Uint8Array, void, undefined> {
  const header = encodeCbor({ roots: [root], version: 1 });
  yield lengthOf(header.length);
  yield header;
  for await (const { cid, bytes } of blocks) {
    yield lengthOf(cid.bytes.length + bytes.length);
    yield cid.bytes;
    yield bytes;
  }
}

function lengthOf(bytes: number): Uint8Array {
  return varint.encodeTo(bytes, new Uint8Array(varint.encodingLength(bytes)));
}
