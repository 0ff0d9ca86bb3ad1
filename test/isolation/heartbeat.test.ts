// A job that abuses its machine in every way at once harms nobody but itself: its worker stays in touch, and other work on it goes on.
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventsOf, settled, shellJob, startTestNetwork, type TestNetwork } from "../system/fixture.ts";
import { makeProbeImages, PROBES_AS_NOBODY } from "./lab.ts";

let network: TestNetwork;
beforeAll(async () => {
  await makeProbeImages();
  network = await startTestNetwork(["anna"], ["--local-image", PROBES_AS_NOBODY]);
}, 120_000);
afterAll(async () => {
  await network.stop();
});

it("a worker under abuse is never taken for lost", async () => {
  const { client } = network.consumer;
  const abuse = [
    ["cpu-hog", "3"],
    ["memory-hog", "500"],
    ["disk-fill", "100"],
    ["log-flood", "20"],
    ["fork-bomb", "2200"],
  ];
  const neighbour = await client.jobs.create(shellJob("sleep 8; echo fine > /out/r", { retries: 0 }));
  const hostile = [];
  for (const args of abuse) {
    const job = { ...shellJob("", { retries: 0 }), image: PROBES_AS_NOBODY, command: ["/probes", ...args] };
    hostile.push(await client.jobs.create({ ...job, resources: { cpus: 0.3, memoryMiB: 64, diskMiB: 32 } }));
  }
  for (const { id } of [neighbour, ...hostile]) {
    const job = await client.jobs.wait(id);
    const kinds = (await eventsOf(client, id)).map((event) => event.kind);
    expect(kinds).not.toContain("suspect");
    expect([job.failoversUsed, job.attempts.length]).toEqual([0, 1]);
    expect(settled(job).sum).toBe(settled(job).hold);
    if (id === neighbour.id) expect(job.phase).toBe("succeeded");
  }
}, 180_000);
