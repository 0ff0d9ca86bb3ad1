// `qubix logs` and `qubix events`.
import type { LogLine } from "@qubix/shared/protocol";
import { EXIT_OK } from "../exit-codes.ts";
import { createTimelineFormatter, isStory } from "../format/timeline.ts";
import type { Handler, Session } from "../session.ts";

export const logs: Handler<{ readonly follow?: boolean; readonly after?: string }> = async (
  session,
  [id = ""],
  options,
) => {
  let lines = 0;
  for await (const line of session.client.jobs.logs(id, { follow: options.follow, after: options.after })) {
    lines += 1;
    printLogLine(session, line);
  }
  if (lines === 0 && options.after === undefined) {
    session.note(`Job ${id} has written nothing. \`qubix events ${id}\` shows what happened to it.`);
  }
  return EXIT_OK;
};

/** Text as the job wrote it, its standard error on ours; markers stand on lines of their own. */
export function printLogLine(session: Session, line: LogLine): void {
  if (session.json) session.printJson(line);
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
