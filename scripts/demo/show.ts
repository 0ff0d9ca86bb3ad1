// How the demonstration speaks: plain lines, colour only on a terminal.
import type { EventView, JobView } from "@qubix/client/sdk";
import { formatUnits } from "@qubix/shared/domain";

const colours = process.stdout.isTTY && process.env["NO_COLOR"] === undefined;

export function title(text: string): void {
  process.stdout.write(`\n${paint("1", text)}\n`);
}

export function say(text: string): void {
  process.stdout.write(`  ${text}\n`);
}

export function check(held: boolean, text: string): void {
  process.stdout.write(`  ${held ? paint("32", "held") : paint("31", "BROKEN")}  ${text}\n`);
  if (!held) process.exitCode = 1;
}

export function failed(text: string): void {
  process.stderr.write(`${paint("31", "quickstart failed:")} ${text}\n`);
  process.exitCode = 1;
}

/** One line an event: milliseconds since the first, what, and the figures that belong to it. */
export function showTimeline(events: readonly EventView[], nameOf: (workerId: string | null) => string): void {
  const start = events[0]?.clockMs ?? 0;
  for (const event of events) {
    const after = `+${((event.clockMs - start) / 1000).toFixed(2)} s`.padStart(10);
    const where = event.workerId === null ? "" : ` on ${nameOf(event.workerId)}`;
    const figures = Object.entries(event.data)
      .filter(([, value]) => ["string", "number"].includes(typeof value) && String(value).length < 60)
      .map(([key, value]) => `${key} ${String(value)}`)
      .join(", ");
    process.stdout.write(
      `  ${after}  ${paint("36", event.kind)}${where}${figures === "" ? "" : paint("2", `  ${figures}`)}\n`,
    );
  }
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
      `    ${`${line.role}${who}`.padEnd(20)} ${time.padStart(12)} ${formatUnits(BigInt(line.amount.amount)).padStart(12)} ${line.amount.currency}\n`,
    );
  }
  process.stdout.write(
    `    ${"sum".padEnd(20)} ${"".padStart(12)} ${formatUnits(sum).padStart(12)} ${hold.currency}   held: ${formatUnits(BigInt(hold.amount))}\n`,
  );
  return phase === "settled" && sum === BigInt(hold.amount);
}

function paint(code: string, text: string): string {
  return colours ? `\u001b[${code}m${text}\u001b[0m` : text;
}
