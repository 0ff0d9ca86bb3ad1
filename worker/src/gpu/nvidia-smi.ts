// One whole look at the machine's cards: the XML of `nvidia-smi`, joined with what only its other outputs tell, and whatever can still be had where that fails.
import { readdir } from "node:fs/promises";
import type { Gpu } from "@qubix/shared/protocol";
import {
  type GpuCard,
  type GpuDetection,
  type GpuInspection,
  type GpuPartition,
  type GpuTrouble,
  offeredOf,
  sameBus,
} from "./cards.ts";
import { createNvidiaSmi, LOOK_TIMEOUT_MS, type NvidiaSmi, type SmiAnswer } from "./smi-process.ts";
import {
  CAPABILITY_FIELDS,
  CARD_FIELDS,
  lostCardsOf,
  parseCapabilities,
  parseGpus,
  parsePartitions,
  queryArgs,
  saysNone,
} from "./query-csv.ts";
import { readReport, type XmlCard, type XmlReport } from "./query-xml.ts";

/** The driver's own list of cards; its entries are bus addresses. */
const DRIVER_CARDS = "/proc/driver/nvidia/gpus";
const MESSAGE_LENGTH_MAX = 500;
export type { GpuDetection, GpuInspection } from "./cards.ts";

const ABSENT: GpuInspection = { detection: { kind: "absent" }, cards: [], troubles: [] };

export interface InspectOptions {
  /** Cards that are known from before, by UUID: they are asked for one by one where one lost card makes the driver silent about all. */
  readonly known?: readonly string[];
  readonly timeoutMs?: number;
  readonly driverCards?: string;
}

export interface Inspector {
  inspect(options?: InspectOptions): Promise<GpuInspection>;
}

/** Remembers what never changes of a card, so that it is asked for once. */
export function createInspector(smi: NvidiaSmi): Inspector {
  const capabilities = new Map<string, string | undefined>();

  async function inspect(options: InspectOptions = {}): Promise<GpuInspection> {
    const timeoutMs = options.timeoutMs ?? LOOK_TIMEOUT_MS;
    const answer = await smi.run(["-q", "-x"], timeoutMs);
    if (answer.kind === "absent") return ABSENT;
    if (answer.kind === "hangs") return broken("nvidia-smi does not answer");
    const text = wordsOf(answer);
    const report = readReport(answer.stdout);
    if (report !== undefined && report.cards.length + report.troubles.length > 0) return complete(report, timeoutMs);
    if (saysNone(text) || isEmptyReport(report, answer)) return inspectionOf([], []);
    const lost = lostCardsOf(text);
    if (lost.length > 0) return besides(lost, options, timeoutMs);
    return fromCsv(text, timeoutMs);
  }

  /** What the document does not tell: compute capabilities, and the UUIDs of partitions. */
  async function complete(report: XmlReport, timeoutMs: number): Promise<GpuInspection> {
    await learnCapabilities(report.cards, timeoutMs);
    const partitioned = report.cards.some((card) => card.isPartitioned && card.partitions.length > 0);
    const listed = partitioned ? parsePartitions(wordsOf(await smi.run(["-L"], timeoutMs))) : [];
    const cards = report.cards.map((card): GpuCard => {
      const computeCapability = capabilities.get(card.gpu.uuid);
      const gpu = computeCapability === undefined ? card.gpu : { ...card.gpu, computeCapability };
      return { ...card, gpu, partitions: namedPartitions(card, listed) };
    });
    return inspectionOf(cards, report.troubles);
  }

  async function learnCapabilities(cards: readonly XmlCard[], timeoutMs: number): Promise<void> {
    if (cards.every((card) => capabilities.has(card.gpu.uuid))) return;
    const told = parseCapabilities(wordsOf(await smi.run(queryArgs(CAPABILITY_FIELDS), timeoutMs)));
    for (const { gpu } of cards) capabilities.set(gpu.uuid, told.get(gpu.uuid));
  }

  /** A lost card makes the driver silent about the good ones, unless they are asked for by name. */
  async function besides(
    lost: ReturnType<typeof lostCardsOf>,
    options: InspectOptions,
    timeoutMs: number,
  ): Promise<GpuInspection> {
    const inDriver = await readdir(options.driverCards ?? DRIVER_CARDS).catch(() => []);
    const wanted = [
      ...(options.known ?? []),
      ...inDriver.filter((id) => !lost.some(({ busId }) => sameBus(busId, id))),
    ];
    const cards = new Map<string, XmlCard>();
    const troubles: GpuTrouble[] = [...lost];
    for (const id of wanted) {
      const isSeen = [...cards.values()].some((card) => card.gpu.uuid === id || sameBus(card.busId, id));
      if (isSeen) continue;
      const answer = await smi.run(["-q", "-x", "-i", id], timeoutMs);
      const report = answer.kind === "said" ? readReport(answer.stdout) : undefined;
      for (const card of report?.cards ?? []) cards.set(card.gpu.uuid, card);
      troubles.push(...(report?.troubles ?? []));
    }
    return complete({ cards: [...cards.values()], troubles }, timeoutMs);
  }

  /** Old drivers without the XML, and documents that cannot be read. `said`: what came instead. */
  async function fromCsv(said: string, timeoutMs: number): Promise<GpuInspection> {
    const answer = await smi.run(queryArgs(CARD_FIELDS), timeoutMs);
    if (answer.kind !== "said") return broken(said === "" ? "nvidia-smi does not answer" : said);
    const detection = parseGpus(answer.stdout);
    if (answer.code === 0 && detection.kind === "gpus") return ofGpus(detection.gpus);
    return broken(wordsOf(answer) || said || `nvidia-smi ended with exit code ${answer.code}`);
  }

  return { inspect };
}

/** One look, for who wants no more. */
export async function detectGpus(command?: string): Promise<GpuDetection> {
  return (await createInspector(createNvidiaSmi(command)).inspect()).detection;
}

/** A document without cards is an answer only where it ends well. */
function isEmptyReport(report: XmlReport | undefined, answer: SmiAnswer): boolean {
  return report !== undefined && answer.kind === "said" && answer.code === 0;
}

function namedPartitions(card: XmlCard, listed: ReturnType<typeof parsePartitions>): readonly GpuPartition[] {
  if (!card.isPartitioned) return [];
  return card.partitions.flatMap(({ index, ...partition }) => {
    const twin = listed.find((one) => one.parentUuid === card.gpu.uuid && one.index === index);
    const uuid = partition.uuid ?? twin?.uuid;
    // Without a UUID no container can be given it.
    return uuid === undefined ? [] : { ...partition, uuid, profile: twin?.profile };
  });
}

function inspectionOf(cards: readonly GpuCard[], troubles: readonly GpuTrouble[]): GpuInspection {
  const [first] = troubles;
  // All that is there is of no use: that is told, not "no GPUs".
  if (cards.length === 0 && first !== undefined) return { ...broken(describeTrouble(first)), troubles };
  return { detection: { kind: "gpus", gpus: offeredOf(cards) }, cards, troubles };
}

/** The old way tells of no partitions: a partitioned card cannot be told from a whole one, and jobs sent to it fail to start. */
function ofGpus(gpus: readonly Gpu[]): GpuInspection {
  const cards = gpus.map((gpu) => ({ gpu, isPartitioned: false, partitions: [], now: {}, processes: [] }));
  return { detection: { kind: "gpus", gpus }, cards, troubles: [] };
}

export function describeTrouble({ busId, uuid, message }: GpuTrouble): string {
  return `GPU ${uuid ?? busId ?? "without a name"}: ${message}`;
}

function broken(message: string): GpuInspection {
  return { detection: { kind: "broken", message: message.slice(0, MESSAGE_LENGTH_MAX) }, cards: [], troubles: [] };
}

function wordsOf(answer: SmiAnswer): string {
  if (answer.kind !== "said") return "";
  return `${answer.stdout}${answer.stderr}`.trim();
}
