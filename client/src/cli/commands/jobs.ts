// `qubix jobs`, `job`, `cancel`, `move`.
import { hasEnded, type JobPhase, type JobView } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { formatJob, formatJobs } from "../format/job.ts";
import { type ListOptions, printPage, readList } from "../list.ts";
import type { Handler, Session } from "../session.ts";

export const jobs: Handler<ListOptions & { readonly phase?: JobPhase }> = async (session, [id], options) => {
  if (id !== undefined) return await showJob(session, id);
  const { phase } = options;
  const page = await readList(options, (query) => session.client.jobs.list({ ...query, phase }));
  const none =
    phase === undefined
      ? "No jobs yet. Submit one with `qubix run job.yaml`, or see `qubix run --help`."
      : `No jobs are ${phase}. \`qubix jobs\` shows all.`;
  printPage(session, page, none, (items) => formatJobs(items, Date.now(), session.colors));
  return EXIT_OK;
};

async function showJob(session: Session, id: string): Promise<number> {
  const job = await session.client.jobs.get(id);
  if (session.json) session.printJson(job);
  else session.print(formatJob(job, Date.now(), session.colors));
  return EXIT_OK;
}

export const cancel: Handler<object> = async (session, [id = ""]) => {
  const before = await session.client.jobs.get(id);
  const job = hasEnded(before.phase) ? before : await session.client.jobs.cancel(id);
  if (session.json) session.printJson(job);
  else session.print(cancelText(before, job));
  return EXIT_OK;
};

export const move: Handler<{ readonly to?: string; readonly force?: boolean }> = async (
  session,
  [id = ""],
  { to, force },
) => {
  const job = await session.client.jobs.move(id, { to, force });
  if (session.json) session.printJson(job);
  else session.print(moveText(job));
  return EXIT_OK;
};

function moveText({ id, move: under }: JobView): string {
  const target = under?.toWorkerId ?? null;
  const where = target === null ? "another worker" : `worker ${target}`;
  return `Job ${id} moves to ${where}: that is prepared, then the job saves and goes on there. Follow it with \`qubix events ${id} -f\`.`;
}

function cancelText(before: JobView, job: JobView): string {
  if (hasEnded(before.phase)) return `Job ${job.id} has already ended: it ${endWord(before.phase)}.`;
  if (job.phase === "cancelled") return `Job ${job.id} is cancelled.`;
  return `Job ${job.id} is being stopped; it is told to end, and killed after its grace. See \`qubix job ${job.id}\`.`;
}

function endWord(phase: JobPhase): string {
  return phase === "cancelled" ? "was cancelled" : phase;
}
