// Fetches outputs and checkpoints to this disk. A file appears under its name only when all of it is there and its SHA-256 is right.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, lstat, mkdir, open as openFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import {
  type CallOptions,
  type CarOptions,
  type Client,
  type OutputDownload,
  type OutputFile,
  QubixError,
} from "../sdk/index.ts";

/** No more than permissions: what else a mode says is not for this machine. */
const MODE_MASK = 0o777;
const PARTIAL_DIGITS = 16;

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
    await fetchFile(file, { ...output, what: "output" }, () => client.jobs.output(jobId, output.path, call));
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

export interface DownloadedFile extends Omit<Downloaded, "sha256"> {
  /** Null where its pieces have sums instead: the orchestrator checked those as it sent them. */
  readonly sha256: string | null;
  /** It lay there already, as it should be. */
  readonly wasThere: boolean;
}
export interface CheckpointOptions extends CallOptions {
  readonly onFile?: ((file: DownloadedFile) => void) | undefined;
}

/**
 * Fetches a checkpoint's files into `folder`, keeping their paths, modes and empty folders. Cut off and called again, it fetches what is not there yet.
 * Errors: `checkpoint_damaged`, `path_unsafe`, and those of the API.
 */
export async function downloadCheckpoint(
  client: Client,
  jobId: string,
  seq: number,
  folder: string,
  { onFile, ...call }: CheckpointOptions = {},
): Promise<readonly DownloadedFile[]> {
  const entries = await client.jobs.checkpointEntries(jobId, seq, call);
  const done: DownloadedFile[] = [];
  await mkdir(folder, { recursive: true });
  for (const { kind, path, mode, bytes, sha256 } of entries) {
    const file = safeJoin(folder, path);
    if (kind === "directory") {
      await mkdir(file, { recursive: true });
      continue;
    }
    const wasThere = sha256 !== null && (await sumOfFile(file, bytes)) === sha256;
    if (!wasThere) {
      await fetchFile(file, { path, bytes, sha256, what: "checkpoint" }, () =>
        client.jobs.checkpointFile(jobId, seq, path, call),
      );
    }
    await chmod(file, mode & MODE_MASK);
    const downloaded = { path, file, bytes, sha256, wasThere };
    done.push(downloaded);
    onFile?.(downloaded);
  }
  return done;
}

/** Fetches a checkpoint's CAR file to `file`, where it appears when all of it is there. Returns its size. */
export async function downloadCar(
  client: Client,
  jobId: string,
  seq: number,
  file: string,
  options: CarOptions = {},
): Promise<number> {
  await mkdir(dirname(file), { recursive: true });
  const { body } = await client.jobs.checkpointCar(jobId, seq, options);
  return await keep(file, async (write) => {
    for await (const bytes of body) await write(bytes);
  });
}

/** Of a regular file of this size; undefined where there is none. */
async function sumOfFile(file: string, bytes: number): Promise<string | undefined> {
  const found = await lstat(file).catch(() => undefined);
  if (found?.isFile() !== true || found.size !== bytes) return undefined;
  const hash = createHash("sha256");
  for await (const part of createReadStream(file)) hash.update(part as Buffer);
  return hash.digest("hex");
}

interface Expected {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string | null;
  readonly what: "output" | "checkpoint";
}

async function fetchFile(file: string, expected: Expected, open: () => Promise<OutputDownload>): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const hash = createHash("sha256");
  let received = 0;
  await keep(file, async (write) => {
    const response = await open();
    for await (const bytes of response.body) {
      hash.update(bytes);
      received += bytes.length;
      await write(bytes);
    }
    const { sha256 } = expected;
    if (received !== expected.bytes || (sha256 !== null && hash.digest("hex") !== sha256)) throw damaged(expected);
  });
}

/** What `fill` writes gets the name when it is done; nothing is left when it fails. Returns how many bytes that was. */
async function keep(
  file: string,
  fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<number> {
  const partial = partialOf(file);
  let written = 0;
  try {
    const target = await openFile(partial, "w");
    try {
      await fill(async (bytes) => {
        await target.writeFile(bytes);
        written += bytes.length;
      });
    } finally {
      await target.close();
    }
    await rename(partial, file);
    return written;
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** A name of its own beside the file: one made of the file's might be too long, or another file's. The same at each try, so that none pile up. */
function partialOf(file: string): string {
  const name = createHash("sha256").update(basename(file)).digest("hex").slice(0, PARTIAL_DIGITS);
  return join(dirname(file), `.qubix-${name}.part`);
}

function damaged({ path, what }: Expected): QubixError {
  return new QubixError(
    `${what}_damaged`,
    `${path} arrived with another SHA-256 or size than the job committed; it was not kept. Fetch it again.`,
    { category: "platform", retryable: true },
  );
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
    throw new QubixError("path_unsafe", `The path ${JSON.stringify(path)} would lie outside of ${folder}.`, {
      category: "platform",
    });
  }
  return file;
}
