// The bulk socket (`/v1/worker/bulk`): chunks in both directions. Same authentication as the control socket (purpose `bulk`), then these text frames;
// a chunk's bytes follow its `put` or `data` header as binary frames of at most BULK_FRAME_BYTES_MAX, in order, until `stored` bytes have come.
// Chunks are scoped to the consumer of the job that `jobId` names; the worker must hold an attempt or a standby of that job.
import { z } from "zod";
import { challengeIdSchema, chunkCidSchema, jobIdSchema } from "./common.ts";
import { CHUNK_STORED_BYTES_MAX, HAVE_CHUNKS_MAX, LINE_MEASURE_BYTES_MAX, PROOF_ANSWER_BYTES_MAX } from "./limits.ts";

const request = { req: z.number().int().min(0) };
const measured = z.number().int().min(1).max(LINE_MEASURE_BYTES_MAX);
const cids = z.array(chunkCidSchema).max(HAVE_CHUNKS_MAX);

export const bulkRequestSchema = z.discriminatedUnion("kind", [
  /** Which of these are missing? Answered by `missing`; those present are kept for a while even if nothing refers to them yet. */
  z.strictObject({ ...request, kind: z.literal("have"), jobId: jobIdSchema, cids }),
  /** The bytes follow. Answered by `stored` once they are durable, or `refused`. */
  z.strictObject({
    ...request,
    kind: z.literal("put"),
    jobId: jobIdSchema,
    cid: chunkCidSchema,
    stored: z.number().int().min(1).max(CHUNK_STORED_BYTES_MAX),
  }),
  /** Answered by `data` and its bytes, or `refused`. */
  z.strictObject({ ...request, kind: z.literal("get"), jobId: jobIdSchema, cid: chunkCidSchema }),
  /** The committed answer of a challenge; its bytes follow. Answered by `stored` once it is judged, whatever the verdict, or `refused`. */
  z.strictObject({
    ...request,
    kind: z.literal("proof"),
    challengeId: challengeIdSchema,
    bytes: z.number().int().min(1).max(PROOF_ANSWER_BYTES_MAX),
  }),
  /** Measures the line: `bytes` follow and are thrown away. Answered by `stored`, or `refused` when asked too often. */
  z.strictObject({ ...request, kind: z.literal("measure.up"), bytes: measured }),
  /** Measures the line: answered by `data` and so many bytes, or `refused` when asked too often. */
  z.strictObject({ ...request, kind: z.literal("measure.down"), bytes: measured }),
]);
export type BulkRequest = z.output<typeof bulkRequestSchema>;

/** A chunk, or what measures the line. */
const DATA_BYTES_MAX = Math.max(CHUNK_STORED_BYTES_MAX, LINE_MEASURE_BYTES_MAX);

export const bulkResponseSchema = z.discriminatedUnion("kind", [
  z.strictObject({ ...request, kind: z.literal("missing"), cids }),
  z.strictObject({ ...request, kind: z.literal("stored") }),
  z.strictObject({ ...request, kind: z.literal("data"), stored: z.number().int().min(1).max(DATA_BYTES_MAX) }),
  z.strictObject({ ...request, kind: z.literal("refused"), code: z.string(), message: z.string() }),
]);
export type BulkResponse = z.output<typeof bulkResponseSchema>;
