// The stricter class, `isolation: sandboxed`: a job's system calls go to gVisor, a kernel of its own in user space, instead of the machine's. Offered only
// where the Engine has the runtime, in a version that was tried, and a container has run under it.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type Docker from "dockerode";
import type { Journal } from "../journal/journal.ts";
import { CHANGE_TIMEOUT_MS, type Engine, LOOK_TIMEOUT_MS } from "../runner/engine.ts";
import { withProbe } from "../runner/probe-container.ts";
import { reapSandbox } from "../runner/sandbox-orphans.ts";

const run = promisify(execFile);
/** The oldest release that the escape suite has run on (gVisor's releases are dates). */
export const SANDBOX_VERSION_MIN = 20_221_219;
/** Below this gVisor's own threads do not fit. */
const PROBE_PIDS = 512;
/** `runsc --version` only prints. */
const VERSION_TIMEOUT_MS = 10_000;
const KEY_SANDBOX = "sandbox";

export type SandboxCheck =
  | { readonly kind: "ready"; readonly version: number }
  /** The Engine does not know the runtime. */
  | { readonly kind: "absent" }
  | { readonly kind: "unfit"; readonly found: string };

/** Looks at the runtime and runs a container under it, unless the journal says that this very runtime has passed. */
export async function checkSandbox(
  engine: Engine,
  runtime: string,
  memory?: Pick<Journal, "get" | "set">,
): Promise<SandboxCheck> {
  const entry = await runtimeOf(engine, runtime);
  if (entry === undefined) return { kind: "absent" };
  const said = await versionText(entry.path);
  const version = parseSandboxVersion(said);
  if (version === undefined) return { kind: "unfit", found: `${entry.path} does not say that it is gVisor (${said})` };
  if (version < SANDBOX_VERSION_MIN) return { kind: "unfit", found: `gVisor of ${version}` };
  const tried = JSON.stringify([version, entry]);
  if (memory?.get(KEY_SANDBOX) === tried) return { kind: "ready", version };
  const problem = await tryContainer(engine, runtime);
  memory?.set(KEY_SANDBOX, problem === undefined ? tried : undefined);
  return problem === undefined ? { kind: "ready", version } : { kind: "unfit", found: problem };
}

/** `runsc version release-20240715.0` or, as Debian numbers it, `runsc version 0.0~20221219.0` → the date as a number; undefined for another program. */
export function parseSandboxVersion(text: string): number | undefined {
  const match = /^runsc version \S*?(20[0-9]{6})(?:\.[0-9]+)*\S*$/m.exec(text);
  return match === null ? undefined : Number(match[1]);
}

/** The program of a runtime that the Engine knows. */
export async function runtimeProgram(engine: Engine, name: string): Promise<string | undefined> {
  return (await runtimeOf(engine, name))?.path;
}

export interface RuntimeEntry {
  readonly path: string;
  readonly runtimeArgs?: readonly string[] | null;
}

export async function runtimeOf(engine: Engine, name: string): Promise<RuntimeEntry | undefined> {
  const info = (await engine.call("tell about itself", LOOK_TIMEOUT_MS, () => engine.docker.info())) as {
    Runtimes?: Readonly<Record<string, RuntimeEntry>>;
  };
  const runtimes = info.Runtimes ?? {};
  return Object.hasOwn(runtimes, name) ? runtimes[name] : undefined;
}

export async function versionText(program: string): Promise<string> {
  try {
    return (await run(program, ["--version"], { timeout: VERSION_TIMEOUT_MS })).stdout.trim();
  } catch (error) {
    return error instanceof Error ? error.message.trim() : String(error);
  }
}

/** What went wrong; undefined when the container ran. */
async function tryContainer(engine: Engine, runtime: string): Promise<string | undefined> {
  let id: string | undefined;
  try {
    return await withProbe(engine, { Runtime: runtime, PidsLimit: PROBE_PIDS }, async (container) => {
      ({ id } = container);
      return runProbe(engine, container);
    });
  } catch (error) {
    if (id !== undefined) await reapSandbox(id);
    return error instanceof Error ? error.message : String(error);
  }
}

async function runProbe(engine: Engine, container: Docker.Container): Promise<string | undefined> {
  await engine.call("start a sandboxed container", CHANGE_TIMEOUT_MS, () => container.start());
  const { StatusCode: exitCode } = (await engine.call("wait for a sandboxed container", CHANGE_TIMEOUT_MS, () =>
    container.wait(),
  )) as { StatusCode: number };
  return exitCode === 0 ? undefined : `a container under it ended with exit code ${exitCode}`;
}
