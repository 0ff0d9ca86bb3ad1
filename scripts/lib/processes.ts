// Starts our programs as processes of their own and knows how to end them: for the quickstart, the system tests and the benches.
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** A program that is not ready by then is broken. */
const READY_TIMEOUT_MS = 60_000;
/** The programs promise to stop within 10 s of SIGTERM. */
const STOP_TIMEOUT_MS = 15_000;
/** What of its log is shown when a program does not start. */
const TAIL_CHUNKS = 20;

export interface Program {
  readonly pid: number;
  /** The line of JSON it printed when it was ready. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Where its standard error goes. */
  readonly logFile: string;
  running(): boolean;
  /** SIGTERM, and SIGKILL when that is not obeyed. Resolves to the exit code. Can be called twice. */
  stop(): Promise<number | null>;
  /** SIGKILL: what a power cut looks like. */
  kill(): Promise<void>;
}

export interface ProgramOptions {
  readonly args: readonly string[];
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Put before the command, e.g. to run it in another namespace. It has to become the program, not to start it: signals are sent to it. */
  readonly enter?: readonly string[];
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `NAME/bin/qubix-NAME.js` with `--json` and waits for the line that says it is ready. Throws with the end of its log when it is not. */
export async function startProgram(name: "orchestrator" | "worker", options: ProgramOptions): Promise<Program> {
  mkdirSync(dirname(options.logFile), { recursive: true });
  const command = [...(options.enter ?? []), process.execPath, programFile(name), ...options.args, "--json"];
  const child = spawn(command[0] ?? "", command.slice(1), {
    cwd: ROOT,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(options.logFile, { flags: "a" });
  const tail: string[] = [];
  child.stderr.pipe(log);
  child.stderr.on("data", (data: Buffer) => {
    tail.push(data.toString());
    if (tail.length > TAIL_CHUNKS) tail.shift();
  });
  const exited = exitOf(child);
  const timer = setTimeout(() => child.kill("SIGKILL"), READY_TIMEOUT_MS);
  const ready = await Promise.race([readyLine(child), exited.then(() => null)]);
  clearTimeout(timer);
  if (ready === null || child.pid === undefined) {
    child.kill("SIGKILL");
    throw new Error(`qubix-${name} ${options.args.join(" ")} did not become ready:\n${tail.join("")}`);
  }
  return {
    pid: child.pid,
    ready,
    logFile: options.logFile,
    running: () => child.exitCode === null && child.signalCode === null,
    stop: async () => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      const code = await exited;
      clearTimeout(timer);
      return code;
    },
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Runs one of our programs to its end. */
export async function runProgram(
  name: "orchestrator" | "worker" | "client",
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  const child = spawn(process.execPath, [programFile(name), ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (data: Buffer) => out.push(data));
  child.stderr.on("data", (data: Buffer) => err.push(data));
  const code = await exitOf(child);
  return { code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function programFile(name: "orchestrator" | "worker" | "client"): string {
  return name === "client" ? join(ROOT, "client/bin/qubix.js") : join(ROOT, name, `bin/qubix-${name}.js`);
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code));
  });
}

function readyLine(child: ChildProcess): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const value = parseObject(line);
      if (value?.["event"] === "ready") resolve(value);
    });
  });
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // A line for people: not the one that is waited for.
  }
}
