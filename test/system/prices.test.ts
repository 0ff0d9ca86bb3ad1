// Resources priced apart, on real processes: what a job pays is the sum of what it takes, and the account adds up part by part.
import { afterAll, beforeAll, expect, it } from "vitest";
import { available, CREDIT, settled, shellJob, startTestNetwork, type TestNetwork } from "./fixture.ts";
import { askAgent } from "../../worker/src/app/agent-socket.ts";
import type { AgentStatus } from "../../worker/src/app/owner/status.ts";

const APART = ["--price-per-memory-gib-hour", "3.6", "--price-per-disk-gib-hour", "0.036"];

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna"], APART);
});
afterAll(async () => {
  await network.stop();
});

it("a job pays for cores, memory and disk apart, and is shown what it paid for each", async () => {
  const { client } = network.consumer;
  const [offer] = (await client.offers.list()).items;
  expect(offer).toMatchObject({
    pricePerMemoryGiBHour: { amount: "3600000", currency: "USD" },
    pricePerDiskGiBHour: { amount: "36000", currency: "USD" },
    pricePerGpuJobCpuHour: null,
  });
  const spec = shellJob("sleep 2; echo done > /out/result", { resources: { cpus: 0.5, memoryMiB: 64, diskMiB: 64 } });
  const quote = await client.quotes.create(spec);
  const parts = [
    { part: "cpu", ratePerHour: { amount: "50000", currency: "USD" } },
    { part: "memory", ratePerHour: { amount: "225000", currency: "USD" } },
    { part: "disk", ratePerHour: { amount: "2250", currency: "USD" } },
  ];
  expect(quote).toMatchObject({ ratePerHour: { amount: "277250" }, parts });
  const tooDear = await client.quotes.create({ ...spec, priceMaxPerHour: { amount: "277249", currency: "USD" } });
  expect(tooDear.offers.matching).toBe(0);

  const { id } = await client.jobs.create(spec);
  const job = await client.jobs.wait(id);
  expect(job.phase).toBe("succeeded");
  const [attempt] = job.attempts;
  expect(attempt).toMatchObject({ ratePerHour: { amount: "277250" }, parts });
  const gross = BigInt(job.settlement.gross?.amount ?? "0");
  expect(gross).toBe((277_250n * BigInt(attempt?.creditedMs ?? 0)) / 3_600_000n);
  expect(gross).toBeGreaterThan(100n);
  const sum = (amounts: readonly string[]) => amounts.reduce((all, amount) => all + BigInt(amount), 0n);
  expect(sum(attempt?.parts?.map(({ charge }) => charge.amount) ?? [])).toBe(gross);
  expect(sum(job.settlement.parts?.map(({ amount }) => amount.amount) ?? [])).toBe(gross);
  expect(settled(job).sum).toBe(settled(job).hold);
  expect(await available(client)).toBe(CREDIT - gross);
  const [worker] = network.workers;
  const status = (await askAgent(worker?.dataDir ?? "", { command: "status" })) as AgentStatus;
  expect(status).toMatchObject({
    pricePerMemoryGiBHour: { amount: "3600000" },
    pricePerDiskGiBHour: { amount: "36000" },
  });
}, 120_000);
