// Waiting for a job at a terminal: its timeline as it happens, a live line with its progress, its log if wanted, and at the end what came of it.
// Ctrl-C detaches: the job goes on.
import type { JobView } from "@qubix/shared/protocol";
import { hasEnded } from "../../sdk/types.ts";
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from "../exit-codes.ts";
import { formatSettlement, paintPhase } from "../format/job.ts";
import { createStatusLine, progressText, type StatusLine } from "../format/progress.ts";
import { createTimelineFormatter, isStory } from "../format/timeline.ts";
import { formatDuration, printable } from "../format/units.ts";
import type { Session } from "../session.ts";
import { fetchOutputs } from "./outputs.ts";
import { printLogLine } from "./streams.ts";

export interface WaitForJobOptions {
  readonly logs: boolean;
  /** Where outputs are fetched to when it succeeded. */
  readonly outputDir: string | undefined;
}

/** How often the live line is looked at, and drawn, in seconds; without one the answer is held until the end. */
const STATUS_EVERY_S = 1;

/** Follows the job to its end and returns the exit code: 0 only when it succeeded (and its outputs, if wanted, are here). */
export async function waitForJob(session: Session, job: JobView, options: WaitForJobOptions): Promise<number> {
  const detach = new AbortController();
  const forget = session.io.onInterrupt(() => detach.abort());
  const status = createStatusLine(session.json ? { write: () => {} } : session.io.stderr, session.errColors);
  if (!session.json) session.print(job.id);
  try {
    const [ended] = await Promise.all([
      watchStatus(session, job, status, detach.signal),
      printTimeline(session, job, status, detach.signal),
      options.logs ? printLog(session, job.id, status, detach.signal) : undefined,
    ]);
    status.clear();
    return await conclude(session, ended, options.outputDir);
  } catch (error) {
    status.clear();
    // One of the three failed: the others are not left behind.
    const detached = detach.signal.aborted;
    detach.abort();
    if (!detached) throw error;
    sayDetached(session, job.id);
    return EXIT_INTERRUPTED;
  } finally {
    forget();
  }
}

function watchStatus(session: Session, job: JobView, status: StatusLine, signal: AbortSignal): Promise<JobView> {
  const live = session.io.stderr.isTTY === true && !session.json;
  return session.client.jobs.wait(job.id, {
    signal,
    ...(live ? { everyS: STATUS_EVERY_S } : {}),
    onUpdate: (view) => {
      if (!hasEnded(view.phase)) status.set(progressText(view, Date.now() - Date.parse(view.createdAt)));
    },
  });
}

async function printTimeline(session: Session, job: JobView, status: StatusLine, signal: AbortSignal): Promise<void> {
  const timeline = createTimelineFormatter(job.settlement.hold.currency, session.errColors);
  for await (const event of session.client.jobs.followEvents(job.id, { signal })) {
    if (session.json) session.printJson({ type: "event", ...event });
    else if (isStory(event)) status.above(() => session.note(timeline.line(event)));
  }
  signal.throwIfAborted();
}

async function printLog(session: Session, id: string, status: StatusLine, signal: AbortSignal): Promise<void> {
  for await (const line of session.client.jobs.logs(id, { follow: true, signal })) {
    if (session.json) session.printJson({ type: "log", ...line });
    else status.above(() => printLogLine(session, line));
  }
  signal.throwIfAborted();
}

async function conclude(session: Session, job: JobView, outputDir: string | undefined): Promise<number> {
  const succeeded = job.phase === "succeeded";
  if (session.json) session.printJson({ type: "job", job });
  else {
    session.note(`\n${summaryText(session, job)}\n\n${formatSettlement(job, session.errColors)}`);
    if (!succeeded) session.note(`\nSee \`qubix logs ${job.id}\` and \`qubix events ${job.id}\`.`);
  }
  if (!succeeded) return EXIT_FAILED;
  if (outputDir !== undefined) return await fetchOutputs(session, job.id, outputDir);
  if (job.outputs !== null && job.outputs.files > 0)
    session.note(`\nFetch its outputs: \`qubix outputs ${job.id} --to DIR\`.`);
  return EXIT_OK;
}

function summaryText(session: Session, job: JobView): string {
  const phase = paintPhase(job.phase, job.phase, session.errColors);
  const facts = [
    `ran ${formatDuration(job.creditedMs)}`,
    ...(job.failoversUsed > 0
      ? [`${job.failoversUsed} failed over`, `work lost ${formatDuration(job.workLostMs)}`]
      : []),
    ...(job.retriesUsed > 0 ? [`${job.retriesUsed} retried`] : []),
  ];
  const message = job.message === null ? "" : `\n${printable(job.message)}`;
  return `${job.id} ${phase} (${facts.join(", ")})${message}`;
}

function sayDetached(session: Session, id: string): void {
  session.note(
    `Detached; job ${id} goes on. Follow it again with \`qubix events ${id} -f\`, see it with \`qubix job ${id}\`, stop it with \`qubix cancel ${id}\`.`,
  );
}
