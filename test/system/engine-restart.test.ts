// A Docker Engine that goes away under running jobs and comes back, as an upgrade of it makes it: with and without `live-restore`.
// The Engine is one of the test's own; orchestrator and worker are the real programs.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type Network, startNetwork } from "../../scripts/lib/network.ts";
import { startTestEngine, type TestEngine, whyNoTestEngine } from "../lib/engine.ts";
import {
  counterJob,
  counterResult,
  CREDIT,
  logOf,
  outputOf,
  settled,
  shellJob,
  SMALL_WORKER,
  until,
} from "./fixture.ts";

const TICKS = 16;
/** An Engine is started, stopped and started again; on a busy machine that takes its time. */
const TIMEOUT_MS = 240_000;
const why = whyNoTestEngine();
if (why !== undefined) console.log(`skipped: ${why}`);

let engine: TestEngine | undefined;
let network: Network | undefined;
let folder: string;
afterEach(async () => {
  // Its containers are the test Engine's and go with it.
  await network?.stop();
  await engine?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function startOn(config: Readonly<Record<string, unknown>>) {
  folder = mkdtempSync(join(tmpdir(), "qubix-engine-restart-"));
  engine = await startTestEngine({ config });
  await engine.loadImage("qubix/tiny:local");
  network = await startNetwork({ folder, orchestratorArgs: ["--worker-proofs", "off"] });
  await network.addWorker({ name: "anna", args: [...SMALL_WORKER, "--docker-socket", engine.socket] });
  const { client } = await network.addConsumer("consumer", CREDIT.toString());
  return { client, engine };
}

describe.skipIf(why !== undefined)("a Docker Engine that is started again", () => {
  it(
    "with live-restore has its jobs run on, in the same container",
    async () => {
      const { client, engine } = await startOn({ "live-restore": true });
      const { id } = await client.jobs.create(counterJob(TICKS, 0.5));
      await until(client, id, (job) => job.checkpoint !== null);
      await engine.halt();
      await engine.resume();
      const job = await client.jobs.wait(id);
      expect([job.phase, job.reason, job.epoch, job.failoversUsed]).toEqual(["succeeded", "completed", 1, 0]);
      expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
      const text = (await logOf(client, id)).map((line) => line.text).join("");
      const ticks = [...text.matchAll(/^tick (\d+)\//gm)].map((match) => Number(match[1]));
      expect(ticks).toEqual(Array.from({ length: TICKS }, (_, index) => index + 1));
      expect(settled(job).sum).toBe(settled(job).hold);
    },
    TIMEOUT_MS,
  );

  it(
    "without it has its jobs go on from their newest checkpoint, at the cost of no retry",
    async () => {
      const { client, engine } = await startOn({ "live-restore": false });
      const { id } = await client.jobs.create(counterJob(TICKS, 0.5, { retries: 0 }));
      // One that obeys and ends with success: that was not its own end.
      const obedient = await client.jobs.create(
        shellJob(
          `trap 'exit 0' TERM
           if [ -e $QUBIX_CHECKPOINT_DIR/begun ]; then echo resumed > /out/result; exit 0; fi
           echo x > $QUBIX_CHECKPOINT_DIR/.begun && mv $QUBIX_CHECKPOINT_DIR/.begun $QUBIX_CHECKPOINT_DIR/begun
           while true; do sleep 0.1; done`,
          { retries: 0 },
        ),
      );
      for (const job of [id, obedient.id]) await until(client, job, ({ checkpoint }) => checkpoint !== null);
      await engine.halt();
      await engine.resume();
      const job = await client.jobs.wait(id);
      expect([job.phase, job.reason, job.retriesUsed]).toEqual(["succeeded", "completed", 0]);
      expect(job.failoversUsed).toBeGreaterThan(0);
      expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
      expect(settled(job).sum).toBe(settled(job).hold);
      expect((await client.jobs.wait(obedient.id)).phase).toBe("succeeded");
      expect(await outputOf(client, obedient.id, "result")).toBe("resumed\n");
    },
    TIMEOUT_MS,
  );
});
