// A job for people: a row of the list, its details, its settlement.
import type { JobView } from "@qubix/shared/protocol";
import { formatUnits } from "@qubix/shared/domain";
import { hasEnded } from "../../sdk/types.ts";
import type { Colors } from "../session.ts";
import { formatReplicas, mirrorText } from "./mirror.ts";
import { formatRuns, verificationText } from "./verification.ts";
import { type Column, type Field, formatFields, formatTable } from "./table.ts";
import { formatAgo, formatBytes, formatDuration, formatMoney, formatProgress, formatRate, plural } from "./units.ts";

/** The table of `qubix jobs`. */
export function formatJobs(jobs: readonly JobView[], nowMs: number, colors: Colors): string {
  const columns: readonly Column<JobView>[] = [
    { title: "JOB", value: (job) => job.id },
    { title: "NAME", value: (job) => job.name ?? "-" },
    { title: "PHASE", value: (job) => job.phase, paint: (text, job) => paintPhase(job.phase, text, colors) },
    { title: "PROGRESS", value: (job) => formatProgress(job.progress), align: "right" },
    { title: "WORKER", value: (job) => job.workerId ?? "-" },
    { title: "RAN", value: (job) => formatDuration(job.creditedMs), align: "right" },
    { title: "COST", value: costOf, align: "right" },
    { title: "CREATED", value: (job) => formatAgo(job.createdAt, nowMs) },
  ];
  return formatTable(columns, jobs, colors);
}

export function paintPhase(phase: JobView["phase"], text: string, colors: Colors): string {
  if (phase === "succeeded") return colors.green(text);
  if (phase === "failed") return colors.red(text);
  if (phase === "cancelled") return colors.yellow(text);
  return phase === "queued" ? text : colors.cyan(text);
}

function costOf(job: JobView): string {
  return job.settlement.gross === null ? "-" : formatMoney(job.settlement.gross);
}

/** The page of `qubix job ID`. */
export function formatJob(job: JobView, nowMs: number, colors: Colors): string {
  const { checkpoint, standby, outputs } = job;
  const { phase } = job;
  const fields: Field[] = [
    ["Job", job.id],
    ["Name", job.name],
    [
      "Phase",
      job.reason === null ? phase : `${phase} (${job.reason.replaceAll("_", " ")})`,
      (text) => `${paintPhase(phase, phase, colors)}${text.slice(phase.length)}`,
    ],
    ["Message", job.message],
    ["Image", typeof job.spec["image"] === "string" ? job.spec["image"] : null],
    ["Began from", job.fromCheckpoint && `checkpoint ${job.fromCheckpoint.seq} of ${job.fromCheckpoint.jobId}`],
    ["Worker", job.workerId],
    ["Progress", job.progress === null ? null : formatProgress(job.progress)],
    ["Ran", formatDuration(job.creditedMs)],
    ["Work lost", job.workLostMs === 0 ? null : formatDuration(job.workLostMs)],
    ["Failovers", job.failoversUsed === 0 ? null : String(job.failoversUsed)],
    ["Moves", job.movesUsed === 0 ? null : String(job.movesUsed)],
    ["Moving", moveText(job)],
    ["Retries", job.retriesUsed === 0 ? null : String(job.retriesUsed)],
    ["Checkpoint", checkpoint && checkpointText(checkpoint, nowMs)],
    ["Interval", hasEnded(job.phase) ? null : intervalText(job)],
    [
      "At risk",
      job.workAtRiskMs === 0 ? null : `${formatDuration(job.workAtRiskMs)} of work since the newest checkpoint`,
    ],
    ["Waits", job.leaseWait && leaseText(job.leaseWait)],
    ["Standby", standby && standbyText(standby)],
    ["Mirror", job.mirror === undefined ? null : mirrorText(job.mirror)],
    ["Budget", job.budget && budgetText(job.budget)],
    ["Verify", job.verification === undefined ? null : verificationText(job.verification)],
    ["Checks", job.checkOf ?? null],
    ["Outputs", outputs && `${plural(outputs.files, "file")}, ${formatBytes(outputs.bytes)}`],
    ["Created", `${job.createdAt} (${formatAgo(job.createdAt, nowMs)})`],
    ["Started", job.startedAt],
    ["Ended", job.endedAt],
  ];
  const parts = [formatFields(fields, colors)];
  if (job.mirror !== undefined) parts.push(formatReplicas(job.mirror, colors));
  if (job.verification !== undefined && job.verification.runs.length > 0)
    parts.push(formatRuns(job.verification, colors));
  if (job.attempts.length > 0) parts.push(formatAttempts(job, colors));
  parts.push(formatSettlement(job, colors));
  return parts.join("\n\n");
}

function moveText({ move }: JobView): string | null {
  return move === null ? null : `from ${move.fromWorkerId} to ${move.toWorkerId ?? "another worker"} (${move.phase})`;
}

function leaseText({ workerId, until }: NonNullable<JobView["leaseWait"]>): string {
  return `for the lease of ${workerId}, where it may still run: until ${until} at the latest`;
}

function checkpointText(checkpoint: NonNullable<JobView["checkpoint"]>, nowMs: number): string {
  const { seq, bytes, bytesMoved, ageMs, shipMs, committedAt } = checkpoint;
  const age = ageMs === null ? formatAgo(committedAt, nowMs) : `${formatDuration(ageMs)} ago`;
  const took = shipMs === null ? "" : ` in ${formatDuration(shipMs)}`;
  return `${seq} (${formatBytes(bytes)}, ${formatBytes(bytesMoved)} moved${took}, ${age})`;
}

function intervalText({ checkpointIntervalS, spec }: JobView): string {
  const every = `every ${checkpointIntervalS} s`;
  const { intervalS } = (spec["checkpoint"] ?? {}) as { readonly intervalS?: number };
  if (intervalS === undefined || checkpointIntervalS <= intervalS) return every;
  return `${every}, because the machine's line is too slow for every ${intervalS} s`;
}

function budgetText({ cap, used, source, warned }: NonNullable<JobView["budget"]>): string {
  const whose = source === "job" ? "its own" : source.startsWith("admin_") ? "set by an admin" : "of the account";
  return `${formatMoney(used)} of ${formatMoney(cap)} used (${whose})${warned ? ", nearly all" : ""}`;
}

function standbyText(standby: NonNullable<JobView["standby"]>): string {
  const { phase, workerId, ratePerHour, checkpointSeq, checkpointsBehind, behindMs } = standby;
  const has = checkpointSeq === 0 ? "no checkpoint yet" : `checkpoint ${checkpointSeq}`;
  const behind = checkpointsBehind === 0 ? "" : `, ${checkpointsBehind} behind for ${formatDuration(behindMs)}`;
  return `${phase} on ${workerId} at ${formatRate(ratePerHour)}, ${has}${behind}`;
}

type Attempt = JobView["attempts"][number];

function formatAttempts(job: JobView, colors: Colors): string {
  return formatTable(
    [
      ...(job.mirror === undefined
        ? []
        : [{ title: "REPLICA", value: (attempt: Attempt) => String(attempt.replica), align: "right" as const }]),
      { title: "EPOCH", value: (attempt) => String(attempt.epoch), align: "right" },
      { title: "WORKER", value: (attempt) => attempt.workerId },
      { title: "PHASE", value: (attempt) => attempt.phase },
      { title: "RATE", value: (attempt) => formatRate(attempt.ratePerHour), align: "right" },
      {
        title: "CREDITED",
        value: ({ creditedMs, refused }) => (refused === true ? "refused" : formatDuration(creditedMs)),
        align: "right",
      },
      {
        title: "FROM",
        value: ({ fromCheckpointSeq }) =>
          fromCheckpointSeq === 0 ? "the beginning" : `checkpoint ${fromCheckpointSeq}`,
      },
      { title: "EXIT", value: (attempt) => (attempt.exitCode === null ? "-" : String(attempt.exitCode)) },
    ],
    job.attempts,
    colors,
  );
}

interface MoneyRow {
  readonly what: string;
  readonly who: string;
  readonly time: string;
  readonly amount: string;
}

/** Where the money went: a line for each share, and their sum beside the hold. */
export function formatSettlement(job: JobView, colors: Colors): string {
  const { settlement } = job;
  if (settlement.phase === "held")
    return `Held: ${formatMoney(settlement.hold)}; what is not used comes back at the end.`;
  const sum = settlement.lines.reduce((total, line) => total + BigInt(line.amount.amount), 0n);
  const { currency } = settlement.hold;
  const exact = sum === BigInt(settlement.hold.amount);
  const rows: MoneyRow[] = settlement.lines.map((line) => ({
    what: line.role,
    who: line.workerId ?? line.account,
    time: line.ms === undefined ? "" : formatDuration(line.ms),
    amount: formatUnits(BigInt(line.amount.amount)),
  }));
  rows.push({ what: "sum", who: exact ? "= hold" : "DIFFERS from the hold", time: "", amount: formatUnits(sum) });
  const columns: readonly Column<MoneyRow>[] = [
    { title: "SHARE", value: (row) => row.what },
    { title: "TO", value: (row) => row.who },
    { title: "TIME", value: (row) => row.time, align: "right" },
    { title: currency, value: (row) => row.amount, align: "right" },
  ];
  const parts = partsText(settlement);
  return `${formatTable(columns, alignDecimals(rows), colors)}${parts === null ? "" : `\n\n${parts}`}`;
}

/** What was paid for each resource; nothing where only one had a price. */
function partsText({ gross, parts = [] }: JobView["settlement"]): string | null {
  if (gross === null || parts.length < 2) return null;
  const each = parts.map(({ part, amount }) => `${formatMoney(amount)} for ${part}`);
  return `Of ${formatMoney(gross)}, fee included: ${each.join(", ")}`;
}

function decimals(text: string): number {
  return text.length - text.indexOf(".") - 1;
}

/** Amounts drop trailing zeros; in a column they get them back, so that the points stand under each other. */
function alignDecimals(rows: readonly MoneyRow[]): readonly MoneyRow[] {
  const most = Math.max(...rows.map((row) => decimals(row.amount)));
  return rows.map((row) => ({ ...row, amount: row.amount + "0".repeat(most - decimals(row.amount)) }));
}
