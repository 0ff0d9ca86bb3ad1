// Carries challenges out: makes the nonce, sends the order, takes the time until the commitment, gathers the answer and has it judged. What a verdict
// does is the core's. All of it is volatile: what is lost here is asked again, or counts as unanswered by the core's own deadline.
import { answerBytes, proofClaimText, type WrongClaim } from "@qubix/shared/proof";
import type { SessionId, WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage, ProofTarget, WorkerMessage, WorkerOffer } from "@qubix/shared/protocol";
import { QubixError, type Logger, type RandomSource, verifySignature } from "@qubix/shared/runtime";
import type { CoreEvent, Effect, ProofVerdict, Reply } from "../core/index.ts";
import { type Claim, proofParameters } from "./parameters.ts";
import type { Verifier } from "./verifier.ts";
import type { ProofVerdict as Verdict, SentChallenge } from "./verify.ts";

type Challenge = Extract<Effect, { kind: "challenge" }>;
type ProofMessage = Extract<WorkerMessage, { kind: "proof.commit" | "proof.failed" }>;

/** What the gateway passes on of workers' proofs. */
export interface ProofGate {
  /** At once when the frame is read: the time is taken here. */
  heard(workerId: WorkerId, message: ProofMessage): void;
  /** Whether an answer of this size is awaited; any other is not worth its memory. */
  awaits(workerId: WorkerId, challengeId: string, bytes: number): boolean;
  /** Resolves when it is judged, whatever the verdict; rejects when it is not awaited (any more). */
  answered(workerId: WorkerId, challengeId: string, answer: Buffer): Promise<void>;
  /** The worker's session ended. */
  closed(workerId: WorkerId, sessionId: SessionId): void;
}

export interface ProofService extends ProofGate {
  challenge(effect: Challenge): void;
  stop(): Promise<void>;
}

export interface ProofPorts {
  submit(event: CoreEvent): Promise<Reply>;
  send(workerId: WorkerId, sessionId: SessionId, message: OrchestratorMessage): void;
  /** Of a worker, raw Ed25519, base64url. */
  publicKeyOf(workerId: WorkerId): string | undefined;
  readonly verifier: Verifier;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** Monotonic. */
  readonly nowMs: () => number;
}

const NONCE_BYTES = 32;
/** Beyond the time a challenge allows itself: frames on their way, and a loop of ours that is late. The verifier judges by the time alone. */
const COMMIT_GRACE_MS = 5_000;
/** From the commitment to the whole answer; a little less than the core waits, so that the word comes from who knows. */
const ANSWER_MS_MAX = 170_000;

type Commit = Extract<ProofMessage, { kind: "proof.commit" }>;
type SignedCommit = Commit & { readonly claim: NonNullable<Commit["claim"]>; readonly signature: string };

interface Open {
  readonly challenge: Challenge;
  readonly order: SentChallenge & { readonly timeoutMs: number };
  readonly claimed: Claim;
  readonly sentAtMs: number;
  readonly bytes: number;
  commit: { readonly message: SignedCommit; readonly elapsedMs: number } | null;
  answer: Buffer | null;
  timer: NodeJS.Timeout;
  /** Who waits for the verdict. */
  readonly waiting: { resolve(): void; reject(error: QubixError): void }[];
}

/** The core bounds how many challenges there are. */
export function createProofService(ports: ProofPorts): ProofService {
  const { verifier, random, logger, nowMs } = ports;
  /** By challenge; one a target of a worker. */
  const open = new Map<string, Open>();
  let stopped = false;

  const challenge = (effect: Challenge): void => {
    const claimed = claimOf(effect.target, effect.offer);
    if (stopped || claimed === undefined) return;
    const { workerId, sessionId, challengeId, target } = effect;
    for (const before of open.values()) if (isReplaced(before.challenge, effect)) forget(before);
    const params = proofParameters(claimed);
    const nonce = Buffer.from(random.bytes(NONCE_BYTES)).toString("base64url");
    const order = { target, nonce, ...params };
    const own: Open = {
      challenge: effect,
      order,
      claimed,
      sentAtMs: nowMs(),
      bytes: answerBytes(order),
      commit: null,
      answer: null,
      timer: setTimeout(() => {
        const message = `It did not answer within ${Math.round(params.timeoutMs / 1000)} s.`;
        conclude(own, { ok: false, code: "too_slow", message });
      }, params.timeoutMs + COMMIT_GRACE_MS),
      waiting: [],
    };
    open.set(challengeId, own);
    ports.send(workerId, sessionId, { kind: "prove", challengeId, ...order });
  };

  const find = (workerId: WorkerId, challengeId: string): Open | undefined => {
    const own = open.get(challengeId);
    return own?.challenge.workerId === workerId ? own : undefined;
  };

  const onCommit = (own: Open, message: Commit): void => {
    // Said again: the first word counts.
    if (own.commit !== null) return;
    if (!isSigned(message, ports.publicKeyOf(own.challenge.workerId))) {
      const why = "Its agent did not sign what it answered. Update it.";
      return conclude(own, { ok: false, code: "commitment_unsigned", message: why });
    }
    own.commit = { message, elapsedMs: nowMs() - own.sentAtMs };
    clearTimeout(own.timer);
    own.timer = setTimeout(() => {
      const why = "It committed to an answer that did not arrive. Its line may be too slow, or broken.";
      conclude(own, { ok: false, code: "no_answer", message: why });
    }, ANSWER_MS_MAX);
    if (own.answer !== null) judge(own, own.answer);
  };

  const judge = (own: Open, answer: Buffer): void => {
    const { commit, order, claimed } = own;
    if (commit === null) return;
    clearTimeout(own.timer);
    const { message, elapsedMs } = commit;
    verifier.verify({ params: order, commit: message, answer, claimed, elapsedMs }).then(
      (verdict) => conclude(own, toCore(own, message, verdict)),
      (error: unknown) => {
        logger.warn({ event: "proof_not_judged", workerId: own.challenge.workerId, err: error }, "asked again later");
        conclude(own, null);
      },
    );
  };

  /** `null`: it could not be judged. */
  const conclude = (own: Open, verdict: ProofVerdict | null): void => {
    const { workerId, challengeId, target } = own.challenge;
    if (open.get(challengeId) !== own) return;
    open.delete(challengeId);
    clearTimeout(own.timer);
    logger.info({ event: "proof_judged", workerId, target, verdict }, "judged");
    ports
      .submit({ kind: "worker.proof", workerId, challengeId, verdict })
      .catch((error: unknown) => {
        // The core's own deadline ends the challenge.
        logger.warn({ event: "verdict_not_taken", workerId, err: error }, "a verdict was lost");
      })
      .finally(() => {
        for (const waiting of own.waiting) waiting.resolve();
      });
  };

  const forget = (own: Open): void => {
    open.delete(own.challenge.challengeId);
    clearTimeout(own.timer);
    for (const waiting of own.waiting) waiting.reject(notAwaited());
  };

  return {
    challenge,
    heard(workerId, message) {
      const own = find(workerId, message.challengeId);
      if (own === undefined) return;
      if (message.kind === "proof.commit") return onCommit(own, message);
      if (own.commit === null) conclude(own, { ok: false, code: message.code, message: message.message });
    },
    awaits(workerId, challengeId, bytes) {
      const own = find(workerId, challengeId);
      return own !== undefined && own.answer === null && bytes === own.bytes;
    },
    answered(workerId, challengeId, answer) {
      const own = find(workerId, challengeId);
      if (own === undefined || own.answer !== null || answer.length !== own.bytes) return Promise.reject(notAwaited());
      own.answer = answer;
      const judged = new Promise<void>((resolve, reject) => own.waiting.push({ resolve, reject }));
      // The answer may overtake its commitment, which comes over another socket.
      if (own.commit !== null) judge(own, answer);
      return judged;
    },
    closed(workerId, sessionId) {
      for (const own of open.values()) {
        if (own.challenge.workerId === workerId && own.challenge.sessionId === sessionId) forget(own);
      }
    },
    async stop() {
      stopped = true;
      for (const own of open.values()) forget(own);
      await verifier.stop();
    },
  };
}

function isSigned(message: Commit, publicKey: string | undefined): message is SignedCommit {
  const { claim, signature } = message;
  if (claim === undefined || signature === undefined || publicKey === undefined) return false;
  return verifySignature(publicKey, proofClaimText({ ...message, ...claim }), signature);
}

/** What is wrong of a signed claim goes along, whole, so that anybody can work it out again. */
function toCore({ order, challenge }: Open, message: SignedCommit, verdict: Verdict): ProofVerdict {
  if (verdict.ok) return { ok: true, figures: { ...verdict.figures } };
  const { code, message: why, wrong } = verdict;
  if (wrong === undefined) return { ok: false, code, message: why };
  const { target, nonce, chaseSteps, matrixSize, matrixSteps } = order;
  const { commitment, memoryMiB, claim, signature } = message;
  const work = { target, nonce, memoryMiB, chaseSteps, matrixSize, matrixSteps };
  const wrongClaim: WrongClaim = {
    challengeId: challenge.challengeId,
    ...work,
    commitment,
    states: [...claim.states],
    root: claim.root,
    signature,
    ...wrong,
    path: [...wrong.path],
  };
  return { ok: false, code, message: why, wrongClaim };
}

/** The core has given the older one up: by its deadline, or with its session. */
function isReplaced(older: Challenge, { workerId, sessionId, target }: Challenge): boolean {
  if (older.workerId !== workerId) return false;
  return older.sessionId !== sessionId || JSON.stringify(older.target) === JSON.stringify(target);
}

/** What is claimed of the target; undefined when it is not offered (any more). */
function claimOf(target: ProofTarget, offer: WorkerOffer): Claim | undefined {
  if (target.kind === "cpu") return { kind: "cpu", cpus: offer.cpus, memoryMiB: offer.memoryMiB };
  const gpu = offer.gpus.find(({ uuid }) => uuid === target.uuid);
  return gpu && { kind: "gpu", model: gpu.model, memoryMiB: gpu.memoryMiB };
}

function notAwaited(): QubixError {
  const message = "No answer of this size to this challenge is awaited (any more).";
  return new QubixError("proof_not_awaited", message, { category: "conflict" });
}
