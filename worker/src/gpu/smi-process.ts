// Runs `nvidia-smi`. A driver in trouble can make it hang so that not even SIGKILL ends it: then no further one is started beside it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import type { Socket } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const NVIDIA_SMI = "nvidia-smi";
/** Cards that are initialised for the first time take some seconds each. */
export const LOOK_TIMEOUT_MS = 20_000;
/** Sixteen cards with all their supported clocks print about 2 MB. */
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024;
/** One that is killed is gone within milliseconds, unless the driver holds it. */
const DEATH_MS = 2_000;
/** Where Windows' Linux subsystem keeps it, which is not on every path. */
const MORE_DIRECTORIES = ["/usr/lib/wsl/lib"];
/** Its words are compared. */
const LOCALE = { LC_ALL: "C" };

export type SmiAnswer =
  | { readonly kind: "said"; readonly code: number | null; readonly stdout: string; readonly stderr: string }
  | { readonly kind: "absent" }
  /** Out of time, or an earlier one still hangs. */
  | { readonly kind: "hangs" };

export interface NvidiaSmi {
  /** Whether there is one; starts nothing. */
  isThere(): Promise<boolean>;
  run(args: readonly string[], timeoutMs: number): Promise<SmiAnswer>;
  /** One that goes on printing. Null where there is none, or an earlier one hangs. */
  follow(args: readonly string[], events: FollowEvents): Promise<Following | null>;
}

export interface FollowEvents {
  line(line: string): void;
  /** It ended by itself, or could not be started. */
  ended(code: number | null): void;
}

export interface Following {
  stop(): void;
}

/** `command`: a name to be found on the path, or a path. Starts nothing. */
export function createNvidiaSmi(command = NVIDIA_SMI): NvidiaSmi {
  /** Told to end and still there. */
  const stuck = new Set<ChildProcess>();

  function end(child: ChildProcess): void {
    if (child.exitCode !== null || child.signalCode !== null) return;
    stuck.add(child);
    child.once("exit", () => stuck.delete(child));
    child.kill("SIGKILL");
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.unref();
  }

  /** Whether one that was told to end is still there after it had the time for it. */
  async function isStuck(): Promise<boolean> {
    const gone = [...stuck].map((child) => once(child, "exit"));
    if (gone.length > 0) await Promise.race([Promise.allSettled(gone), sleep(DEATH_MS, undefined, { ref: false })]);
    return stuck.size > 0;
  }

  return {
    isThere: async () => (await findProgram(command)) !== undefined,
    async run(args, timeoutMs) {
      const program = await findProgram(command);
      if (program === undefined) return { kind: "absent" };
      if (await isStuck()) return { kind: "hangs" };
      return new Promise((resolve) => {
        const child = start(program, args);
        const said = { stdout: "", stderr: "" };
        const timer = setTimeout(() => {
          end(child);
          resolve({ kind: "hangs" });
        }, timeoutMs);
        for (const stream of ["stdout", "stderr"] as const) {
          child[stream]?.setEncoding("utf8").on("data", (text: string) => {
            if (said[stream].length < OUTPUT_BYTES_MAX) said[stream] += text;
            else end(child);
          });
        }
        child.once("error", () => {
          clearTimeout(timer);
          resolve({ kind: "absent" });
        });
        child.once("close", (code) => {
          clearTimeout(timer);
          resolve({ kind: "said", code, ...said });
        });
      });
    },
    async follow(args, events) {
      const program = await findProgram(command);
      if (program === undefined || (await isStuck())) return null;
      const child = start(program, args);
      // It is nothing to stay alive for.
      child.unref();
      for (const stream of [child.stdout, child.stderr]) (stream as Socket | null)?.unref();
      let rest = "";
      let isStopped = false;
      child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = (lines.pop() ?? "").slice(0, OUTPUT_BYTES_MAX);
        if (!isStopped) for (const line of lines) events.line(line.trim());
      });
      // What it complains of is as good as what it says.
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        if (!isStopped) for (const line of text.split("\n")) events.line(line.trim());
      });
      child.once("error", () => {
        if (!isStopped) events.ended(null);
      });
      child.once("close", (code) => {
        if (!isStopped) events.ended(code);
      });
      return {
        stop() {
          isStopped = true;
          end(child);
        },
      };
    },
  };
}

function start(program: string, args: readonly string[]): ChildProcess {
  return spawn(program, [...args], { env: { ...process.env, ...LOCALE }, stdio: ["ignore", "pipe", "pipe"] });
}

async function findProgram(command: string): Promise<string | undefined> {
  if (command.includes("/")) return (await isExecutable(command)) ? command : undefined;
  const directories = [...(process.env["PATH"] ?? "").split(delimiter), ...MORE_DIRECTORIES];
  for (const directory of directories) {
    const path = join(directory, process.platform === "win32" ? `${command}.exe` : command);
    if (directory !== "" && (await isExecutable(path))) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
