// A program that makes a proof: a process of its own, so that its work and its memory are never the agent's. Both kinds (for a GPU, for cores) take
// the same flags, write the answer into a file and one line of JSON to their output.
import { spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { z } from "zod";
import { answerBytes, lanesOf, type ProofWork } from "@qubix/shared/proof";
import { QubixError } from "@qubix/shared/runtime";

/** What is started, and with which flags before those of the proof. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

export interface ProofOrder {
  readonly work: ProofWork;
  readonly timeoutMs: number;
  /** Where the program writes the answer; gone afterwards. */
  readonly answerPath: string;
}

export interface ProofResult {
  readonly answer: Uint8Array;
  readonly memoryMiB: number;
  readonly fillMs: number;
  readonly chaseMs: number;
  readonly multiplyMs: number;
}

const OUTPUT_BYTES_MAX = 64 * 1024;
/** The program ends by itself when its time is up; this is for one that hangs. */
const HANGING_MS = 2_000;
/** An answer with more is not one. */
const ms = z.number().min(0).max(3_600_000);

const reportSchema = z.union([
  z.object({ memoryMiB: z.number().int().min(1), fillMs: ms, chaseMs: ms, multiplyMs: ms }),
  z.object({ error: z.object({ code: z.string().max(100), message: z.string() }) }),
]);

/** Runs it. Throws a QubixError with the program's own code, or `timeout`, `no_program`, `program_failed`; the signal's reason when aborted. */
export async function runProgram(program: Program, order: ProofOrder, signal: AbortSignal): Promise<ProofResult> {
  try {
    const output = await outputOf(program, flagsOf(order), order.timeoutMs + HANGING_MS, signal);
    const report = parseReport(output.text);
    if (report === undefined) throw failed("program_failed", `The proof's program ended ${output.how} without a word.`);
    if ("error" in report) throw failed(report.error.code, report.error.message);
    const answer = await readFile(order.answerPath);
    if (answer.length !== answerBytes(order.work)) {
      throw failed("program_failed", "The proof's program wrote an answer of the wrong length.");
    }
    const { memoryMiB, fillMs, chaseMs, multiplyMs } = report;
    return { answer, memoryMiB, fillMs, chaseMs, multiplyMs };
  } finally {
    await rm(order.answerPath, { force: true });
  }
}

function flagsOf({ work, timeoutMs, answerPath }: ProofOrder): string[] {
  const { target, nonce, memoryMiB, chaseSteps, matrixSize, matrixSteps } = work;
  const flags: Record<string, string | number> = {
    "--nonce": Buffer.from(nonce).toString("hex"),
    "--memory-mib": memoryMiB,
    "--lanes": lanesOf(target),
    "--chase-steps": chaseSteps,
    "--matrix-size": matrixSize,
    "--matrix-steps": matrixSteps,
    "--timeout-ms": timeoutMs,
    "--answer": answerPath,
    ...(target.kind === "gpu" ? { "--uuid": target.uuid } : {}),
  };
  return Object.entries(flags).flatMap(([flag, value]) => [flag, String(value)]);
}

function outputOf(
  program: Program,
  flags: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly how: string }> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // Its input stays open and empty: it ends when this agent does.
    const child = spawn(program.command, [...program.args, ...flags], { stdio: ["pipe", "pipe", "ignore"] });
    let text = "";
    let late = false;
    const kill = () => child.kill("SIGKILL");
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, timeoutMs);
    signal.addEventListener("abort", kill, { once: true });
    child.stdin.on("error", () => undefined);
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (text.length > OUTPUT_BYTES_MAX) kill();
    });
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", kill);
    };
    child.once("error", (cause: NodeJS.ErrnoException) => {
      over();
      reject(failed("no_program", `The proof's program ${program.command} cannot be started: ${cause.message}.`));
    });
    // What it started itself may outlive it and keep its output open: whoever was killed is not waited for.
    child.once("exit", () => {
      if (signal.aborted) reject(signal.reason as Error);
      else if (late) reject(failed("timeout", `The proof was not done within ${timeoutMs} ms.`));
      else return;
      over();
      child.stdout.destroy();
    });
    child.once("close", (code, killedBy) => {
      over();
      resolve({ text, how: killedBy === null ? `with code ${code}` : `by ${killedBy}` });
    });
  });
}

function parseReport(text: string): z.output<typeof reportSchema> | undefined {
  try {
    return reportSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function failed(code: string, message: string): QubixError {
  return new QubixError(code, message, { category: "provider" });
}
