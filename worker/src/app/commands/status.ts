// `qubix-worker status` and `qubix-worker drain`: what the running worker is doing.
import { setTimeout as sleep } from "node:timers/promises";
import { formatUnits } from "@qubix/shared/domain";
import type { WireMoney } from "@qubix/shared/protocol";
import { askAgent } from "../agent-socket.ts";
import { gpuLine } from "../gpu-line.ts";
import type { PauseReason } from "../offer.ts";
import { flagOf } from "../owner/settings.ts";
import { DRAIN_DEADLINE_MS } from "../owner/leaving.ts";
import type { AgentStatus, SlotStatus } from "../owner/status.ts";
import { type CommonFlags, dataDirOf, print } from "./common.ts";

export type DrainFlags = CommonFlags & {
  readonly undo?: boolean;
  readonly wait?: boolean;
  readonly now?: boolean;
  readonly deadline?: number;
};

const LOOK_EVERY_MS = 1_000;
const PAUSE_WORDS: Readonly<Record<PauseReason, string>> = {
  drained: "drained (go on with: qubix-worker drain --undo)",
  quiet_hours: "quiet hours",
  gpu_in_use: "a GPU is in use",
  maintenance: "maintenance",
};

export async function runStatus(flags: CommonFlags): Promise<void> {
  show(flags, await ask(flags, { command: "status" }));
}

export async function runDrain(flags: DrainFlags): Promise<void> {
  const draining = flags.undo !== true;
  const { now = false, deadline: deadlineS } = flags;
  const move = draining && (now || deadlineS !== undefined);
  const deadlineMs = deadlineS === undefined ? DRAIN_DEADLINE_MS : deadlineS * 1_000;
  let status = await ask(flags, { command: "drain", draining, ...(move ? { deadlineMs } : {}) });
  if (draining && flags.wait === true) status = await waitUntilIdle(flags, status);
  show(flags, status);
}

async function ask(flags: CommonFlags, request: Parameters<typeof askAgent>[1]): Promise<AgentStatus> {
  return (await askAgent(dataDirOf(flags), request)) as AgentStatus;
}

/** Until nothing is at work here any more; says what is left whenever that changes, on standard error. */
async function waitUntilIdle(flags: CommonFlags, first: AgentStatus): Promise<AgentStatus> {
  let status = first;
  let told = "";
  while (status.slots.length > 0) {
    const left = status.slots.map((slot) => `${slot.jobId} ${slot.phase}${progressText(slot)}`).join(", ");
    if (left !== told) process.stderr.write(`waiting for ${status.slots.length}: ${left}\n`);
    told = left;
    await sleep(LOOK_EVERY_MS);
    status = await ask(flags, { command: "status" });
  }
  return status;
}

function show(flags: CommonFlags, status: AgentStatus): void {
  if (flags.json === true) return print(JSON.stringify(status));
  const { url, connectedSince } = status;
  const line = connectedSince === null ? `not connected to ${url}` : `connected to ${url} for ${since(connectedSince)}`;
  print(`${status.workerId} (${status.name}): ${line}`);
  print(
    `version ${status.version}, running for ${since(status.startedAt)}${status.metricsUrl === null ? "" : `, metrics at ${status.metricsUrl}`}`,
  );
  for (const { reason, until } of status.pauses) {
    print(`takes no new work: ${PAUSE_WORDS[reason]}${until === null ? "" : ` until ${until}`}`);
  }
  if (status.leaving !== null) print("what runs here is being moved to other workers");
  const gpus = status.gpus.length === 0 ? "no GPUs" : status.gpus.join(", ");
  print(`offers ${gpus}, ${status.cpus} cores, ${status.memoryMiB} MiB memory, ${status.diskMiB} MiB disk`);
  print(`prices: ${pricesText(status)}`);
  print(`features: ${status.features.length === 0 ? "none" : status.features.join(", ")}`);
  if (status.uplinkMbpsMax !== null)
    print(`uplink: at most ${status.uplinkMbpsMax} Mbit/s for checkpoints and outputs`);
  if (status.set.length > 0) print(`set while running: ${status.set.map(flagOf).join(", ")}`);
  print(`earned: ${earnedText(status)}`);
  for (const gpu of status.gpuStates) print(`  ${gpuLine(gpu)}`);
  if (status.slots.length === 0) print("nothing runs");
  for (const slot of status.slots) print(`  ${slotText(slot)}`);
}

function pricesText(status: AgentStatus): string {
  const prices: readonly (readonly [WireMoney | null, string])[] = [
    [status.pricePerGpuHour, "a GPU and hour"],
    [status.pricePerGpuJobCpuHour, "a core beside a GPU and hour"],
    [status.pricePerCpuHour, "a core and hour"],
    [status.pricePerMemoryGiBHour, "a GiB of memory and hour"],
    [status.pricePerDiskGiBHour, "a GiB of disk and hour"],
    [status.pricePerEgressGiB, "a GiB that a job sends"],
  ];
  const texts = prices.flatMap(([price, of]) => (price === null ? [] : [`${moneyText(price)} ${of}`]));
  return `${texts.join(", ")}, standby ${status.standbyPercent}%`;
}

function earnedText({ earnings: { total, today } }: AgentStatus): string {
  if (total === null) return "not told yet";
  if (total.length === 0) return "nothing yet";
  return `${total.map(moneyText).join(", ")} in all, ${today.length === 0 ? "nothing" : today.map(moneyText).join(", ")} today`;
}

function slotText(slot: SlotStatus): string {
  const role = slot.role === "standby" ? "standby" : `epoch ${slot.epoch}`;
  const activity = slot.activity === null ? "" : ` (${slot.activity})`;
  const rate = slot.ratePerHour === null ? "" : `, ${moneyText(slot.ratePerHour)} an hour`;
  return `${slot.jobId}  ${role}  ${slot.phase}${activity}${progressText(slot)}, ran ${duration(slot.ranMs)}, checkpoint ${slot.checkpointSeq}${rate}  ${slot.image}`;
}

function progressText({ progress }: SlotStatus): string {
  return progress === null ? "" : `, ${Math.round(progress * 100)}%`;
}

function moneyText({ amount, currency }: WireMoney): string {
  return `${formatUnits(BigInt(amount))} ${currency}`;
}

function since(time: string): string {
  return duration(Date.now() - Date.parse(time));
}

/** `2 d 3 h`, `3 h 4 min`, `5 min`, `12 s`. */
function duration(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [min, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86_400)];
  if (d > 0) return `${d} d ${h % 24} h`;
  if (h > 0) return `${h} h ${min % 60} min`;
  return min > 0 ? `${min} min` : `${s} s`;
}
