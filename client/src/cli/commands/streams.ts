// `qubix logs` and `qubix events`.
import type { LogLine } from "@qubix/shared/protocol";
import { EXIT_OK, usageError } from "../exit-codes.ts";
import { createTimelineFormatter, isStory } from "../format/timeline.ts";
import type { Handler, Session } from "../session.ts";

interface LogsOptions {
  readonly follow?: boolean;
  readonly after?: string;
  readonly replica?: string;
}

export const logs: Handler<LogsOptions> = async (session, [id = ""], { follow, after, replica }) => {
  const shown = replica === undefined ? undefined : readReplica(replica);
  let lines = 0;
  for await (const line of session.client.jobs.logs(id, { follow, after, replica: shown })) {
    lines += 1;
    printLogLine(session, line, shown);
  }
  if (lines === 0 && after === undefined) {
    session.note(`Job ${id} has written nothing. \`qubix events ${id}\` shows what happened to it.`);
  }
  return EXIT_OK;
};

function readReplica(text: string): number {
  if (text === "0" || text === "1") return Number(text);
  throw usageError(`--replica: "${text}" is not 0 or 1, the replicas of a mirror job`);
}

/**
 * Text as the job wrote it, its standard error on ours; markers stand on lines of their own. Both replicas of a mirror job write the same, so people are shown
 * the one they ask for, and the first if they do not.
 */
export function printLogLine(session: Session, line: LogLine, replica = 0): void {
  if (session.json) session.printJson(line);
  else if (line.stream !== "marker" && (line.replica ?? 0) !== replica) return;
  else if (line.stream === "marker") session.note(session.errColors.yellow(line.text.trimEnd()));
  else (line.stream === "stdout" ? session.io.stdout : session.io.stderr).write(line.text);
}

export const events: Handler<{ readonly follow?: boolean }> = async (session, [id = ""], options) => {
  const job = await session.client.jobs.get(id);
  const timeline = createTimelineFormatter(job.settlement.hold.currency, session.colors);
  const all = options.follow === true ? session.client.jobs.followEvents(id) : session.client.jobs.eventsAll(id);
  for await (const event of all) {
    if (session.json) session.printJson(event);
    else if (isStory(event)) session.print(timeline.line(event));
  }
  return EXIT_OK;
};
