// The timeline in plain words: one line for each event, with the time since the first.
import type { EventView, WireMoney } from "@qubix/shared/protocol";
import type { Colors } from "../session.ts";
import { formatBytes, formatDuration, formatMoney, formatRate, printable } from "./units.ts";

/** Turns events of one job, in order, into lines. Keeps the time of the first, and the job's currency. */
export interface TimelineFormatter {
  line(event: EventView): string;
}

/** Seconds with three decimals fit here up to a day: `+86400.000 s`. */
const TIME_WIDTH = 12;

export function createTimelineFormatter(currency: string, colors: Colors): TimelineFormatter {
  let firstMs: number | undefined;
  return {
    line: (event) => {
      firstMs ??= event.clockMs;
      const time = `+${((event.clockMs - firstMs) / 1000).toFixed(3)} s`.padStart(TIME_WIDTH);
      return `${colors.dim(time)}  ${paint(event.kind, printable(describeEvent(event, currency)), colors)}`;
    },
  };
}

/** Whether an event is part of the job's story; its movements of money are told by `settled`, and in `qubix wallet entries`. */
export function isStory(event: EventView): boolean {
  return event.channel === "jobs";
}

/** What happened, in words. Kinds that are not known here are shown with their data. */
export function describeEvent(event: EventView, currency: string): string {
  const describe = DESCRIPTIONS[event.kind];
  const data = new EventData(event, currency);
  if (describe !== undefined) return describe(data);
  const rest = Object.entries(event.data).map(([key, value]) => `${key} ${textOf(value)}`);
  return [event.kind.replaceAll("_", " "), ...rest].join(", ");
}

/** Reads the loosely typed data of an event; what is missing or of another type is left out of the sentence. */
class EventData {
  readonly #event: EventView;
  readonly #currency: string;

  constructor(event: EventView, currency: string) {
    this.#event = event;
    this.#currency = currency;
  }

  number(key: string): number | undefined {
    const value = this.#event.data[key];
    return typeof value === "number" ? value : undefined;
  }

  text(key: string): string | undefined {
    const value = this.#event.data[key];
    return typeof value === "string" && value !== "" ? value : undefined;
  }

  worker(): string {
    return this.text("workerId") ?? this.#event.workerId ?? "a worker";
  }

  /** From a decimal string of micro-units. */
  money(key: string): WireMoney | undefined {
    const amount = this.#event.data[key];
    if (typeof amount !== "string" || !/^[0-9]+$/.test(amount)) return undefined;
    return { amount, currency: this.text("currency") ?? this.#currency };
  }

  /** ` at 0.12 USD/h`. */
  rate(): string {
    const money = this.money("ratePerHour");
    return money === undefined ? "" : ` at ${formatRate(money)}`;
  }

  epoch(): string {
    const epoch = this.number("epoch");
    return epoch === undefined ? "" : ` (epoch ${epoch})`;
  }

  duration(key: string, before: string): string {
    const ms = this.number(key);
    return ms === undefined ? "" : `${before}${formatDuration(ms)}`;
  }

  /** `, work lost 1.2 s`. */
  lost(): string {
    return this.duration("workLostMs", ", work lost ");
  }

  from(): string {
    const seq = this.number("fromSeq");
    if (seq === undefined) return "";
    return seq === 0 ? " from the beginning" : ` from checkpoint ${seq}`;
  }

  /** A job's checkpoint, as `{ jobId, seq }`. */
  checkpointName(key: string): { readonly jobId: string; readonly seq: number } | undefined {
    const value = this.#event.data[key];
    if (typeof value !== "object" || value === null) return undefined;
    const { jobId, seq } = value as { readonly jobId?: unknown; readonly seq?: unknown };
    return typeof jobId === "string" && typeof seq === "number" ? { jobId, seq } : undefined;
  }

  because(...keys: readonly string[]): string {
    const why = keys.map((key) => this.text(key)).find((text) => text !== undefined);
    return why === undefined ? "" : `: ${REASONS[why] ?? why.replaceAll("_", " ")}`;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  closed: "its socket closed",
  worker_closed: "the primary's socket closed",
  silent: "it fell silent",
  worker_lost: "the primary's machine was lost",
  worker_failed: "the primary's machine failed",
  lost_container: "the container was gone",
  stopped: "its worker stopped it",
  exit_code: "it ended by itself with an error",
  no_offer: "no offer matched in time",
  standby_ready: "its standby was ready",
  cancelled: "it was cancelled",
  deadline: "its duration is used up",
};

const DESCRIPTIONS: Readonly<Record<string, (data: EventData) => string>> = {
  queued: queuedText,
  matched: (data) => `matched to worker ${data.worker()}${data.rate()}${data.epoch()}${startOf(data)}`,
  started: (data) => `started on ${data.worker()}${data.epoch()}${startOf(data)}`,
  checkpoint: checkpointText,
  checkpoint_damaged: (data) => {
    const parent = data.number("parentSeq") ?? 0;
    const from = parent === 0 ? "from its beginning" : `from checkpoint ${parent}`;
    return `checkpoint ${data.number("seq") ?? "?"} is damaged, the job goes on ${from}`;
  },
  checkpoint_removed: (data) => `checkpoint ${data.number("seq") ?? "?"} was removed`,
  storage_refused: (data) => {
    const seq = data.number("newestSeq");
    const still = seq === undefined || seq === 0 ? "the job has no checkpoint" : `checkpoint ${seq} stays the newest`;
    return `not stored, ${still}${data.because("message", "code")}`;
  },
  checkpoint_interval: intervalText,
  suspect: (data) => {
    const silence = data.text("why") === "silent" ? data.duration("silentMs", ", no sign of life for ") : "";
    return `primary ${data.worker()} is suspect${data.because("why")}${silence}`;
  },
  promoted: (data) => `standby promoted on ${data.worker()}${data.epoch()}${data.from()}${data.lost()}`,
  requeued: (data) => `waits for another place${data.because("why")}; goes on${data.from()}${data.lost()}`,
  lease_wait: (data) => {
    const most = data.duration("waitMs", " for at most ");
    return `waits${most}${data.because("why")}; its container on ${data.worker()} may still run, so nobody else starts before its lease is over${data.lost()}`;
  },
  lease_over: (data) =>
    data.text("by") === "stopped"
      ? `${data.worker()} confirms that its container is over; the job goes on${data.from()}`
      : `the lease of ${data.worker()} is over; the job goes on${data.from()}`,
  undone: (data) => `the earlier primary ${data.worker()} is back and goes on${data.epoch()}`,
  standby_reserved: (data) => `standby reserved on ${data.worker()}${data.rate()}`,
  standby_ready: (data) => {
    const seq = data.number("checkpointSeq");
    return `standby ready on ${data.worker()}${seq === undefined || seq === 0 ? "" : ` with checkpoint ${seq}`}`;
  },
  standby_checkpoint: (data) =>
    `standby on ${data.worker()} has checkpoint ${data.number("seq") ?? "?"}${data.duration("behindMs", ", ")} after its commit`,
  standby_lost: (data) => `standby on ${data.worker()} lost${data.because("why")}`,
  standby_unavailable: () => "no other machine is free for a standby now; the job runs without one",
  stopping: (data) => `stopping${data.because("reason")}`,
  exited: (data) => `container ended${data.duration("ranMs", " after ")}`,
  completed: () => "completed",
  failed: (data) => `failed${data.because("message", "reason")}`,
  cancelled: () => "cancelled",
  settled: settledText,
};

function startOf(data: EventData): string {
  const seq = data.number("fromSeq");
  return seq === undefined || seq === 0 ? "" : `, resuming from checkpoint ${seq}`;
}

function queuedText(data: EventData): string {
  const from = data.checkpointName("fromCheckpoint");
  return from === undefined ? "queued" : `queued, to begin from checkpoint ${from.seq} of ${from.jobId}`;
}

function intervalText(data: EventData): string {
  const [asked, now] = [data.number("askedS"), data.number("effectiveS")];
  if (asked === undefined || now === undefined) return "checkpoints are taken at another interval";
  const every = `checkpoints every ${now} s from here on`;
  const took = data.duration("shipMs", ", the last one took ");
  if (data.text("why") === "uplink_quick") {
    return now === asked ? `${every}, as asked for${took}` : `${every}, ${asked} s were asked for${took}`;
  }
  return `${every} instead of ${asked} s: the machine's line does not keep up${took}`;
}

function checkpointText(data: EventData): string {
  const bytes = data.number("bytes");
  const moved = data.number("bytesMoved");
  const sizes = [
    ...(bytes === undefined ? [] : [formatBytes(bytes)]),
    ...(moved === undefined ? [] : [`${formatBytes(moved)} moved`]),
  ];
  const took = data.duration("shipMs", "in ");
  if (took !== "") sizes.push(took);
  return `checkpoint ${data.number("seq") ?? "?"}${sizes.length === 0 ? "" : ` (${sizes.join(", ")})`}`;
}

function settledText(data: EventData): string {
  const [gross, hold] = [data.money("gross"), data.money("hold")];
  if (gross === undefined || hold === undefined) return "settled";
  const refund = { amount: (BigInt(hold.amount) - BigInt(gross.amount)).toString(), currency: hold.currency };
  return `settled: ${formatMoney(gross)} of ${formatMoney(hold)} held, ${formatMoney(refund)} refunded`;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const GOOD: readonly string[] = ["completed", "settled", "started", "standby_ready"];
const BAD: readonly string[] = ["failed", "standby_lost"];
const NOTABLE: readonly string[] = [
  "suspect",
  "checkpoint_damaged",
  "checkpoint_interval",
  "promoted",
  "requeued",
  "lease_wait",
  "undone",
  "cancelled",
  "standby_unavailable",
  "storage_refused",
];

function paint(kind: string, text: string, colors: Colors): string {
  if (GOOD.includes(kind)) return colors.green(text);
  if (BAD.includes(kind)) return colors.red(text);
  return NOTABLE.includes(kind) ? colors.yellow(text) : text;
}
