// Fetches outputs to this disk. A file appears under its name only when all of it is there and its SHA-256 is right.
import { createHash } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { type CallOptions, type Client, type OutputFile, QubixError } from "../sdk/index.ts";

export interface Downloaded {
  readonly path: string;
  /** Where it lies now. */
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}
export interface DownloadOptions extends CallOptions {
  /** Only this file, or what lies in this folder. */
  readonly path?: string | undefined;
  readonly onFile?: ((file: Downloaded) => void) | undefined;
}

/** Fetches a job's outputs into `folder`, keeping their paths. Errors: `output_not_found`, `output_damaged`, and those of the API. */
export async function downloadOutputs(
  client: Client,
  jobId: string,
  folder: string,
  { path, onFile, ...call }: DownloadOptions = {},
): Promise<readonly Downloaded[]> {
  const outputs = await client.jobs.outputs(jobId, call);
  const wanted = path === undefined ? outputs : outputs.filter((output) => isWithin(output.path, path));
  if (path !== undefined && wanted.length === 0) throw outputNotFound(jobId, path, outputs);
  const done: Downloaded[] = [];
  for (const output of wanted) {
    const file = safeJoin(folder, output.path);
    await downloadOne(client, jobId, output, file, call);
    const downloaded = { path: output.path, file, bytes: output.bytes, sha256: output.sha256 };
    done.push(downloaded);
    onFile?.(downloaded);
  }
  return done;
}

/** The error for a path that is not among the outputs; names some that are. */
export function outputNotFound(jobId: string, path: string, outputs: readonly OutputFile[]): QubixError {
  const some = outputs.slice(0, 5).map((output) => output.path);
  const have =
    some.length === 0 ? "It has no outputs." : `It has ${some.join(", ")}${outputs.length > 5 ? ", …" : ""}.`;
  return new QubixError("output_not_found", `Job ${jobId} has no output ${path}. ${have}`, {
    category: "user",
    status: 404,
  });
}

async function downloadOne(
  client: Client,
  jobId: string,
  output: OutputFile,
  file: string,
  call: CallOptions,
): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const partial = `${file}.part`;
  const hash = createHash("sha256");
  try {
    const response = await client.jobs.output(jobId, output.path, call);
    const target = await open(partial, "w");
    try {
      for await (const bytes of response.body) {
        hash.update(bytes);
        await target.writeFile(bytes);
      }
    } finally {
      await target.close();
    }
    if (hash.digest("hex") !== output.sha256) {
      throw new QubixError(
        "output_damaged",
        `${output.path} arrived with another SHA-256 than the job committed; it was not kept. Fetch it again.`,
        { category: "platform", retryable: true },
      );
    }
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

function isWithin(path: string, folder: string): boolean {
  const trimmed = folder.replace(/^\/+|\/+$/g, "");
  return trimmed === "" || path.replace(/^\/+/, "") === trimmed || path.replace(/^\/+/, "").startsWith(`${trimmed}/`);
}

/** Joins a path of the server's to a folder of ours; refuses what would lie outside. Where `\` parts no names it is a letter like any other. */
export function safeJoin(folder: string, path: string): string {
  const root = resolve(folder);
  const file = resolve(join(root, path));
  const parted = sep !== "/" && path.includes(sep);
  if (path.includes("\u0000") || parted || !file.startsWith(root.endsWith(sep) ? root : root + sep)) {
    throw new QubixError("path_unsafe", `The output path ${JSON.stringify(path)} would lie outside of ${folder}.`, {
      category: "platform",
    });
  }
  return file;
}
