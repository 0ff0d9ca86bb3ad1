// A running gVisor sandbox as its runtime sees it: where its state lies, what of it cannot be saved, and how its memory is.
import { execFile } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
/** Memory goes to disk at some 200 MB/s: enough for the largest machines, and an end for what hangs. */
const SAVE_TIMEOUT_MS = 30 * 60_000;
/** What it says when it fails is a trace of tens of kilobytes. */
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
const SAID_LENGTH_MAX = 300;

export interface Sandbox {
  readonly id: string;
  /** Of the sandbox's own process. */
  readonly pid: number;
  /** Where its runtime keeps the state of its containers. */
  readonly stateRoot: string;
}

/** Finds the sandbox behind a container; undefined where that is none, or this agent may not look. */
export async function findSandbox(id: string, pid: number): Promise<Sandbox | undefined> {
  const argv = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
  const root = argv.find((arg) => arg.startsWith("--root="))?.slice("--root=".length);
  return root === undefined ? undefined : { id, pid, stateRoot: root };
}

/**
 * Files that the job holds open and has deleted. gVisor cannot save those outside of its own memory, and a sandbox dies when a save of it fails.
 * Its file server (the gofer) is the process that has them open.
 */
export async function deletedFiles({ id, stateRoot }: Sandbox): Promise<readonly string[]> {
  const state = JSON.parse(await readFile(join(stateRoot, `${id}_sandbox:${id}.state`), "utf8")) as {
    readonly goferPid?: number;
  };
  if (state.goferPid === undefined) return [];
  const folder = `/proc/${state.goferPid}/fd`;
  const links = await Promise.all((await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => "")));
  // Its own shared memory has no name in any folder.
  return links.filter((link) => link.startsWith("/") && !link.startsWith("/memfd:") && link.endsWith(" (deleted)"));
}

export type Saved = { readonly kind: "saved" } | { readonly kind: "failed"; readonly said: string };

/** Writes the sandbox's memory into the folder `image`. Saved or not, the sandbox is over then, its files as they were at that moment. */
export async function saveMemory(
  program: string,
  sandbox: Sandbox,
  image: string,
  signal?: AbortSignal,
): Promise<Saved> {
  const command = [program, "--root", sandbox.stateRoot, "checkpoint", "--image-path", image, sandbox.id];
  const [file = "", ...args] = [...(await entering(sandbox.pid)), ...command];
  try {
    await run(file, args, { timeout: SAVE_TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX, signal });
    return { kind: "saved" };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const said = stderr === undefined || stderr.trim() === "" ? message : stderr.trim();
    return { kind: "failed", said: whyOf(said) };
  }
}

/** A sandbox is spoken to over an abstract socket, which belongs to the network namespace of the Engine: the sandbox's parent is in it. */
async function entering(pid: number): Promise<readonly string[]> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const parent = /^PPid:\t(\d+)$/m.exec(status)?.[1];
  const [theirs, own] = await Promise.all(
    [parent ?? "self", "self"].map((of) => readlink(`/proc/${of}/ns/net`).catch(() => "")),
  );
  return parent === undefined || theirs === "" || theirs === own
    ? []
    : ["nsenter", `--net=/proc/${parent}/ns/net`, "--"];
}

/** The reason stands at the end of the first line, behind the state of the object that it is about. */
function whyOf(said: string): string {
  const [first = ""] = said.split("\n");
  return first.length <= SAID_LENGTH_MAX ? first : `…${first.slice(-SAID_LENGTH_MAX)}`;
}
