// The program that proves cores and their memory: threads that share the work, in a process with a lower priority than the agent. Same flags and
// output as the program for GPUs, and --threads.
import { writeFileSync } from "node:fs";
import { availableParallelism, setPriority } from "node:os";
import { parseArgs } from "node:util";
import { NONCE_BYTES } from "@qubix/shared/proof";
import { makeProof } from "./prove.ts";

/** Behind the agent and its jobs, but still in front of nothing at all: at 19 a busy machine would never be done. */
const PRIORITY = 5;

interface Failure {
  readonly code: string;
  readonly message: string;
}

async function main(): Promise<void> {
  setPriority(PRIORITY);
  beFirstToGo();
  endWithParent();
  const { values } = parseArgs({
    options: {
      nonce: { type: "string" },
      "memory-mib": { type: "string" },
      lanes: { type: "string" },
      "chase-steps": { type: "string" },
      "matrix-size": { type: "string" },
      "matrix-steps": { type: "string" },
      "timeout-ms": { type: "string", default: "60000" },
      threads: { type: "string", default: String(availableParallelism()) },
      answer: { type: "string" },
    },
  });
  const nonce = Buffer.from(values.nonce ?? "", "hex");
  if (nonce.length !== NONCE_BYTES || values.answer === undefined) {
    return end({ code: "usage", message: "--nonce takes 64 hexadecimal digits, and --answer a file" });
  }
  const timeoutMs = number(values["timeout-ms"]);
  setTimeout(() => end({ code: "timeout", message: `It was not done within ${timeoutMs} ms.` }), timeoutMs).unref();
  const proof = await makeProof({
    work: {
      target: { kind: "cpu" },
      nonce,
      memoryMiB: number(values["memory-mib"]),
      chaseSteps: number(values["chase-steps"]),
      matrixSize: number(values["matrix-size"]),
      matrixSteps: number(values["matrix-steps"]),
    },
    lanes: number(values.lanes),
    threads: number(values.threads),
  });
  const { answer, ...report } = proof;
  writeFileSync(values.answer, answer, { mode: 0o600 });
  process.stdout.write(`${JSON.stringify({ kind: "cpu", ...report })}\n`, () => process.exit(0));
}

/** Should memory run out after all, Linux takes this program before a job. */
function beFirstToGo(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch {
    // Not Linux.
  }
}

/** The agent holds the other end of our input: when it is gone, so is the need for a proof. */
function endWithParent(): void {
  process.stdin.on("end", () => process.exit(1));
  process.stdin.on("error", () => process.exit(1));
  process.stdin.resume();
}

function end(failure: Failure): void {
  process.stdout.write(`${JSON.stringify({ error: failure })}\n`, () => process.exit(1));
}

function number(text: string | undefined): number {
  const value = Number(text ?? "");
  if (!Number.isInteger(value) || value < 0) throw new Error(`${text} is not a whole number`);
  return value;
}

try {
  await main();
} catch (error) {
  // Memory that cannot be had is a RangeError here.
  const code = error instanceof RangeError ? "no_memory" : "program_failed";
  end({ code, message: error instanceof Error ? error.message : String(error) });
}
