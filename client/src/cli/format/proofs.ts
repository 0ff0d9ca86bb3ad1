// What a worker has proven of its hardware, and what keeps the rest out of the market, in words.
import type { Worker } from "../../sdk/types.ts";
import { formatDuration, printable } from "./units.ts";

type Proof = Worker["proofs"][number];

/** In a word: the worst of what has to be proven. */
export function proofsText({ proofs, verified }: Worker): string {
  if (proofs.length === 0) return "-";
  if (verified) return "verified";
  const open = (["unsupported", "failed", "proving", "waiting"] as const).find((state) =>
    proofs.some((proof) => proof.state === state),
  );
  return open === "unsupported" ? "update worker" : open === "waiting" ? "unproven" : (open ?? "unproven");
}

/** What keeps hardware of a worker out of the market, and what to do. */
export function unprovenLines(worker: Worker): readonly string[] {
  const wanting = worker.proofs.filter(({ state }) => state === "failed" || state === "unsupported");
  // One cause, said once.
  return [...new Set(wanting.map((proof) => proofLine(worker, proof)))];
}

/** One piece of hardware, and what to do where it is not proven. */
export function proofLine(worker: Worker, proof: Proof): string {
  const gpu = worker.gpus.find(({ uuid }) => uuid === proof.gpuUuid);
  const what = proof.gpuUuid === null ? "cores and memory" : `${gpu?.model ?? "GPU"} ${proof.gpuUuid}`;
  return printable(proof.state === "unsupported" ? UNSUPPORTED : `${what}: ${stateText(proof)}`);
}

const UNSUPPORTED =
  "its agent cannot prove its hardware, so it gets no work: update qubix-worker on that machine and start it again";

function stateText({ state, provenMsAgo, figures, failure }: Proof): string {
  if (state === "proven") {
    const measured = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
    return `proven ${formatDuration(provenMsAgo ?? 0)} ago${measured.length > 0 ? ` (${measured.join(", ")})` : ""}`;
  }
  if (state === "proving") return "proving now";
  if (failure === null) return "not proven yet; it is asked as soon as it is online and idle, and gets no work before";
  return `not proven, so it gets no work. ${failureText(failure)}`;
}

function failureText({ code, message, count, retryInMs }: NonNullable<Proof["failure"]>): string {
  const tries = count === 1 ? "" : `, ${count} times in a row`;
  return `${code}${tries}: ${message} Asked again in ${formatDuration(retryInMs)}, or a minute after it is started anew`;
}
