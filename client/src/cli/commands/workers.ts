// `qubix workers`, `workers drain`.
import { collect } from "../../sdk/paging.ts";
import type { Worker } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { cpuText, diskText, gpuText, lineText } from "../format/hardware.ts";
import { proofLine, proofsText, unprovenLines } from "../format/proofs.ts";
import { reputationText } from "../format/reputation.ts";
import { formatFields, formatTable } from "../format/table.ts";
import { formatDuration, formatMiB, formatMoney } from "../format/units.ts";
import type { Colors, Handler } from "../session.ts";

const PERCENT = 100;
const STANDING_UNSTEADY = 0.35;

export const workers: Handler<object> = async (session, [id]) => {
  if (id !== undefined) {
    const worker = await session.client.workers.get(id);
    if (session.json) session.printJson(worker);
    else session.print(workerText(worker, session.colors));
    return EXIT_OK;
  }
  const items = await collect(session.client.workers.listAll());
  if (session.json) session.printJson({ items, nextCursor: null });
  else if (items.length === 0) {
    session.note(
      "You have no workers. Make a token with `qubix enrolments create`, then on the machine run `qubix-worker enrol`. What others offer: `qubix offers`.",
    );
  } else {
    session.print(workersText(items, session.colors));
    for (const worker of items) for (const line of unprovenLines(worker)) session.note(`${worker.name}: ${line}`);
  }
  return EXIT_OK;
};

export const drain: Handler<{ readonly off?: boolean; readonly move?: boolean }> = async (
  session,
  [id = ""],
  { off = false, move = false },
) => {
  const worker = await session.client.workers.drain(id, { draining: !off, move: move && !off });
  if (session.json) session.printJson(worker);
  else {
    const busy = worker.attempts.length + worker.standbys.length;
    session.print(
      worker.draining
        ? `Worker ${worker.id} gets no new jobs. ${busy === 0 ? "It is idle and can be stopped." : `${busy} on it ${move ? "move to other workers" : "go on"}.`}`
        : `Worker ${worker.id} gets jobs again.`,
    );
  }
  return EXIT_OK;
};

function workersText(items: readonly Worker[], colors: Colors): string {
  return formatTable(
    [
      { title: "WORKER", value: (worker) => worker.id },
      { title: "NAME", value: (worker) => worker.name },
      { title: "PHASE", value: phaseText, paint: (text, worker) => paintPhase(worker, text, colors) },
      { title: "REGION", value: (worker) => worker.region || "-" },
      { title: "HARDWARE", value: proofsText, paint: (text, worker) => paintProofs(worker, text, colors) },
      { title: "GPUS", value: gpusText },
      { title: "CPUS", value: (worker) => String(worker.cpus), align: "right" },
      { title: "MEMORY", value: (worker) => formatMiB(worker.memoryMiB), align: "right" },
      { title: "JOBS", value: (worker) => String(worker.attempts.length), align: "right" },
      { title: "STANDBYS", value: (worker) => String(worker.standbys.length), align: "right" },
      {
        title: "STANDING",
        value: standingText,
        align: "right",
        paint: (text, worker) => paintStanding(worker, text, colors),
      },
      { title: "REPUTATION", value: ({ reputation }) => reputationText(reputation), align: "right" },
      { title: "SEEN", value: seenText },
    ],
    items,
    colors,
  );
}

function workerText(worker: Worker, colors: Colors): string {
  return formatFields(
    [
      ["Worker", worker.id],
      ["Name", worker.name],
      ["Provider", worker.providerId],
      ["Phase", phaseText(worker), (text) => paintPhase(worker, text, colors)],
      ["Region", worker.region || null],
      ...gpuFields(worker),
      ["Hardware", proofsText(worker), (text) => paintProofs(worker, text, colors)],
      ...worker.proofs.map((proof): [string, string] => ["", proofLine(worker, proof)]),
      ["CPUs", String(worker.cpus)],
      ["Processor", cpuText(worker.hardware)],
      ["Memory", formatMiB(worker.memoryMiB)],
      ["Disk", diskText(worker.hardware)],
      ["Line", lineText(worker.hardware)],
      ["Attempts", worker.attempts.length === 0 ? "none" : worker.attempts.join(", ")],
      ["Standbys", worker.standbys.length === 0 ? "none" : worker.standbys.join(", ")],
      ["Standing", standingText(worker), (text) => paintStanding(worker, text, colors)],
      ["Reputation", reputationText(worker.reputation)],
      ["Work", workText(worker)],
      ["Earned", earnedText(worker)],
      ["Seen", seenText(worker)],
    ],
    colors,
  );
}

function paintProofs({ proofs, verified }: Worker, text: string, colors: Colors): string {
  if (proofs.length === 0) return text;
  if (verified) return colors.green(text);
  return proofs.some(({ state }) => state === "failed" || state === "unsupported")
    ? colors.red(text)
    : colors.yellow(text);
}

function gpuFields({ gpus }: Worker): readonly (readonly [string, string])[] {
  if (gpus.length === 0) return [["GPUs", "-"]];
  return gpus.map((gpu) => ["GPU", gpuText(gpu)] as const);
}

function phaseText(worker: Worker): string {
  return worker.draining ? `${worker.phase}, draining` : worker.phase;
}

function paintPhase(worker: Worker, text: string, colors: Colors): string {
  if (worker.phase === "online") return worker.draining ? colors.yellow(text) : colors.green(text);
  return worker.phase === "suspect" ? colors.yellow(text) : colors.red(text);
}

function gpusText(worker: Worker): string {
  if (worker.gpus.length === 0) return "-";
  const counts = new Map<string, number>();
  for (const { model } of worker.gpus) counts.set(model, (counts.get(model) ?? 0) + 1);
  return [...counts].map(([model, count]) => `${count} × ${model}`).join(", ");
}

function standingText({ standing }: Worker): string {
  return `${Math.round(standing * PERCENT)}%`;
}

/** Below this it is chosen after all others: two losses within a few hours. */
function paintStanding({ standing }: Worker, text: string, colors: Colors): string {
  return standing < STANDING_UNSTEADY ? colors.yellow(text) : text;
}

/** Each number halves every 30 days, so that they are no counts. */
function workText({ reputation }: Worker): string {
  const { completed, verified, failed, disputed, wrong } = reputation;
  const parts = { completed, verified, failed, disputed, wrong };
  return Object.entries(parts)
    .map(([name, weight]) => `${weight} ${name}`)
    .join(", ");
}

/** Settled jobs only. */
function earnedText({ earned = [] }: Worker): string {
  return earned.length === 0 ? "nothing yet" : earned.map(formatMoney).join(", ");
}

function seenText(worker: Worker): string {
  return worker.lastSeenMsAgo === null ? "never" : `${formatDuration(worker.lastSeenMsAgo)} ago`;
}
