// The chunk store's port: content-addressed pieces, apart for each consumer, and the trees (checkpoints, outputs, uploads) that keep them.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { TreeManifest, TreeRef } from "@qubix/shared/protocol";

/** Whose tree it is: a job's id, or `upload`. */
export type TreeHolder = string;
export const UPLOAD_HOLDER: TreeHolder = "upload";

declare const stored: unique symbol;
/** CIDv1 (raw codec, sha2-256, base32) of the file a chunk lies in: of ciphertext. */
export type StoredCid = string & { readonly [stored]: true };

/** Asks others for a file that was lost or changed here; undefined where none has it. What it gives is checked. Does not reject. */
export type FetchLost = (stored: StoredCid) => Promise<Uint8Array | undefined>;

export interface StoredUsage {
  /** Of ciphertext, in all trees. */
  readonly bytes: number;
  readonly bytesMax: number;
}

/** The files as they lie, for whoever serves or copies them without being able to read them. */
export interface StoredBlocks {
  /** Checked against its name; fetched from elsewhere where it was lost here. Rejects with `chunk_damaged`; undefined where it cannot be had. */
  get(accountId: AccountId, stored: StoredCid): Promise<Buffer | undefined>;
  /** Whose it is, of what lies here as large as it should be. */
  find(stored: StoredCid): { readonly accountId: AccountId; readonly bytes: number } | undefined;
  /** What a tree lies in, its manifest's file first, each once. Rejects with `chunks_missing` or `chunk_damaged`. */
  ofTree(
    accountId: AccountId,
    manifestCid: ChunkCid,
  ): Promise<readonly { readonly stored: StoredCid; readonly bytes: number }[]>;
}

/** A chunk as it came: whole, or in parts that are copied only once. They must not change before the chunk is stored. */
export type ChunkBytes = Uint8Array | readonly Uint8Array[];

/** A tree that is kept, whoever does. */
export interface KeptTree {
  readonly accountId: AccountId;
  readonly manifestCid: ChunkCid;
}

/** Asks the records which trees are in use. */
export interface TreeOwners {
  /** Whether a record of this holder names the tree now. */
  uses(accountId: AccountId, holder: TreeHolder, manifestCid: ChunkCid): boolean;
  /** Every tree any record names: to make the index of references anew. */
  all(): Iterable<{ readonly accountId: AccountId; readonly holder: TreeHolder; readonly manifestCid: ChunkCid }>;
}

export type TreeVerdict =
  | { readonly kind: "ok"; readonly manifest: TreeManifest }
  /** `code`: `tree_invalid`, `chunks_missing`, `output_exceeded`. */
  | { readonly kind: "refused"; readonly code: string; readonly message: string };

export interface ChunkStore {
  /** Clears what a crash left behind and begins to sweep. Called again: does nothing. Rejects with `keys_lost`. */
  start(): Promise<void>;
  /** Starts the threads, so that the first chunk does not wait for that; without it they start when they are needed. */
  warm(): void;
  stop(): Promise<void>;
  /**
   * Which of these are not here. Those that are stay for at least an hour for this holder. `by`: who sends, where several do for one holder, as the
   * replicas of a job: what one of them commits or gives up takes nothing away from another.
   */
  missing(
    accountId: AccountId,
    holder: TreeHolder,
    cids: readonly ChunkCid[],
    by?: string,
  ): Promise<readonly ChunkCid[]>;
  /**
   * Resolves when the chunk is durable. Rejects with QubixError `chunk_mismatch` (400: the bytes are not what the name says), `chunk_too_large` (413),
   * `storage_quota` and `storage_full` (507).
   */
  put(accountId: AccountId, holder: TreeHolder, cid: ChunkCid, bytes: ChunkBytes, by?: string): Promise<void>;
  /** The bytes as they were put; undefined where it is not here. Rejects with `chunk_damaged`. `into`: memory of CHUNK_STORED_BYTES_MAX for them, which goes away from there. */
  get(accountId: AccountId, cid: ChunkCid, into?: ArrayBuffer): Promise<Buffer | undefined>;
  /** Rejects with `tree_invalid`, `chunks_missing` or `chunk_damaged`. */
  readManifest(accountId: AccountId, manifestCid: ChunkCid): Promise<TreeManifest>;
  /** Stores a manifest and says what a control message would say of the tree; `bytesMoved` is the manifest's own size. For uploads. */
  putManifest(accountId: AccountId, holder: TreeHolder, manifest: TreeManifest): Promise<TreeRef>;
  /**
   * Before a tree is given to the core: checks that it is whole, durable and as large as it says, and keeps it. Always followed by `settleTree`,
   * after which it is kept if a record uses it.
   */
  admitTree(accountId: AccountId, holder: TreeHolder, tree: TreeRef, bytesMax?: number): Promise<TreeVerdict>;
  /** After the core answered. `accepted`: it said yes. */
  settleTree(accountId: AccountId, holder: TreeHolder, manifestCid: ChunkCid, accepted: boolean, by?: string): void;
  /** These are perhaps not used any more: those that no record names are let go, with the chunks that only they had. */
  collect(accountId: AccountId, holder: TreeHolder, trees: readonly TreeRef[]): void;
  /** Deletes what no record and no upload needs: done by itself every hour. */
  sweep(): Promise<void>;
  /**
   * The plain bytes of one file of a tree, each chunk checked against its name. Throws `file_unknown` (404) at once; the iteration throws
   * `chunks_missing` or `chunk_damaged`.
   */
  openFile(accountId: AccountId, manifest: TreeManifest, path: string): AsyncIterable<Uint8Array>;
  usage(accountId: AccountId): StoredUsage;
  /** Those that records name, and those on their way to one; for a copy elsewhere, which `onTree` of the store keeps up to date. */
  trees(): readonly KeptTree[];
  keeps(tree: KeptTree): boolean;
  readonly blocks: StoredBlocks;
}
