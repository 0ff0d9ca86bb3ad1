// Inputs from a client's disk: ask which chunks are missing, PUT those, then commit the manifest. A cut upload resumes by asking again.
import { createHash } from "node:crypto";
import { z } from "zod";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import {
  CHUNK_STORED_BYTES_MAX,
  UPLOAD_MANIFEST_BYTES_MAX,
  chunkCidSchema,
  createUploadSchema,
  uploadMissingRequestSchema,
  uploadMissingSchema,
  uploadViewSchema,
  type TreeManifest,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { UPLOAD_HOLDER } from "../../checkpoints/index.ts";
import type { Actor, UploadRecord } from "../../core/index.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { expectReply, invalidField } from "../problems.ts";
import { problems } from "../schemas.ts";

export function uploadRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "POST",
    url: "/v1/uploads/missing",
    config: { access: ["consumer", "admin"] },
    schema: {
      tags: ["uploads"],
      summary: "Which of these chunks are not stored yet; those that are, are kept for an hour at least",
      body: uploadMissingRequestSchema,
      response: { 200: uploadMissingSchema, ...problems(400, 401, 403, 413, 415) },
    },
    handler: async (request) => ({
      cids: [...(await ctx.chunks.missing(actorOf(request).accountId, UPLOAD_HOLDER, request.body.cids))],
    }),
  });

  app.route({
    method: "POST",
    url: "/v1/uploads",
    config: { access: ["consumer", "admin"] },
    bodyLimit: UPLOAD_MANIFEST_BYTES_MAX,
    schema: {
      tags: ["uploads"],
      summary: "Commit an upload: all chunks that the manifest names are stored",
      body: createUploadSchema,
      response: { 201: uploadViewSchema, ...problems(400, 401, 403, 413, 415, 422, 503, 507) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      const upload = await commitUpload(ctx, actor, request.body.manifest);
      reply.code(201);
      return {
        id: upload.id,
        files: upload.tree.files,
        bytes: upload.tree.bytes,
        createdAt: ctx.wallOf(upload.createdAtMs),
      };
    },
  });

  // The only route that takes bytes; the parser lives in a scope of its own.
  app.register(async (scope: Api) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("application/octet-stream", { parseAs: "buffer" }, (_request, body, done) =>
      done(null, body),
    );
    scope.route({
      method: "PUT",
      url: "/v1/uploads/chunks/:cid",
      config: { access: ["consumer", "admin"] },
      bodyLimit: CHUNK_STORED_BYTES_MAX,
      schema: {
        tags: ["uploads"],
        summary: "Store one chunk; its id is the CIDv1 (raw, sha2-256) of the body",
        consumes: ["application/octet-stream"],
        params: z.object({ cid: chunkCidSchema }),
        response: { 204: z.null().describe("Durable"), ...problems(400, 401, 403, 413, 415, 422, 507) },
      },
      handler: async (request, reply) => {
        const bytes = request.body;
        if (!(bytes instanceof Uint8Array) || bytes.length === 0)
          throw invalidField("body", "a chunk has at least one byte");
        await ctx.chunks.put(actorOf(request).accountId, UPLOAD_HOLDER, request.params.cid, bytes);
        return reply.code(204).send(null);
      },
    });
  });
}

/** The tree is checked and kept before the core hears of it, and let go again if the core says no. */
async function commitUpload(ctx: ApiContext, actor: Actor, manifest: TreeManifest): Promise<UploadRecord> {
  const { accountId } = actor;
  const tree = await ctx.chunks.putManifest(accountId, UPLOAD_HOLDER, manifest);
  const { manifestCid } = tree;
  const verdict = await ctx.chunks.admitTree(accountId, UPLOAD_HOLDER, tree);
  let accepted = false;
  try {
    if (verdict.kind === "refused") {
      throw new QubixError(verdict.code, verdict.message, { category: "user", status: 422 });
    }
    const uploadId = uploadIdOf(accountId, manifestCid);
    const reply = expectReply(await ctx.writer.submit({ kind: "upload.create", actor, uploadId, tree }), "upload");
    accepted = true;
    return reply.upload;
  } finally {
    ctx.chunks.settleTree(accountId, UPLOAD_HOLDER, manifestCid, accepted);
  }
}

/** Derived from the content: the same tree of the same account is the same upload, however often it is committed. */
function uploadIdOf(accountId: AccountId, manifestCid: ChunkCid): string {
  return `upl-${createHash("sha256").update(`${accountId} ${manifestCid}`).digest("hex").slice(0, 32)}`;
}
