// Answers the orchestrator's challenges: runs the program that fits, commits to the answer at once, then sends it over the bulk socket.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { commitmentOf, MATRIX_SIZE_MULTIPLE, NONCE_BYTES, type ProofWork, sumsOf } from "@qubix/shared/proof";
import type { OrchestratorMessage, ProofTarget } from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import type { Slot } from "../core/index.ts";
import type { BulkLink } from "../link/bulk.ts";
import type { ControlLink } from "../link/control.ts";
import { type Program, type ProofResult, runProgram } from "./program.ts";
import { programFor } from "./programs.ts";

type ProveOrder = Extract<OrchestratorMessage, { kind: "prove" }>;

/** No challenge keeps the hardware longer, whatever it says. */
const TIMEOUT_MS_MAX = 60_000;
/** An answer that has not left by then is not awaited any more. */
const UPLOAD_TIMEOUT_MS = 180_000;
const CODE = /^[a-z][a-z0-9_]{0,39}$/;
const MESSAGE_LENGTH_MAX = 500;

export interface ProverPorts {
  readonly control: Pick<ControlLink, "send">;
  readonly bulk: Pick<BulkLink, "proof">;
  readonly logger: Logger;
  /** What the agent has in hand now. */
  slots(): Iterable<Pick<Slot, "phase" | "run">>;
  /** How many cores are offered now. */
  cpus(): number;
}

export interface ProverConfig {
  readonly dataDir: string;
  /** The program for GPUs, where it is not in one of its usual places. */
  readonly gpuProofProgram?: string | undefined;
}

export interface Prover {
  /**
   * Looks at every order that comes; true for `prove`, which is dealt with here. Work that arrives while hardware is being proven comes first: proofs are
   * given up for it.
   */
  order(message: OrchestratorMessage): boolean;
  /** Hardware is being proven. */
  isBusy(): boolean;
  /** The session ended, and every challenge with it. */
  closed(): void;
  stop(): void;
}

interface Running {
  readonly challengeId: string;
  readonly abort: AbortController;
  /** The answer is fixed; only sending is left, which is in nobody's way. */
  committed: boolean;
}

/** Reasons to give a proof up. */
const SESSION_ENDED = "session_ended";
const BUSY = "busy";

export function createProver(ports: ProverPorts, config: ProverConfig): Prover {
  const folder = join(config.dataDir, "proofs");
  /** One at a time for each piece of hardware; different GPUs are proven side by side, or one card could answer for several. */
  const running = new Map<string, Running>();
  let stopped = false;

  function prove(order: ProveOrder): void {
    const key = keyOf(order.target);
    const before = running.get(key);
    // Said twice.
    if (stopped || before?.challengeId === order.challengeId) return;
    if (before !== undefined && !before.committed) return refuse(order, busy("another proof of it is running"));
    before?.abort.abort(given(SESSION_ENDED, "another challenge came"));
    const own: Running = { challengeId: order.challengeId, abort: new AbortController(), committed: false };
    running.set(key, own);
    void answer(order, own).finally(() => {
      if (running.get(key) === own) running.delete(key);
    });
  }

  async function answer(order: ProveOrder, own: Running): Promise<void> {
    const { challengeId } = order;
    try {
      const result = await resultOf(order, own.abort.signal);
      const { memoryMiB } = result;
      own.committed = true;
      ports.control.send({
        kind: "proof.commit",
        challengeId,
        commitment: commitmentOf(result.answer),
        memoryMiB,
        fillMs: Math.round(result.fillMs),
        chaseMs: Math.round(result.chaseMs),
        multiplyMs: Math.round(result.multiplyMs),
        claim: signedSums({ ...workOf(order), memoryMiB }, result.answer),
      });
      await ports.bulk.proof(
        challengeId,
        result.answer,
        AbortSignal.any([own.abort.signal, AbortSignal.timeout(UPLOAD_TIMEOUT_MS)]),
      );
      ports.logger.info({ event: "proof_answered", challengeId, memoryMiB, target: order.target }, "hardware proven");
    } catch (error) {
      const problem = problemOf(error);
      if (problem.code === SESSION_ENDED) return;
      if (own.committed) {
        const { code } = problem;
        ports.logger.warn({ event: "proof_not_sent", challengeId, code }, problem.message);
      } else refuse(order, problem);
    }
  }

  async function resultOf(order: ProveOrder, signal: AbortSignal): Promise<ProofResult> {
    const work = workOf(order);
    if (isInUse(order.target, ports.slots())) throw busy("a job uses it");
    const program: Program = programFor(order.target, { threads: threadsOf(ports.cpus()), ...config });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const timeoutMs = Math.min(order.timeoutMs, TIMEOUT_MS_MAX);
    return runProgram(program, { work, timeoutMs, answerPath: join(folder, order.challengeId) }, signal);
  }

  function refuse({ challengeId, target }: ProveOrder, { code, message }: QubixError): void {
    ports.logger.warn({ event: "proof_failed", challengeId, target, code }, message);
    ports.control.send({
      kind: "proof.failed",
      challengeId,
      code: CODE.test(code) ? code : "program_failed",
      message: message.slice(0, MESSAGE_LENGTH_MAX),
    });
  }

  function giveUp(reason: QubixError, which: (own: Running) => boolean): void {
    for (const own of running.values()) if (which(own)) own.abort.abort(reason);
  }

  // Answers that an earlier agent left behind.
  rmSync(folder, { recursive: true, force: true });
  return {
    order(message) {
      if (message.kind === "prove") {
        prove(message);
        return true;
      }
      if (message.kind === "assign" || message.kind === "promote") {
        giveUp(busy("work came for it"), (own) => !own.committed);
      }
      return false;
    },
    isBusy: () => running.size > 0,
    closed: () => giveUp(given(SESSION_ENDED, "the connection ended"), () => true),
    stop() {
      stopped = true;
      giveUp(given(SESSION_ENDED, "the agent stops"), () => true);
    },
  };
}

/** The link adds the signature. */
function signedSums(work: ProofWork, answer: Uint8Array) {
  const { states, root } = sumsOf(work, answer);
  return { states: [...states], root };
}

function workOf(order: ProveOrder): ProofWork {
  const { target, memoryMiB, chaseSteps, matrixSize, matrixSteps } = order;
  const nonce = Buffer.from(order.nonce, "base64url");
  if (nonce.length !== NONCE_BYTES || matrixSize % MATRIX_SIZE_MULTIPLE !== 0) {
    throw given(
      "order_malformed",
      "The challenge is malformed; the orchestrator may be newer than this agent: update it.",
    );
  }
  return { target, nonce, memoryMiB, chaseSteps, matrixSize, matrixSteps };
}

/** A standby that only waits, and what is over, use nothing. */
function isInUse(target: ProofTarget, slots: Iterable<Pick<Slot, "phase" | "run">>): boolean {
  for (const { phase, run } of slots) {
    if (phase === "ready" || phase === "ended" || phase === "removing") continue;
    if (target.kind === "cpu" || run.gpuUuids.includes(target.uuid)) return true;
  }
  return false;
}

function threadsOf(cpus: number): number {
  return Math.max(1, Math.floor(cpus));
}

function keyOf(target: ProofTarget): string {
  return target.kind === "gpu" ? target.uuid : "cpu";
}

function busy(why: string): QubixError {
  return given(BUSY, `The hardware is busy: ${why}.`);
}

function given(code: string, message: string): QubixError {
  return new QubixError(code, message, { category: "provider" });
}

function problemOf(error: unknown): QubixError {
  if (error instanceof QubixError) return error;
  return given("program_failed", error instanceof Error ? error.message : String(error));
}
