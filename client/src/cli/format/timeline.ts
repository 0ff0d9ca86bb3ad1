// The timeline in plain words: one line for each event, with the time since the first.
import type { EventView, WireMoney } from "@qubix/shared/protocol";
import type { Colors } from "../session.ts";
import { shortSum } from "./mirror.ts";
import { formatBytes, formatDuration, formatMoney, formatProgress, formatRate, printable } from "./units.ts";

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

  texts(key: string): readonly string[] {
    const value = this.#event.data[key];
    return Array.isArray(value) ? value.filter((part): part is string => typeof part === "string") : [];
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
    const replica = this.number("replica");
    if (epoch === undefined) return "";
    return replica === undefined ? ` (epoch ${epoch})` : ` (replica ${replica}, epoch ${epoch})`;
  }

  /** The replica that is meant, of a mirror job. */
  replica(): string {
    const replica = this.number("replica");
    return replica === undefined ? "" : ` of replica ${replica}`;
  }

  percent(key: string): string {
    return formatProgress(this.number(key) ?? null);
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
  moved: "it moves",
  stalled: "it no longer got on",
  leaving: "its machine is being emptied",
  asked: "it was asked for",
  drain: "its worker is drained",
  maintenance: "its worker goes into maintenance",
  owner_reclaimed: "the machine's owner uses the GPU himself",
  not_saved: "the job did not save when it was asked to, and goes on where it is",
  no_target: "no other machine is free for it now",
  target_not_ready: "its new machine was not ready in time",
  finished: "the job was done before",
  exit_code: "it ended by itself with an error",
  no_offer: "no offer matched in time",
  mirror_awaits_second: "a second provider has to come to the same result",
  mirror_disagreed: "a third provider has to decide",
  image_not_pinned: "no registry named its image's digest, so nobody else would surely run the same",
  gpu_models_mixed: "it ran on GPUs of several models",
  image_moved: "the image's tag was moved",
  standby_ready: "its standby was ready",
  cancelled: "it was cancelled",
  deadline: "its duration is used up",
  budget: "its budget is used up",
};

const RUN_NAMES: readonly string[] = ["the first", "the second", "the third"];

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
  tick_refused: (data) => `a line of the worker's own account was refused, and credits nothing${data.because("code")}`,
  egress_cut: (data) =>
    `${data.worker()} told of ${formatBytes(data.number("toldBytes") ?? 0)} sent, more than its line carries: ${formatBytes(data.number("paidBytes") ?? 0)} are paid`,
  egress_limit_reached: (data) =>
    `it has sent all that egressGiBMax pays for, ${formatBytes(data.number("bytes") ?? 0)}: what it sends beyond is not charged`,
  checkpoint_interval: intervalText,
  suspect: (data) => {
    const silence = data.text("why") === "silent" ? data.duration("silentMs", ", no sign of life for ") : "";
    return `primary ${data.worker()} is suspect${data.because("why")}${silence}`;
  },
  lost: (data) => `primary ${data.worker()} is lost${data.duration("silentMs", ", no sign of life for ")}`,
  held: (data) =>
    `primary ${data.worker()} is silent, but so is much of the network: nothing is moved for at most ${formatDuration(data.number("forMs") ?? 0)}`,
  resumed: resumedText,
  promoted: (data) => `standby promoted on ${data.worker()}${data.epoch()}${data.from()}${data.lost()}`,
  requeued: (data) => `waits for another place${data.because("why")}; goes on${data.from()}${data.lost()}`,
  move_requested: (data) => {
    const to = data.text("to");
    return `to move off ${data.worker()}${to === undefined ? "" : ` to ${to}`}${data.because("why")}`;
  },
  moving: (data) => {
    const to = data.text("to");
    return `asked to save and stop${to === undefined ? "" : `, ${to} is ready`}`;
  },
  moved: (data) =>
    `moved from ${data.text("fromWorkerId") ?? "a worker"} to ${data.worker()}${data.epoch()}${data.from()}${data.lost()}${data.duration("downtimeMs", ", stood still for ")}`,
  move_dropped: (data) => `the move is off${data.because("why")}`,
  stall_suspected: (data) => `perhaps stalled on ${data.worker()}${signalsOf(data)}; it goes on`,
  stalled: (data) => `stalled on ${data.worker()}${data.epoch()}${signalsOf(data)}: it is taken off`,
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
  replica_lost: (data) => {
    const why = data.because("why").replaceAll("the primary's", "its");
    return `replica ${data.number("replica") ?? "?"} on ${data.worker()} is gone${why}; the other works on, it begins again${data.from()}`;
  },
  mirror_unavailable: () => "no machine of another provider is free now; the job runs once until one is",
  mirror_result: (data) =>
    `${RUN_NAMES[data.number("run") ?? -1] ?? "a"} result, of ${data.worker()}: ${shortSum(data.text("result") ?? "?")}`,
  mirror_agreed: (data) => `two providers came to the same result: ${shortSum(data.text("result") ?? "?")}`,
  mirror_checkpoints_agree: (data) => `checkpoints of both replicas are equal at ${data.percent("progress")}`,
  mirror_checkpoints_differ: (data) =>
    `checkpoints of both replicas differ at ${data.percent("progress")}; the results will tell whether it matters`,
  mirror_disagreed: () => "the results differ",
  work_refused: (data) => {
    const [own, agreed] = [data.text("result"), data.text("agreed")].map((sum) => shortSum(sum ?? "?"));
    return `the work of ${data.worker()} is not paid: its result ${own} was outvoted by ${agreed}`;
  },
  verification_started: (data) =>
    data.text("kind") === "majority"
      ? "its result is checked by a majority; the pay waits for that"
      : `its result is checked${data.from()}; the pay waits for that`,
  verification_run: (data) =>
    `run ${data.number("run") ?? "?"} that checks it: ${data.text("checkJobId") ?? "?"}${data.from()}`,
  verification_skipped: (data) => `not checked${data.because("why")}`,
  verification_differs: () => "a check came to another result: the whole job is run once more, to decide",
  verified: (data) => `verified${data.because("message")}`,
  verification_failed: (data) => `wrong result${data.because("message")}`,
  verification_inconclusive: (data) => `the check decided nothing${data.because("message")}`,
  place_kept: (data) =>
    `waited long${data.duration("waitedMs", ": ")}; ${data.worker()} takes no other new job until this one fits there`,
  place_freed: (data) => `${data.worker()}, which was kept for it, takes it no more`,
  standby_unavailable: () => "no other machine is free for a standby now; the job runs without one",
  budget_warning: (data) => `80% of its budget of ${moneyText(data, "cap")} are used: ${moneyText(data, "used")}`,
  budget_lowered: (data) => `its budget was lowered: it may cost ${moneyText(data, "cap")} in all`,
  budget_saving: (data) =>
    `asked to save: its budget of ${moneyText(data, "cap")} is nearly used up${data.duration("answerMs", ", it is stopped within ")}`,
  stopping: (data) => `stopping${data.because("reason")}`,
  exited: (data) => `container${data.replica()} ended${data.duration("ranMs", " after ")}`,
  completed: () => "completed",
  failed: (data) => `failed${data.because("message", "reason")}`,
  cancelled: () => "cancelled",
  settled: settledText,
  deposited: (data) => `its hold lies in the contract on ${data.text("driver") ?? "a chain"}`,
  deposit_refused: (data) => `${data.text("driver") ?? "the chain"} refused its hold: the operator has to look`,
  paid: (data) =>
    `${moneyText(data, "amount")} paid to its providers by the contract on ${data.text("driver") ?? "a chain"}`,
  pay_refused: (data) => `${data.text("driver") ?? "the chain"} refused to pay: the operator has to look`,
  pay_released: (data) => `${moneyText(data, "amount")} are payable to its providers by the operator's hand`,
  rated: (data) => `rated ${data.number("stars") ?? "?"} of 5${said(data, "comment")}`,
  disputed: (data) => `disputed by its consumer, ${moneyText(data, "frozen")} frozen${said(data, "reason")}`,
  dispute_resolved: (data) => `dispute decided: ${moneyText(data, "refund")} back to the consumer${said(data, "note")}`,
  dispute_lapsed: () => "dispute not decided in time: the pay goes to the providers",
};

/** In somebody's own words. */
function said(data: EventData, key: string): string {
  const text = data.text(key);
  return text === undefined ? "" : `: ${text}`;
}

function moneyText(data: EventData, key: string): string {
  const money = data.money(key);
  return money === undefined ? "nothing" : formatMoney(money);
}

const SIGNAL_WORDS: Readonly<Record<string, string>> = {
  deadline: "it missed the deadline in its progress file",
  progress: "no progress",
  checkpoint: "no checkpoint",
  log: "no output",
  idle: "no use of processor, disk, network or GPU",
};

function signalsOf(data: EventData): string {
  const signals = data.texts("signals").map((signal) => SIGNAL_WORDS[signal] ?? signal);
  return signals.length === 0 ? "" : `: ${signals.join(" and ")}${data.duration("silentMs", " for ")}`;
}

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

function resumedText(data: EventData): string {
  const parts = [
    data.duration("detectedMs", "detected after "),
    data.duration("promotedMs", "placed after "),
    data.duration("startedMs", "started after "),
  ].filter((part) => part !== "");
  const took = data.duration("recoveryMs", " ");
  return `first new step${took} after the last sign of life (${parts.join(", ")})${data.lost()}`;
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
  return `checkpoint ${data.number("seq") ?? "?"}${data.replica()}${sizes.length === 0 ? "" : ` (${sizes.join(", ")})`}`;
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

const GOOD: readonly string[] = [
  "completed",
  "mirror_agreed",
  "settled",
  "verified",
  "started",
  "standby_ready",
  "moved",
  "resumed",
];
const BAD: readonly string[] = [
  "failed",
  "lost",
  "mirror_disagreed",
  "work_refused",
  "standby_lost",
  "stalled",
  "verification_failed",
];
const NOTABLE: readonly string[] = [
  "budget_warning",
  "budget_lowered",
  "budget_saving",
  "suspect",
  "held",
  "checkpoint_damaged",
  "checkpoint_interval",
  "promoted",
  "requeued",
  "lease_wait",
  "undone",
  "cancelled",
  "standby_unavailable",
  "mirror_unavailable",
  "mirror_checkpoints_differ",
  "replica_lost",
  "storage_refused",
  "tick_refused",
  "egress_cut",
  "egress_limit_reached",
  "move_requested",
  "moving",
  "move_dropped",
  "stall_suspected",
  "verification_differs",
  "verification_inconclusive",
  "verification_skipped",
];

function paint(kind: string, text: string, colors: Colors): string {
  if (GOOD.includes(kind)) return colors.green(text);
  if (BAD.includes(kind)) return colors.red(text);
  return NOTABLE.includes(kind) ? colors.yellow(text) : text;
}
