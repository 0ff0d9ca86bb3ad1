// Runs in the lab's host: a network of our real programs, spoken to over standard input and output, a line of JSON each.
//   { id, call: "jobs.get", args: […] } → { id, result } or { id, error }; streams come as whole lists
import { createInterface } from "node:readline";
import { startNetwork } from "../../scripts/lib/network.ts";

const [folder = "", ...workerArgs] = process.argv.slice(2);
const network = await startNetwork({ folder });
const worker = await network.addWorker({ name: "worker", args: workerArgs });
const consumer = await network.addConsumer("consumer", "100000000");

const own: Readonly<Record<string, () => Promise<unknown>>> = {
  restartWorker: async () => {
    await worker.stop();
    await worker.start();
  },
  killWorker: () => worker.program().kill(),
  startWorker: () => worker.start(),
  stop: () => network.stop(),
};

async function answer(call: string, args: readonly unknown[]): Promise<unknown> {
  const mine = own[call];
  if (mine !== undefined) return mine();
  const [group = "", name = ""] = call.split(".");
  const client = consumer.client as unknown as Record<string, Record<string, (...args: readonly unknown[]) => unknown>>;
  const result = await client[group]?.[name]?.(...args);
  if (typeof result !== "object" || result === null || !(Symbol.asyncIterator in result)) return result;
  const list: unknown[] = [];
  for await (const item of result as AsyncIterable<unknown>) list.push(item);
  return list;
}

process.stdout.write(`${JSON.stringify({ workerId: worker.id })}\n`);
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { id, call, args } = JSON.parse(line) as { id: number; call: string; args: readonly unknown[] };
    answer(call, args).then(
      (result) => process.stdout.write(`${JSON.stringify({ id, result: result ?? null })}\n`),
      (error: unknown) => process.stdout.write(`${JSON.stringify({ id, error: String(error) })}\n`),
    );
  })
  .once("close", () => process.exit());
