// A manifest says which chunks make up a tree of files: a checkpoint's or a job's outputs. It is itself stored as a chunk and named by its CID.
import { z } from "zod";
import { chunkCidSchema, sha256Schema } from "./common.ts";
import {
  CHUNK_BYTES_MAX,
  CHUNK_STORED_BYTES_MAX,
  MANIFEST_CHUNKS_MAX,
  MANIFEST_ENTRIES_MAX,
  PIECE_LAYERS_MAX,
} from "./limits.ts";

const PATH_LENGTH_MAX = 4096;

/** Path inside the tree: relative, `/` between names, no `.`, `..` or empty name. */
export const treePathSchema = z
  .string()
  .min(1)
  .max(PATH_LENGTH_MAX)
  .refine(
    (path) => !path.includes("\u0000") && path.split("/").every((name) => name !== "" && name !== "." && name !== ".."),
    "not a safe relative path",
  );

/**
 * How the stored bytes of a piece are made from its plain ones: `zstd`, one frame; `raw`, as they are; `planes`, grouped by the place of each byte in its
 * number, each group compressed or not (see `@qubix/shared/chunks`).
 */
export const pieceEncodingSchema = z.enum(["zstd", "raw", "planes"]);
export type PieceEncoding = z.output<typeof pieceEncodingSchema>;

/** What a layer tells of each number of a piece: the bits that changed, or the steps that a number of 2 or 4 bytes went. */
export const layerKindSchema = z.enum(["xor", "steps2", "steps4"]);
export type LayerKind = z.output<typeof layerKindSchema>;

/** Differences to what came before it, to be applied in turn; `kind`: by default XOR. */
const layerSchema = z.strictObject({
  cid: chunkCidSchema,
  stored: z.number().int().min(1).max(CHUNK_STORED_BYTES_MAX),
  encoding: pieceEncodingSchema,
  kind: layerKindSchema.optional(),
});
export type PieceLayer = z.output<typeof layerSchema>;

/** One stored piece. The CID names the stored bytes (`encoding`, by default zstd); `bytes` is the plain size of what the file has of it. */
export const chunkRefSchema = z.strictObject({
  cid: chunkCidSchema,
  bytes: z.number().int().min(0).max(CHUNK_BYTES_MAX),
  stored: z.number().int().min(1).max(CHUNK_STORED_BYTES_MAX),
  encoding: pieceEncodingSchema.optional(),
  layers: z.array(layerSchema).max(PIECE_LAYERS_MAX).optional(),
  /** Only `bytes` bytes from `from` on belong to the file; the plain piece has `of` bytes. */
  part: z
    .strictObject({
      from: z.number().int().min(0).max(CHUNK_BYTES_MAX),
      of: z.number().int().min(1).max(CHUNK_BYTES_MAX),
    })
    .optional(),
  /** Of the plain piece (all `of` bytes), where the file has no sum of its own: see `sumOf` in `@qubix/shared/chunks`. */
  sum: z.base64url().length(22).optional(),
});

export const treeEntrySchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("directory"), path: treePathSchema, mode: z.number().int().min(0).max(0o777) }),
  z.strictObject({
    kind: z.literal("file"),
    path: treePathSchema,
    mode: z.number().int().min(0).max(0o777),
    bytes: z.number().int().min(0),
    /** Of the whole plain file; without it each piece has a sum. */
    sha256: sha256Schema.optional(),
    chunks: z.array(chunkRefSchema).max(MANIFEST_CHUNKS_MAX),
  }),
]);

export const treeManifestSchema = z.strictObject({
  /** 2: pieces may have layers, parts and sums of their own. */
  version: z.literal([1, 2]),
  encoding: z.literal("zstd"),
  entries: z.array(treeEntrySchema).max(MANIFEST_ENTRIES_MAX),
});

export type ChunkRef = z.output<typeof chunkRefSchema>;
export type TreeEntry = z.output<typeof treeEntrySchema>;
export type TreeManifest = z.output<typeof treeManifestSchema>;

/** What a control message says of a stored tree: enough to find, check and account for it. */
export const treeRefSchema = z.strictObject({
  manifestCid: chunkCidSchema,
  files: z.number().int().min(0),
  /** Plain size of all files. */
  bytes: z.number().int().min(0),
  /** Stored bytes that were new to the store: what went over the line. */
  bytesMoved: z.number().int().min(0),
});
export type TreeRef = z.output<typeof treeRefSchema>;
