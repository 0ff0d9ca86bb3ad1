// A checkpoint as it lies on the disk, in a CAR file: ciphertext, for keeping elsewhere. The root is dag-cbor:
//
//   { version: 1, manifest: CID, pieces: [CID…] }
//
// Pieces and manifest are raw blocks, the stored files themselves. Of more pieces than fit into one block, `pieces` names dag-cbor lists of them instead.
import { code as CBOR_CODEC, encode as encodeCbor } from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { sha256 } from "multiformats/hashes/sha2";
import type { AccountId } from "@qubix/shared/domain";
import type { StoredBlocks, StoredCid } from "../checkpoints/index.ts";
import { QubixError } from "@qubix/shared/runtime";
import { type Block, writeCar } from "./car.ts";
import type { CarFile } from "./car-export.ts";

const VERSION = 1;
/** Of 41 bytes each: a block of 672 KB. What is larger than 1 MiB not every node takes. */
const PIECES_PER_BLOCK = 16_384;

/** The blocks that name the stored ones: the root comes first. `stored`: as {@link StoredBlocks.ofTree} gives it, the manifest first. */
export async function nameSealed(stored: readonly StoredCid[]): Promise<readonly [Block, ...Block[]]> {
  const [manifest, ...pieces] = stored.map((cid) => CID.parse(cid));
  const lists = pieces.length <= PIECES_PER_BLOCK ? [] : await Promise.all(parts(pieces).map(blockOf));
  const links = lists.length === 0 ? pieces : lists.map(({ cid }) => cid);
  return [await blockOf({ version: VERSION, manifest, pieces: links }), ...lists];
}

export async function buildSealedCar(
  accountId: AccountId,
  stored: readonly StoredCid[],
  blocks: Pick<StoredBlocks, "get">,
): Promise<CarFile> {
  const names = await nameSealed(stored);
  const root = names[0].cid;
  const all = async function* (): AsyncGenerator<Block, void, undefined> {
    yield* names;
    for (const cid of stored) {
      const bytes = await blocks.get(accountId, cid);
      if (bytes === undefined) throw lost(cid);
      yield { cid: CID.parse(cid), bytes };
    }
  };
  return { root, stream: () => writeCar(root, all()) };
}

function parts(pieces: readonly CID[]): readonly (readonly CID[])[] {
  const count = Math.ceil(pieces.length / PIECES_PER_BLOCK);
  return Array.from({ length: count }, (_, at) => pieces.slice(at * PIECES_PER_BLOCK, (at + 1) * PIECES_PER_BLOCK));
}

async function blockOf(value: unknown): Promise<Block> {
  const bytes = encodeCbor(value);
  return { cid: CID.createV1(CBOR_CODEC, await sha256.digest(bytes)), bytes };
}

/** A file that a tree names and that cannot be had. */
export function lost(cid: StoredCid): QubixError {
  return new QubixError("chunks_missing", `The file ${cid} is not on the orchestrator's disk any more.`, {
    category: "platform",
  });
}
