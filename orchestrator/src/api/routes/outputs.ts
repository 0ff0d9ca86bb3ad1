// The files a job left: a list, and each as a download that is streamed from the chunk store.
import { Readable } from "node:stream";
import { z } from "zod";
import { assert } from "@qubix/shared/runtime";
import { outputViewSchema, type TreeEntry, type TreeManifest } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { findJob } from "../jobs.ts";
import { notFound } from "../problems.ts";
import { binary, idParams, problems } from "../schemas.ts";
import type { StoredJob } from "../../store/port.ts";

type FileEntry = Extract<TreeEntry, { kind: "file" }>;

export function outputRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/jobs/:id/outputs",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "The output files of a job",
      params: idParams,
      response: { 200: z.object({ items: z.array(outputViewSchema) }), ...problems(401, 404) },
    },
    handler: async (request) => {
      const { stored } = findJob(ctx, actorOf(request), request.params.id);
      const manifest = await outputsOf(ctx, stored);
      const items = filesOf(manifest).map(({ path, bytes, sha256 }) => {
        assert(sha256 !== undefined, "outputs are admitted only with a sum for each file");
        return { path, bytes, sha256 };
      });
      return { items };
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/outputs/*",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "One output file",
      params: z.object({ id: z.string().max(200), "*": z.string().max(4096) }),
      response: { 200: binary("application/octet-stream", "The file"), ...problems(401, 404, 409) },
    },
    handler: async (request, reply) => {
      const { stored } = findJob(ctx, actorOf(request), request.params.id);
      if (stored.job.outputs === null) throw noOutputs(stored);
      const manifest = await outputsOf(ctx, stored);
      // Only what the manifest lists can be asked for: no path ever reaches a file system.
      const wanted = request.params["*"];
      const file = filesOf(manifest).find((entry) => entry.path === wanted);
      if (file === undefined) throw notFound("output", wanted);
      reply
        .type("application/octet-stream")
        .header("content-length", file.bytes)
        .header("etag", `"${file.sha256}"`)
        .header("x-content-type-options", "nosniff")
        .header("content-disposition", contentDisposition(file.path));
      if (request.method === "HEAD") return reply.send("");
      return reply.send(Readable.from(ctx.chunks.openFile(stored.job.accountId, manifest, file.path)));
    },
  });
}

async function outputsOf(ctx: ApiContext, stored: StoredJob): Promise<TreeManifest> {
  const { outputs, accountId } = stored.job;
  if (outputs === null) return { version: 1, encoding: "zstd", entries: [] };
  return await ctx.chunks.readManifest(accountId, outputs.manifestCid);
}

function filesOf(manifest: TreeManifest): readonly FileEntry[] {
  return manifest.entries.filter((entry) => entry.kind === "file");
}

function noOutputs(stored: StoredJob): QubixError {
  const { id, phase } = stored.job;
  return new QubixError(
    "outputs_not_ready",
    `Job ${id} is ${phase} and has no outputs. They are there once it has succeeded and left files under its output paths.`,
    { category: "conflict", status: 409 },
  );
}

/** The last name of the path: plain for old readers, RFC 8187 for the others. */
export function contentDisposition(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, "_");
  const encoded = encodeURIComponent(name.toWellFormed()).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
