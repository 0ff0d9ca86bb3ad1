// How the demonstration speaks: plain lines, colour only on a terminal.
import { colorsFor, createTimelineFormatter, isStory } from "@qubix/client/cli";
import type { EventView, JobView } from "@qubix/client/sdk";

const colors = colorsFor(process.env, process.stdout.isTTY, true);

export function title(text: string): void {
  process.stdout.write(`\n${colors.bold(text)}\n`);
}

export function say(text: string): void {
  process.stdout.write(`  ${text}\n`);
}

export function check(held: boolean, text: string): void {
  process.stdout.write(`  ${held ? colors.green("held") : colors.red("BROKEN")}  ${text}\n`);
  if (!held) process.exitCode = 1;
}

export function failed(text: string): void {
  process.stderr.write(`${colors.red("quickstart failed:")} ${text}\n`);
  process.exitCode = 1;
}

/** Prints the story of a job as it happens, with the workers' names in place of their ids. */
export async function tell(events: AsyncIterable<EventView>, named: (text: string) => string): Promise<void> {
  const timeline = createTimelineFormatter("USD", colors);
  for await (const event of events) if (isStory(event)) say(named(timeline.line(event)));
}

/** The settlement as a table with its sum. True when the lines add up to the hold. */
export function showSettlement(job: JobView, nameOf: (workerId: string | null) => string): boolean {
  const { hold, lines, phase } = job.settlement;
  let sum = 0n;
  for (const line of lines) {
    sum += BigInt(line.amount.amount);
    const who = line.workerId === undefined ? "" : ` ${nameOf(line.workerId)}`;
    const time = line.ms === undefined ? "" : `${(line.ms / 1000).toFixed(3)} s`;
    process.stdout.write(
      `    ${`${line.role}${who}`.padEnd(20)} ${time.padStart(12)} ${units(BigInt(line.amount.amount)).padStart(12)} ${line.amount.currency}\n`,
    );
  }
  process.stdout.write(
    `    ${"sum".padEnd(20)} ${"".padStart(12)} ${units(sum).padStart(12)} ${hold.currency}   held: ${units(BigInt(hold.amount))}\n`,
  );
  return phase === "settled" && sum === BigInt(hold.amount);
}

/** Micro-units with all six places, so that a column lines up. */
function units(amount: bigint): string {
  return `${amount / 1_000_000n}.${(amount % 1_000_000n).toString().padStart(6, "0")}`;
}
