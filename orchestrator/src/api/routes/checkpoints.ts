// The checkpoints of a job, as its consumer keeps them: listed, read file by file, removed; and what all that is stored takes up.
import { Readable } from "node:stream";
import { z } from "zod";
import type { JobId } from "@qubix/shared/domain";
import {
  checkpointEntrySchema,
  checkpointsQuerySchema,
  checkpointViewSchema,
  storageSchema,
} from "@qubix/shared/protocol";
import { type Actor, type CheckpointRecord, checkpointsOf } from "../../core/index.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { createCarExporter } from "../../ipfs/index.ts";
import { findJob, lookUp } from "../jobs.ts";
import { expectReply, notFound } from "../problems.ts";
import { binary, idParams, problems } from "../schemas.ts";
import { contentDisposition } from "./outputs.ts";

const seqSchema = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const CAR_TYPE = "application/vnd.ipld.car";
const checkpointParams = idParams.extend({ seq: seqSchema });

export function checkpointRoutes(app: Api, ctx: ApiContext): void {
  const remove = createRemover(ctx);
  const exporter = createCarExporter(ctx.chunks);

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/checkpoints",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "The committed checkpoints that are kept, oldest first; of a mirror job's second replica on request",
      params: idParams,
      querystring: checkpointsQuerySchema.strict(),
      response: { 200: z.object({ items: z.array(checkpointViewSchema) }), ...problems(401, 404, 422) },
    },
    handler: async (request) => {
      const { job } = findJob(ctx, actorOf(request), request.params.id).stored;
      const { replica: wanted } = request.query;
      const replicas = wanted === "all" ? [0, 1] : [Number(wanted)];
      const items = replicas.flatMap((replica) =>
        checkpointsOf(job, replica).map((checkpoint) => viewCheckpoint(ctx, checkpoint, replica)),
      );
      return { items };
    },
  });

  app.route({
    method: "DELETE",
    url: "/v1/jobs/:id/checkpoints/:seq",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Remove a checkpoint; the newest of a job that has not ended stays",
      params: checkpointParams,
      response: { 204: z.null().describe("Removed"), ...problems(401, 404, 409, 422, 503) },
    },
    handler: async (request, reply) => {
      const { id, seq } = request.params;
      await remove(actorOf(request), id as JobId, seq);
      return reply.code(204).send(null);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/checkpoints/:seq/files",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "What a checkpoint has: its files and directories",
      params: checkpointParams,
      response: { 200: z.object({ items: z.array(checkpointEntrySchema) }), ...problems(401, 404, 422) },
    },
    handler: async (request) => {
      const { manifest } = await treeOf(ctx, actorOf(request), request.params);
      const items = manifest.entries.map((entry) => {
        const { kind, path, mode } = entry;
        return kind === "file"
          ? { kind, path, mode, bytes: entry.bytes, sha256: entry.sha256 ?? null }
          : { kind, path, mode, bytes: 0, sha256: null };
      });
      return { items };
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/checkpoints/:seq/files/*",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "One file of a checkpoint",
      params: checkpointParams.extend({ "*": z.string().max(4096) }),
      response: { 200: binary("application/octet-stream", "The file"), ...problems(401, 404, 422) },
    },
    handler: async (request, reply) => {
      const { accountId, manifest } = await treeOf(ctx, actorOf(request), request.params);
      // Only what the manifest lists can be asked for: no path ever reaches a file system.
      const wanted = request.params["*"];
      const file = manifest.entries.find((entry) => entry.kind === "file" && entry.path === wanted);
      if (file?.kind !== "file") throw notFound("file", wanted);
      reply
        .type("application/octet-stream")
        .header("content-length", file.bytes)
        .header("x-content-type-options", "nosniff")
        .header("content-disposition", contentDisposition(file.path));
      if (file.sha256 !== undefined) reply.header("etag", `"${file.sha256}"`);
      if (request.method === "HEAD") return reply.send("");
      return reply.send(Readable.from(ctx.chunks.openFile(accountId, manifest, file.path)));
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/checkpoints/:seq/car",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "A checkpoint as a CAR file: its files as UnixFS, or what is stored of it, encrypted",
      params: checkpointParams,
      querystring: z.object({
        sealed: z.stringbool().default(false).describe("The stored blocks, which are ciphertext"),
      }),
      response: { 200: binary(CAR_TYPE, "The CAR file; `x-ipfs-roots` has its root"), ...problems(401, 404, 422, 503) },
    },
    handler: async (request, reply) => {
      const { accountId, tree } = checkpointOf(ctx, actorOf(request), request.params);
      const { sealed } = request.query;
      const { id, seq } = request.params;
      reply
        // Blocks come in no particular order; equal ones come as often as they are met.
        .type(`${CAR_TYPE}; version=1; order=unk; dups=y`)
        .header("x-content-type-options", "nosniff")
        .header("content-disposition", contentDisposition(`${id}-${seq}${sealed ? "-sealed" : ""}.car`));
      if (request.method === "HEAD") return reply.send("");
      const { root, bytes } = await exporter.open(accountId, tree.manifestCid, sealed ? "sealed" : "plain");
      return reply.header("x-ipfs-roots", root).send(Readable.from(bytes));
    },
  });

  app.route({
    method: "GET",
    url: "/v1/storage",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "What is stored for the account and how much may be",
      response: { 200: storageSchema, ...problems(401) },
    },
    handler: async (request) => ctx.chunks.usage(actorOf(request).accountId),
  });
}

function checkpointOf(ctx: ApiContext, actor: Actor, { id, seq }: { readonly id: string; readonly seq: number }) {
  const { job } = findJob(ctx, actor, id).stored;
  const checkpoint = job.checkpoints.find((candidate) => candidate.seq === seq);
  if (checkpoint === undefined) throw notFound("checkpoint", String(seq));
  return { accountId: job.accountId, tree: checkpoint.tree };
}

async function treeOf(ctx: ApiContext, actor: Actor, params: { readonly id: string; readonly seq: number }) {
  const { accountId, tree } = checkpointOf(ctx, actor, params);
  return { accountId, manifest: await ctx.chunks.readManifest(accountId, tree.manifestCid) };
}

/** One removal of a job at a time: the record of a job that has ended is read, changed and committed before the next one reads it. */
function createRemover(ctx: ApiContext) {
  const last = new Map<JobId, Promise<void>>();
  const remove = async (actor: Actor, id: JobId, seq: number): Promise<void> => {
    const { stored, live } = findJob(ctx, actor, id);
    const event = { kind: "checkpoint.remove", actor, jobId: stored.job.id, seq } as const;
    const reply = await ctx.writer.submit({ ...event, ended: live ? null : stored.job });
    // It ended in this very moment: its record is in the store now.
    if (live && reply.kind === "refused" && lookUp(ctx, id)?.live === false) return await remove(actor, id, seq);
    expectReply(reply, "checkpoint");
  };
  return async (actor: Actor, id: JobId, seq: number): Promise<void> => {
    const before = last.get(id);
    const own = (async () => {
      await before?.catch(() => {});
      await remove(actor, id, seq);
    })();
    last.set(id, own);
    try {
      await own;
    } finally {
      if (last.get(id) === own) last.delete(id);
    }
  };
}

function viewCheckpoint(
  ctx: ApiContext,
  checkpoint: CheckpointRecord,
  replica: number,
): z.output<typeof checkpointViewSchema> {
  return {
    ...(replica === 0 ? {} : { replica }),
    seq: checkpoint.seq,
    epoch: checkpoint.epoch,
    parentSeq: checkpoint.parentSeq,
    workerId: checkpoint.workerId,
    bytes: checkpoint.tree.bytes,
    bytesMoved: checkpoint.tree.bytesMoved,
    shipMs: checkpoint.shipMs ?? null,
    files: checkpoint.tree.files,
    manifestCid: checkpoint.tree.manifestCid,
    ranMs: checkpoint.ranMs,
    progress: checkpoint.progress,
    committedAt: ctx.wallOf(checkpoint.committedAtMs),
  };
}
