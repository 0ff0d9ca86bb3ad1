// A checkpoint's own files as UnixFS in a CAR file: any IPFS tool reads it. The root has to be in the header, so everything is built twice: once to learn
// it, and once more while it is sent.
import { importer, type ImportCandidate } from "ipfs-unixfs-importer";
import type { CID } from "multiformats/cid";
import type { TreeManifest } from "@qubix/shared/protocol";
import { type Block, writeCar } from "./car.ts";
import type { CarFile } from "./car-export.ts";
import { handOver } from "./handover.ts";

/** Bytes of one file of the tree. */
export type OpenFile = (path: string) => AsyncIterable<Uint8Array>;

/**
 * Of the IPFS community, for CIDs that all tools agree on: chunks of 1 MiB, raw leaves, CIDv1, 1024 links a node. Modes are left out, so that the CIDs are
 * those that anybody else gets for the same files.
 */
const PROFILE = "unixfs-v1-2025";

/** Learns the root; the stream then builds it anew. Rejects with what `open` throws. */
export async function buildPlainCar(manifest: TreeManifest, open: OpenFile, known?: CID): Promise<CarFile> {
  const root = known ?? (await build(manifest, open, async () => {}));
  const blocks = handOver<Block>(async (give) => void (await build(manifest, open, give)));
  return { root, stream: () => writeCar(root, blocks) };
}

async function build(manifest: TreeManifest, open: OpenFile, give: (block: Block) => Promise<void>): Promise<CID> {
  const store = {
    async put(cid: CID, bytes: Uint8Array): Promise<CID> {
      await give({ cid, bytes });
      return cid;
    },
  };
  let root: CID | undefined;
  // One at a time: else fifty files would be in memory at once.
  const bounds = { fileImportConcurrency: 1, blockWriteConcurrency: 1 };
  const options = { profile: PROFILE, wrapWithDirectory: true, ...bounds } as const;
  for await (const { cid } of importer(candidates(manifest, open), store, options)) root = cid;
  if (root === undefined) throw new Error("the importer made no root");
  return root;
}

function* candidates(manifest: TreeManifest, open: OpenFile): Iterable<ImportCandidate> {
  for (const { kind, path } of manifest.entries) {
    yield kind === "file" ? { path, content: open(path) } : { path };
  }
}
